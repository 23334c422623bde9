/**
 * Putting together what was found in a log and what was found in what came since.
 *
 * A log only grows at its end, so whoever searched it once asks for later rows only. Its last row may have been open when it
 * was searched: that one is looked at again.
 */
import type { Found, FoundMatches } from '../api/types';

/** Rows that an answer lists at most. */
const LISTED = 10_000;

/** The first row that a later search has to look at. */
export function nextFrom(found: FoundMatches): number {
  return Math.max(0, found.until - 1);
}

/** `later` is what was found from `nextFrom(before)` on. */
export function together(before: FoundMatches, later: FoundMatches): FoundMatches {
  const from = nextFrom(before);
  const again = before.last === from ? 1 : 0;
  const total = before.total - again + later.total;
  const rows = before.rows.at(-1) === from ? before.rows.slice(0, -1) : before.rows;
  // What lies behind rows that are not listed is not listed either.
  const room = before.capped ? 0 : LISTED - rows.length;
  return {
    total,
    rows: later.rows.length === 0 || room === 0 ? rows : rows.concat(later.rows.slice(0, room)),
    capped: total > LISTED,
    until: later.until,
    last: later.last ?? (again ? (rows.at(-1) ?? null) : before.last),
    scanned_rows: later.scanned_rows,
    buckets: before.buckets.concat(later.buckets),
  };
}

/**
 * The nearest match from row `from` on (or up to it), as the collector would tell it; null where what was found does not say, as beyond
 * the first and the last of them.
 */
export function nearest(found: FoundMatches, from: number, direction: 'next' | 'previous'): Found | null {
  const { rows } = found;
  // Of rows from here on nothing is known; the last that was looked at may have been open.
  const until = found.capped ? (rows.at(-1) ?? -1) + 1 : nextFrom(found);
  if (from >= until) return null;
  const row = direction === 'next' ? rows.find((row) => row >= from) : rows.findLast((row) => row <= from);
  return row !== undefined && row < until ? { row, wrapped: false } : null;
}
