/**
 * Rows of several runs as one list by time. A run's rows keep their own order, also when its clock was set back: only the
 * next row of each run is compared. Pure.
 */
import type { Row } from '../api/types';

export interface MergedRow {
  /** Which of the runs. */
  run: number;
  /** By the collector's clock. */
  at: number;
  row: Row;
}

/** What of one run was read and not taken yet, nearest first; `more` when there is more to read behind it. */
export interface Waiting {
  rows: MergedRow[];
  more: boolean;
}

/**
 * Takes up to `most` rows, the earliest first (or the latest, going `back`). Stops before a run whose read rows are used up
 * while it has more: its next row may be the one that comes first.
 */
export function take(waiting: readonly Waiting[], most: number, back = false): MergedRow[] {
  const taken: MergedRow[] = [];
  while (taken.length < most) {
    let best: Waiting | null = null;
    for (const one of waiting) {
      const next = one.rows[0];
      if (!next) {
        if (one.more) return taken;
        continue;
      }
      const leads = best === null || (back ? next.at >= best.rows[0]!.at : next.at < best.rows[0]!.at);
      if (leads) best = one;
    }
    if (!best) break;
    taken.push(best.rows.shift()!);
  }
  return taken;
}
