/** Names of saved files, and what of a log is meant: the selection, the current line, or all. */
import type { DeploymentSummary } from '../api/types';
import type { RowRange } from '../api/client';
import type { Place } from './selection.svelte';

/** More as JSON is a file, not a clipboard. */
export const COPY_MOST_JSON_ROWS = 5000;

/** `Bay-12-0193bbbb-lines-12-40.log`. Only signs that every file system takes. */
export function fileName(summary: DeploymentSummary, range: RowRange | null, ending: string): string {
  const name = summary.name.replace(/[^\p{L}\p{N}_.-]+/gu, '-').replace(/^[-.]+|-+$/g, '') || 'log';
  const lines = range === null ? '' : `-lines-${range.from + 1}-${range.to}`;
  return `${name}-${summary.id.slice(0, 8)}${lines}.${ending}`;
}

/** Whole rows, half open; a selection that ends before the first sign of a row does not mean that row. */
export function chosenRows(
  selection: { start: Place; end: Place } | null,
  cursor: number | null,
): RowRange | null {
  if (selection === null) return cursor === null ? null : { from: cursor, to: cursor + 1 };
  const { start, end } = selection;
  const last = end.offset === 0 && end.row > start.row ? end.row - 1 : end.row;
  return { from: start.row, to: last + 1 };
}
