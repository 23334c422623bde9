/**
 * The rows this viewer holds: a bounded number, in pages, least recently used out first.
 *
 * Invariants: never more than `maxRows` rows beyond the page in use; a row once known closed is never replaced by an
 * older open version of it (an answer over HTTP may be older than a delta that overtook it).
 */
import type { Row } from '../api/types';

export const PAGE_ROWS = 250;

export class Pages {
  /** Insertion order is use order: the first key is the least recently used. */
  private readonly pages = new Map<number, (Row | undefined)[]>();

  private rows = 0;

  constructor(private readonly maxRows = 2000) {}

  get(row: number): Row | undefined {
    return this.pages.get(Math.floor(row / PAGE_ROWS))?.[row % PAGE_ROWS];
  }

  put(rows: readonly Row[]): void {
    for (const row of rows) {
      const number = Math.floor(row.row / PAGE_ROWS);
      let page = this.pages.get(number);
      if (!page) {
        page = [];
        this.pages.set(number, page);
      }
      const held = page[row.row % PAGE_ROWS];
      if (!held) this.rows++;
      if (held && row.open && (!held.open || held.bytes > row.bytes)) continue;
      page[row.row % PAGE_ROWS] = row;
    }
    this.shrink();
  }

  /** Marks the page of a row as just used. */
  touch(row: number): void {
    const number = Math.floor(row / PAGE_ROWS);
    const page = this.pages.get(number);
    if (!page) return;
    this.pages.delete(number);
    this.pages.set(number, page);
  }

  clear(): void {
    this.pages.clear();
    this.rows = 0;
  }

  get held(): number {
    return this.rows;
  }

  private shrink(): void {
    while (this.rows > this.maxRows && this.pages.size > 1) {
      const [number, page] = this.pages.entries().next().value!;
      this.pages.delete(number);
      for (const row of page) if (row) this.rows--;
    }
  }
}
