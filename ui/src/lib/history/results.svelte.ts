/**
 * The hits of a search as a list to look at: under the runs they belong to, some folded, some with the lines around them.
 *
 * Pure parts: `grouped` and `Layout`. A run stands where its newest hit stands; while results stream in from runs of the
 * same time, a run may still gain hits above others, and the list keeps what is on screen in its place.
 */
import { SvelteMap, SvelteSet } from 'svelte/reactivity';
import type { Api } from '../api/client';
import type { Row, SearchHit } from '../api/types';
import type { HistorySearch } from './search.svelte';

export interface Group {
  id: string;
  first: SearchHit;
  hits: SearchHit[];
}

export type Entry =
  | { kind: 'run'; key: string; group: Group; folded: boolean }
  | { kind: 'hit'; key: string; hit: SearchHit; open: boolean }
  | { kind: 'around'; key: string; of: string; row: Row }
  | { kind: 'end'; key: string };

export type Peek = { kind: 'loading' } | { kind: 'here'; rows: Row[] };

export const HEIGHTS = { run: 34, hit: 20, around: 20, end: 48 } as const;
const PEEK_ROWS = 3;

export function keyOf(hit: SearchHit): string {
  return `${hit.deployment_id}:${hit.row.row}`;
}

export function grouped(hits: readonly SearchHit[]): Group[] {
  const groups = new Map<string, Group>();
  for (const hit of hits) {
    const group = groups.get(hit.deployment_id);
    if (group) group.hits.push(hit);
    else groups.set(hit.deployment_id, { id: hit.deployment_id, first: hit, hits: [hit] });
  }
  return [...groups.values()];
}

export function listed(
  groups: readonly Group[],
  folded: ReadonlySet<string>,
  peeks: ReadonlyMap<string, Peek>,
): Entry[] {
  const entries: Entry[] = [];
  for (const group of groups) {
    entries.push({ kind: 'run', key: group.id, group, folded: folded.has(group.id) });
    if (folded.has(group.id)) continue;
    for (const hit of group.hits) {
      const key = keyOf(hit);
      const peek = peeks.get(key);
      const rows = peek?.kind === 'here' ? peek.rows : [];
      const around = (row: Row): void => {
        entries.push({ kind: 'around', key: `${key}~${row.row}`, of: key, row });
      };
      rows.filter((row) => row.row < hit.row.row).forEach(around);
      entries.push({ kind: 'hit', key, hit, open: peek !== undefined });
      rows.filter((row) => row.row > hit.row.row).forEach(around);
    }
  }
  if (groups.length > 0) entries.push({ kind: 'end', key: 'end' });
  return entries;
}

/** Where each entry of a list stands, in pixels. */
export class Layout {
  readonly height: number;
  private readonly tops: number[] = [];

  constructor(readonly entries: readonly Entry[]) {
    let top = 0;
    for (const entry of entries) {
      this.tops.push(top);
      top += HEIGHTS[entry.kind];
    }
    this.height = top;
  }

  topOf(index: number): number {
    return this.tops[index] ?? this.height;
  }

  /** The entry at a height, from 0. */
  at(y: number): number {
    let low = 0;
    let high = this.tops.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle]! <= y) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

export class Results {
  /** The hit that keys act on. */
  current = $state<string | null>(null);
  /** Kept here so that the list stands where it stood after a visit to a log. */
  scrollTop = 0;
  readonly folded = new SvelteSet<string>();
  readonly peeks = new SvelteMap<string, Peek>();

  readonly groups = $derived.by(() => grouped(this.search.hits));
  readonly layout = $derived.by(() => new Layout(listed(this.groups, this.folded, this.peeks)));

  constructor(
    private readonly search: HistorySearch,
    private readonly api: Api,
  ) {}

  reset(): void {
    this.current = null;
    this.scrollTop = 0;
    this.folded.clear();
    this.peeks.clear();
  }

  get hit(): SearchHit | null {
    if (this.current === null) return null;
    const index = this.indexOf(this.current);
    const entry = this.layout.entries[index];
    return entry?.kind === 'hit' ? entry.hit : null;
  }

  indexOf(key: string): number {
    return this.layout.entries.findIndex((entry) => entry.key === key);
  }

  /** Moves to the next or previous hit; from nowhere to the first or last. */
  move(by: number): void {
    const { entries } = this.layout;
    const step = by < 0 ? -1 : 1;
    let at = this.current === null ? -1 : this.indexOf(this.current);
    if (at < 0) at = step > 0 ? -1 : entries.length;
    let left = Math.abs(by);
    let found: string | null = null;
    for (let i = at + step; i >= 0 && i < entries.length && left > 0; i += step) {
      if (entries[i]!.kind !== 'hit') continue;
      found = entries[i]!.key;
      left--;
    }
    if (found !== null) this.current = found;
  }

  fold(id: string): void {
    if (!this.folded.delete(id)) this.folded.add(id);
  }

  /** Shows the lines around a hit, or puts them away. */
  async peek(hit: SearchHit): Promise<void> {
    const key = keyOf(hit);
    if (this.peeks.delete(key)) return;
    this.peeks.set(key, { kind: 'loading' });
    const from = Math.max(0, hit.row.row - PEEK_ROWS);
    try {
      const page = await this.api.rows(hit.deployment_id, from, hit.row.row + PEEK_ROWS - from + 1);
      if (this.peeks.has(key)) this.peeks.set(key, { kind: 'here', rows: page.rows });
    } catch (cause) {
      if (this.peeks.has(key)) this.peeks.delete(key);
      throw cause;
    }
  }
}
