/** The order of a comparison on screen: what differs, and between it the stretches that are alike. Pure. */
import type { Comparison, Hunk, PhasePair } from '../api/types';

/** Rows that are alike in both runs; half open. */
export interface Alike {
  kind: 'alike';
  key: string;
  this_from: number;
  this_to: number;
  other_from: number;
  other_to: number;
}
export interface Different {
  kind: 'different';
  key: string;
  index: number;
  hunk: Hunk;
}
export type Block = Alike | Different;

export function blocks(comparison: Comparison): Block[] {
  const out: Block[] = [];
  let here = 0;
  let there = 0;
  const alike = (thisTo: number, otherTo: number): void => {
    // lines may have moved: then the other run's rows jump, and this run's alone say what lies between
    if (thisTo <= here) return;
    out.push({
      kind: 'alike',
      key: `alike-${here}`,
      this_from: here,
      this_to: Math.max(here, thisTo),
      other_from: there,
      other_to: Math.max(there, otherTo),
    });
  };
  comparison.hunks.forEach((hunk, index) => {
    alike(hunk.this_from, hunk.other_from);
    out.push({ kind: 'different', key: `hunk-${index}`, index, hunk });
    here = hunk.this_to;
    there = hunk.other_to;
  });
  alike(comparison.this.rows, comparison.other.rows);
  return out;
}

export interface Pair {
  this_row: number | null;
  other_row: number | null;
  this_text: string;
  other_text: string;
}

/** The lines of a difference, next to each other as far as both sides go. */
export function pairs(hunk: Hunk): Pair[] {
  const length = Math.max(hunk.this_lines.length, hunk.other_lines.length);
  return Array.from({ length }, (_, i) => ({
    this_row: i < hunk.this_lines.length ? hunk.this_from + i : null,
    other_row: i < hunk.other_lines.length ? hunk.other_from + i : null,
    this_text: hunk.this_lines[i] ?? '',
    other_text: hunk.other_lines[i] ?? '',
  }));
}

/** Lines of a difference that the collector did not list, and the row at which they begin. */
export function unlisted(hunk: Hunk): { side: 'this' | 'other'; row: number; lines: number } | null {
  const here = hunk.this_to - hunk.this_from - hunk.this_lines.length;
  const there = hunk.other_to - hunk.other_from - hunk.other_lines.length;
  if (here <= 0 && there <= 0) return null;
  return here >= there
    ? { side: 'this', row: hunk.this_from + hunk.this_lines.length, lines: here }
    : { side: 'other', row: hunk.other_from + hunk.other_lines.length, lines: there };
}

/** What two lines do not share: between their common beginning and their common end. */
export function changedPart(
  a: string,
  b: string,
): { a: [from: number, to: number]; b: [from: number, to: number] } | null {
  if (a === b || a === '' || b === '') return null;
  const most = Math.min(a.length, b.length);
  let head = 0;
  while (head < most && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < most - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  // lines that have next to nothing in common say more without marks
  if (head + tail < most * 0.25) return null;
  return { a: [head, a.length - tail], b: [head, b.length - tail] };
}

/** The hunk that holds the first difference, or the first at all. */
export function firstHunk(comparison: Comparison): number | null {
  const { first_difference: first, hunks } = comparison;
  if (hunks.length === 0) return null;
  const holds = (hunk: Hunk): boolean =>
    (first?.this_row !== null &&
      first !== null &&
      first.this_row >= hunk.this_from &&
      first.this_row < hunk.this_to) ||
    (first?.other_row !== null &&
      first !== null &&
      first.other_row >= hunk.other_from &&
      first.other_row < hunk.other_to);
  const index = hunks.findIndex(holds);
  return index < 0 ? 0 : index;
}

/** Bars on one scale, each 0 to 1. */
export function phaseBars(phases: readonly PhasePair[]): { here: number; there: number }[] {
  const longest = Math.max(1, ...phases.flatMap((phase) => [phase.this_us ?? 0, phase.other_us ?? 0]));
  return phases.map((phase) => ({
    here: (phase.this_us ?? 0) / longest,
    there: (phase.other_us ?? 0) / longest,
  }));
}
