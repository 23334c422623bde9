/** Copying a range of rows, far beyond those that are rendered. */
import type { Row } from '../api/types';
import { ROW_END, type Place } from './selection.svelte';

/** More than this is a download, not a clipboard. */
export const COPY_MOST_ROWS = 50_000;

export interface Copied {
  text: string;
  rows: number;
  cut: boolean;
}

export async function copyRange(
  range: { start: Place; end: Place },
  read: (from: number, to: number) => AsyncIterable<Row[]>,
): Promise<Copied> {
  const last = Math.min(range.end.row, range.start.row + COPY_MOST_ROWS - 1);
  const lines: string[] = [];
  for await (const rows of read(range.start.row, last)) {
    for (const row of rows) {
      const end =
        row.row === range.end.row && range.end.offset !== ROW_END ? range.end.offset : row.text.length;
      const start = row.row === range.start.row ? range.start.offset : 0;
      lines.push(row.text.slice(start, end));
    }
  }
  return { text: lines.join('\n'), rows: lines.length, cut: last < range.end.row };
}
