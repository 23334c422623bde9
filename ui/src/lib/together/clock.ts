/**
 * Where a log was at a moment. Rows are asked for by number, so a moment is searched: between two known rows the next guess is
 * where it would be if lines came evenly, and each page that is read along the way makes the next guess better. Pure but for
 * the reading.
 */

export interface Known {
  row: number;
  at: number;
}

/** Rows read per guess: many enough to hold the moment soon, few enough to be nothing to the collector. */
const READ_ROWS = 100;
/** A log of even lines takes a few; halving what is left, after so many guesses, finds any place in any log. */
const GUESSES = 4;
const MOST_READS = 30;
const MOST_KNOWN = 2000;

export class TimeIndex {
  /** Ascending in both; what contradicts that (a clock that was set back) is left out. */
  private known: Known[] = [];

  learn(row: number, at: number): void {
    const index = this.after(row);
    const before = this.known[index - 1];
    const next = this.known[index];
    if (before && (before.row === row || before.at > at)) return;
    if (next && next.at < at) return;
    if (this.known.length >= MOST_KNOWN) this.known = this.known.filter((_, i) => i % 2 === 0);
    this.known.splice(this.after(row), 0, { row, at });
  }

  /** The nearest known rows at or before a moment, and after it. */
  around(at: number): { from: Known | null; to: Known | null } {
    let index = 0;
    while (index < this.known.length && this.known[index]!.at <= at) index++;
    return { from: this.known[index - 1] ?? null, to: this.known[index] ?? null };
  }

  /** The row that was the last one at a moment, as far as is known. */
  guess(at: number, total: number): number {
    const { from, to } = this.around(at);
    const low = from ?? { row: 0, at: to?.at ?? at };
    const high = to ?? { row: total - 1, at: low.at };
    if (high.at <= low.at) return from ? from.row : 0;
    const share = (at - low.at) / (high.at - low.at);
    return Math.max(0, Math.min(total - 1, Math.round(low.row + share * (high.row - low.row))));
  }

  private after(row: number): number {
    let index = this.known.length;
    while (index > 0 && this.known[index - 1]!.row >= row) index--;
    while (index < this.known.length && this.known[index]!.row <= row) index++;
    return index;
  }
}

/** The last row that was there at a moment; the first one when nothing was. */
export async function rowAt(
  index: TimeIndex,
  at: number,
  total: number,
  read: (from: number, count: number) => Promise<readonly Known[]>,
): Promise<number> {
  if (total === 0) return 0;
  for (let reads = 0; reads < MOST_READS; reads++) {
    const { from, to } = index.around(at);
    const low = from ? from.row : 0;
    const high = to ? to.row : total - 1;
    if (from && to && high - low <= 1) return low;
    if (from && low >= total - 1) return total - 1;
    if (to?.row === 0) return 0;
    // where it ends must be known before anything can be guessed
    const middle = !to ? total - 1 : reads >= GUESSES ? Math.floor((low + high) / 2) : index.guess(at, total);
    const first = Math.max(0, Math.min(middle - READ_ROWS / 2, total - READ_ROWS));
    const rows = await read(Math.max(0, first), READ_ROWS);
    const begin = rows[0];
    const end = rows.at(-1);
    if (!begin || !end) return Math.min(total - 1, middle);
    index.learn(begin.row, begin.at);
    index.learn(end.row, end.at);
    if (begin.at > at && begin.row === 0) return 0;
    if (begin.at <= at && (at < end.at || end.row >= total - 1)) {
      return (rows.findLast((row) => row.at <= at) ?? begin).row;
    }
  }
  return index.guess(at, total);
}
