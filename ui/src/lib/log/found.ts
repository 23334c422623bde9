/**
 * Putting together what was found in a log and what was found in what came since.
 *
 * A log only grows at its end, so whoever searched it once asks for later rows only. Its last row may have been open when it
 * was searched: that one is looked at again.
 */
import type { FoundMatches } from '../api/types';

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
