/**
 * What stands where in the viewer: a mapping between positions on screen and rows of the log.
 *
 * A position is either one row, or one separator that says how many rows are hidden there. Hidden
 * rows come from folded phases (`FoldedDisplay`) or from a filter (`FilteredDisplay`). Both are
 * bounded by what hides, never by the length of the log.
 */

export type Item =
  | { kind: 'row'; row: number }
  /** `from` up to but not including `to` are hidden here. */
  | { kind: 'hidden'; from: number; to: number };

export interface Display {
  readonly length: number;
  at(position: number): Item | undefined;
  /** Where a row stands; for a hidden row, the position of what hides it. */
  positionOf(row: number): number;
  isHidden(row: number): boolean;
}

/** A hidden stretch of rows, `from` up to but not including `to`. */
export interface Stretch {
  from: number;
  to: number;
}

/** Sorts and joins stretches, and clips them to the log. */
export function joinStretches(stretches: readonly Stretch[], total: number): Stretch[] {
  const sorted = stretches
    .map(({ from, to }) => ({ from: Math.max(0, from), to: Math.min(total, to) }))
    .filter(({ from, to }) => to > from)
    .sort((a, b) => a.from - b.from);
  const out: Stretch[] = [];
  for (const stretch of sorted) {
    const last = out.at(-1);
    if (last && stretch.from <= last.to) last.to = Math.max(last.to, stretch.to);
    else out.push({ ...stretch });
  }
  return out;
}

/** All rows, less folded phases. The header row of a phase stays and tells what it hides. */
export class FoldedDisplay implements Display {
  readonly length: number;
  private readonly stretches: Stretch[];
  /** Rows hidden before each stretch. */
  private readonly before: number[] = [];

  constructor(total: number, folded: readonly Stretch[]) {
    this.stretches = joinStretches(folded, total);
    let hidden = 0;
    for (const stretch of this.stretches) {
      this.before.push(hidden);
      hidden += stretch.to - stretch.from;
    }
    this.length = total - hidden;
  }

  at(position: number): Item | undefined {
    if (position < 0 || position >= this.length) return undefined;
    // the last stretch that starts, in positions, at or before this one
    let low = 0;
    let high = this.stretches.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.stretches[middle]!.from - this.before[middle]! <= position) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return { kind: 'row', row: position };
    const stretch = this.stretches[low - 1]!;
    return {
      kind: 'row',
      row: position + this.before[low - 1]! + (stretch.to - stretch.from),
    };
  }

  positionOf(row: number): number {
    const index = lastAtOrBefore(this.stretches, row);
    if (index < 0) return Math.max(0, Math.min(this.length - 1, row));
    const stretch = this.stretches[index]!;
    const hiddenBefore = this.before[index]!;
    // a folded row is found at the row that stands before its stretch: the phase's header
    if (row < stretch.to) return Math.max(0, stretch.from - hiddenBefore - 1);
    return Math.min(this.length - 1, row - hiddenBefore - (stretch.to - stretch.from));
  }

  isHidden(row: number): boolean {
    const index = lastAtOrBefore(this.stretches, row);
    return index >= 0 && row < this.stretches[index]!.to;
  }
}

/** Only some stretches are shown; everything between them is one separator each. */
export class FilteredDisplay implements Display {
  readonly length: number;
  /** Alternating shown and hidden stretches, with the position each begins at. */
  private readonly parts: { from: number; to: number; hidden: boolean; position: number }[] = [];

  /** `around` rows stay on both sides of each match. */
  constructor(total: number, matched: readonly number[], revealed: readonly Stretch[], around = 0) {
    const shown = joinStretches([...runs(matched, around), ...revealed], total);
    let row = 0;
    let position = 0;
    const add = (from: number, to: number, hidden: boolean): void => {
      if (to <= from) return;
      this.parts.push({ from, to, hidden, position });
      position += hidden ? 1 : to - from;
    };
    for (const stretch of shown) {
      add(row, stretch.from, true);
      add(stretch.from, stretch.to, false);
      row = stretch.to;
    }
    add(row, total, true);
    this.length = position;
  }

  at(position: number): Item | undefined {
    if (position < 0 || position >= this.length) return undefined;
    let low = 0;
    let high = this.parts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.parts[middle]!.position <= position) low = middle + 1;
      else high = middle;
    }
    const part = this.parts[low - 1]!;
    return part.hidden
      ? { kind: 'hidden', from: part.from, to: part.to }
      : { kind: 'row', row: part.from + (position - part.position) };
  }

  positionOf(row: number): number {
    const index = lastAtOrBefore(this.parts, row);
    if (index < 0) return 0;
    const part = this.parts[index]!;
    return part.hidden ? part.position : part.position + Math.min(row, part.to - 1) - part.from;
  }

  isHidden(row: number): boolean {
    const index = lastAtOrBefore(this.parts, row);
    return index < 0 || this.parts[index]!.hidden || row >= this.parts[index]!.to;
  }
}

/** Joins ascending row numbers, with some around each, into stretches. */
function runs(rows: readonly number[], around: number): Stretch[] {
  const out: Stretch[] = [];
  for (const row of rows) {
    const last = out.at(-1);
    if (last && row - around <= last.to) last.to = Math.max(last.to, row + around + 1);
    else out.push({ from: row - around, to: row + around + 1 });
  }
  return out;
}

function lastAtOrBefore(parts: readonly { from: number }[], row: number): number {
  let low = 0;
  let high = parts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (parts[middle]!.from <= row) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
