/**
 * The operator's selection: a range of characters across rows, whether those rows are rendered or
 * not. The rows' nodes are recycled while scrolling, so the browser's own selection cannot be used.
 */
import type { Range } from './ansi';

export interface Place {
  row: number;
  offset: number;
}

/** Beyond every offset: "to the end of the row". */
export const ROW_END = Number.MAX_SAFE_INTEGER;

export class Selection {
  anchor = $state.raw<Place | null>(null);
  focus = $state.raw<Place | null>(null);

  readonly range = $derived.by<{ start: Place; end: Place } | null>(() => {
    const { anchor, focus } = this;
    if (!anchor || !focus) return null;
    const forward = anchor.row < focus.row || (anchor.row === focus.row && anchor.offset <= focus.offset);
    const [start, end] = forward ? [anchor, focus] : [focus, anchor];
    return start.row === end.row && start.offset === end.offset ? null : { start, end };
  });

  begin(place: Place): void {
    this.anchor = place;
    this.focus = place;
  }

  extend(place: Place): void {
    if (!this.anchor) this.anchor = place;
    this.focus = place;
  }

  select(start: Place, end: Place): void {
    this.anchor = start;
    this.focus = end;
  }

  /** Whole rows from one to another, which may stand above it. */
  selectRows(from: number, to: number): void {
    const down = to >= from;
    this.select({ row: from, offset: down ? 0 : ROW_END }, { row: to, offset: down ? ROW_END : 0 });
  }

  clear(): void {
    this.anchor = null;
    this.focus = null;
  }

  /** What of one row is selected. */
  within(row: number, length: number): Range | null {
    const range = this.range;
    if (!range || row < range.start.row || row > range.end.row) return null;
    const start = row === range.start.row ? Math.min(range.start.offset, length) : 0;
    const end = row === range.end.row ? Math.min(range.end.offset, length) : length;
    return end > start ? { start, end } : null;
  }
}

/** The word around an offset, for a double click. */
export function wordAt(text: string, offset: number): Range {
  const word = /[\p{L}\p{N}_.\-/:@+~]/u;
  let start = Math.min(offset, text.length);
  let end = start;
  while (start > 0 && word.test(text[start - 1]!)) start--;
  while (end < text.length && word.test(text[end]!)) end++;
  return start === end ? { start, end: Math.min(text.length, end + 1) } : { start, end };
}
