/**
 * One search over all stored logs: what came of it so far, newest first.
 *
 * The first hits stream in over the live topic `search`, together with counts for the histogram; older ones are asked for page
 * by page. What arrives is gathered and shown once per animation frame. After a reconnect the collector searches anew and
 * starts with a snapshot, so what was here before is dropped then, and not earlier.
 *
 * It outlives the screen: coming back from a log finds the results where they were.
 */
import { ApiError, type Api } from '../api/client';
import type { Histogram, SearchDelta, SearchHit, SearchProgress, SearchSnapshot } from '../api/types';
import type { LiveConnection, Subscription } from '../connection/connection.svelte';
import { minutesEast } from '../query/dates';

export type SearchState =
  | { kind: 'idle' }
  /** Asked for; the collector has not answered yet. */
  | { kind: 'asking' }
  | { kind: 'searching' }
  | { kind: 'done' }
  | { kind: 'stopped' }
  | { kind: 'failed'; message: string };

/** What stands under the last hit. */
export type Older = 'none' | 'more' | 'loading' | 'failed' | 'full';

const FIRST_HITS = 200;
const PAGE_HITS = 200;
/** Nobody reads further down than this; a narrower search is the way. Bounds what the page holds. */
export const MOST_HITS = 20_000;

export function cursorOf(hit: SearchHit): string {
  return `${hit.row.at}:${hit.deployment_id}:${hit.row.row}`;
}

export class HistorySearch {
  query = $state('');
  state = $state.raw<SearchState>({ kind: 'idle' });
  hits = $state.raw<readonly SearchHit[]>([]);
  /** In all, as far as was counted. */
  matched = $state(0);
  progress = $state.raw<SearchProgress | null>(null);
  histogram = $state.raw<Histogram | null>(null);
  older = $state<Older>('none');

  readonly busy = $derived(this.state.kind === 'asking' || this.state.kind === 'searching');

  private subscription: Subscription | null = null;
  private pending: SearchDelta[] = [];
  private frame: number | null = null;
  private next: string | null = null;
  private generation = 0;

  constructor(
    private readonly api: Api,
    private readonly connection: LiveConnection,
  ) {}

  /** Searches, also for what was searched for before. An empty query goes back to the beginning. */
  run(query: string): void {
    this.leave();
    this.query = query;
    this.forget();
    if (query.trim() === '') {
      this.state = { kind: 'idle' };
      return;
    }
    this.state = { kind: 'asking' };
    const request = { topic: 'search', query, limit: FIRST_HITS, tz: minutesEast() };
    this.subscription = this.connection.subscribe<SearchSnapshot, SearchDelta>(request, {
      snapshot: (data) => {
        this.forget();
        this.state = { kind: 'searching' };
        this.histogram = {
          from: data.histogram_from,
          width_us: data.histogram_width_us,
          matched: new Array<number>(data.histogram_buckets).fill(0),
          errors: new Array<number>(data.histogram_buckets).fill(0),
        };
        this.progress = {
          blocks: 0,
          of_blocks: data.of_blocks,
          opened: 0,
          unreadable: 0,
          rows: 0,
          done: false,
          took_us: 0,
        };
      },
      delta: (data) => {
        this.pending.push(data);
        this.frame ??= requestAnimationFrame(() => this.apply());
      },
      ended: () => {
        this.apply();
        this.subscription = null;
        this.state = { kind: 'done' };
        this.settle();
      },
      error: (error) => {
        this.leave();
        this.state = { kind: 'failed', message: error.message };
      },
    });
  }

  again(): void {
    this.run(this.query);
  }

  /** Stops counting; what was found stays, and older hits can still be asked for. */
  cancel(): void {
    if (!this.busy) return;
    this.apply();
    this.leave();
    this.state = { kind: 'stopped' };
    this.settle();
  }

  async loadOlder(): Promise<void> {
    const last = this.hits.at(-1);
    if (this.busy || !last || (this.older !== 'more' && this.older !== 'failed')) return;
    const { generation } = this;
    this.older = 'loading';
    try {
      const page = await this.api.search({
        q: this.query,
        tz: minutesEast(),
        limit: PAGE_HITS,
        before: this.next ?? cursorOf(last),
      });
      if (generation !== this.generation) return;
      this.hits = [...this.hits, ...page.hits];
      this.next = page.next;
      this.older = page.next === null ? 'none' : this.hits.length >= MOST_HITS ? 'full' : 'more';
      this.matched = Math.max(this.matched, this.hits.length);
    } catch (cause) {
      if (generation !== this.generation) return;
      this.older = 'failed';
      if (cause instanceof ApiError && !cause.retryable) {
        this.state = { kind: 'failed', message: cause.message };
      }
    }
  }

  close(): void {
    this.leave();
  }

  /** The collector counts on when `limit` hits were sent; what it did not send can be asked for. */
  private settle(): void {
    const stopped = this.state.kind === 'stopped';
    this.older = this.hits.length > 0 && (stopped || this.hits.length < this.matched) ? 'more' : 'none';
  }

  private forget(): void {
    this.hits = [];
    this.matched = 0;
    this.progress = null;
    this.histogram = null;
    this.older = 'none';
    this.next = null;
    this.pending = [];
  }

  private leave(): void {
    this.generation++;
    this.subscription?.close();
    this.subscription = null;
    if (this.frame !== null) cancelAnimationFrame(this.frame);
    this.frame = null;
  }

  private apply(): void {
    if (this.frame !== null) cancelAnimationFrame(this.frame);
    this.frame = null;
    const last = this.pending.at(-1);
    if (!last) return;
    const fresh = this.pending.flatMap((delta) => delta.hits);
    if (fresh.length > 0) this.hits = [...this.hits, ...fresh];
    if (this.histogram && this.pending.some((delta) => delta.buckets.length > 0)) {
      const matched = [...this.histogram.matched];
      const errors = [...this.histogram.errors];
      for (const [index, all, bad] of this.pending.flatMap((delta) => delta.buckets)) {
        if (index < 0 || index >= matched.length) continue;
        matched[index] = all;
        errors[index] = bad;
      }
      this.histogram = { ...this.histogram, matched, errors };
    }
    this.matched = last.matched;
    this.progress = last.progress;
    this.pending = [];
  }
}
