/**
 * Find and filter over one log. Both run on the collector over the whole log; this holds the query,
 * the bounded answer, and keeps the answer fresh while the log grows.
 */
import { ApiError, type Api } from '../api/client';
import type { FoundMatches, Matches, Query } from '../api/types';
import { patternsOf } from '../query/terms';
import { minutesEast } from '../query/dates';
import { t } from '../shared/strings';
import { matcherFor } from './ansi';
import { nextFrom, together } from './found';

export type LevelFilter = 'all' | 'warning' | 'error';
export type SearchState =
  | { kind: 'idle' }
  | { kind: 'searching' }
  | { kind: 'found'; matches: FoundMatches }
  | { kind: 'failed'; message: string };

/** Lines that a filter leaves around each match. */
export const CONTEXTS = [0, 1, 3, 10] as const;
export type Context = (typeof CONTEXTS)[number];

/** As fine as the minimap can show. */
const BUCKETS = 400;
const TYPING_PAUSE_MS = 120;
/** A growing log is searched again at most this often, and never more than a quarter of the time. */
const REFRESH_MS = 1500;

export class Search {
  q = $state('');
  regex = $state(false);
  matchCase = $state(false);
  level = $state<LevelFilter>('all');
  /** `q` is in the search language; plain text, or a regular expression, otherwise. */
  language = $state(false);
  onlyMatches = $state(false);
  context = $state<Context>(0);
  hits = $state.raw<SearchState>({ kind: 'idle' });
  /** Rows that pass the filter, or null when everything is shown. */
  private levelRows = $state.raw<Matches | null>(null);

  readonly matchers = $derived.by<readonly RegExp[]>(() => {
    if (this.language) return patternsOf(this.q);
    const matcher = matcherFor(this.q, this.regex, this.matchCase);
    return matcher ? [matcher] : [];
  });
  readonly hitRows = $derived<readonly number[]>(this.hits.kind === 'found' ? this.hits.matches.rows : []);
  /** Where the minimap shows matches: in all of the log, also beyond those that are listed. */
  readonly hitPlaces = $derived<readonly number[]>(
    this.hits.kind === 'found' && this.hits.matches.buckets
      ? this.hits.matches.buckets.map(([from]) => from)
      : this.hitRows,
  );
  readonly filter = $derived.by<Matches | null>(() => {
    if (this.onlyMatches && this.q !== '') return this.hits.kind === 'found' ? this.hits.matches : null;
    return this.level === 'all' ? null : this.levelRows;
  });

  /** `q` at the last change. */
  private qBefore = '';
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Ends what is being asked, once nobody waits for its answer. */
  private asking: AbortController | null = null;
  private searchedTotal = -1;
  /** What this query found the last time, to look only at later rows the next time; null until it has. */
  private before: { hits: FoundMatches | null; levels: FoundMatches | null } | null = null;
  private total = 0;
  private tookMs = 0;

  constructor(
    private readonly api: Api,
    private readonly id: string,
    /** Another thing is looked for. */
    private readonly turns: () => void = () => undefined,
  ) {}

  get active(): boolean {
    return this.q !== '' || this.level !== 'all';
  }

  /**
   * What this query found; null until it has, while what an earlier one found is still shown. In the search language times may be
   * counted from now: what was found says little of what is.
   */
  get known(): FoundMatches | null {
    return this.language ? null : (this.before?.hits ?? null);
  }

  /** What was found is of another log: it is looked for anew. */
  forget(): void {
    this.before = null;
  }

  /** Something about the query changed: ask again, behind a letter that is typed only when none follows. */
  changed(): void {
    this.giveUp();
    const typing = Math.abs(this.q.length - this.qBefore.length) === 1;
    this.qBefore = this.q;
    if (this.q === '') {
      this.hits = { kind: 'idle' };
      this.onlyMatches = false;
    } else if (this.hits.kind !== 'found') this.hits = { kind: 'searching' };
    if (this.level === 'all') this.levelRows = null;
    this.later(typing ? TYPING_PAUSE_MS : 0);
  }

  /** The log grew (or was first known). */
  grew(total: number): void {
    this.total = total;
    if (this.active && this.asking === null && this.timer === undefined && total !== this.searchedTotal) {
      this.later(Math.max(REFRESH_MS, this.tookMs * 3));
    }
  }

  query(): Query {
    return {
      ...(this.q === ''
        ? {}
        : this.language
          ? { q: this.q, lang: true, tz: minutesEast() }
          : { q: this.q, regex: this.regex, case: this.matchCase }),
      ...(this.level === 'all' ? {} : { level: this.level }),
    };
  }

  clear(): void {
    this.q = '';
    this.level = 'all';
    this.changed();
  }

  close(): void {
    clearTimeout(this.timer);
    this.giveUp();
  }

  /** What is being looked for is not wanted any more. */
  private giveUp(): void {
    this.turns();
    this.asking?.abort();
    this.asking = null;
    this.before = null;
  }

  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.run();
    }, ms);
  }

  /** All that matches: what is known, and what is found in what came since. */
  private async found(
    query: Query,
    before: FoundMatches | null,
    buckets: number | undefined,
    signal: AbortSignal,
  ): Promise<FoundMatches> {
    // Places of many small searches are put in order by a whole one now and then.
    if (!before || before.buckets.length > 3 * BUCKETS) {
      return this.api.matches(this.id, query, { buckets }, signal);
    }
    return together(
      before,
      await this.api.matches(this.id, query, { buckets, from: nextFrom(before) }, signal),
    );
  }

  private async run(): Promise<void> {
    if (!this.active) return;
    const total = this.total;
    const started = performance.now();
    const asking = (this.asking = new AbortController());
    const { signal } = asking;
    try {
      // In the search language times may be counted from now: all is looked at again.
      const before = this.language ? null : this.before;
      const [hits, levels] = await Promise.all([
        this.q === '' ? null : this.found(this.query(), before?.hits ?? null, BUCKETS, signal),
        this.level === 'all' || (this.onlyMatches && this.q !== '')
          ? null
          : this.found({ level: this.level }, before?.levels ?? null, undefined, signal),
      ]);
      if (signal.aborted) return;
      this.before = { hits, levels };
      if (hits) this.hits = { kind: 'found', matches: hits };
      if (levels) this.levelRows = levels;
      this.searchedTotal = total;
    } catch (cause) {
      if (signal.aborted) return;
      const message = cause instanceof ApiError ? cause.message : t.log.noAnswer;
      this.hits = { kind: 'failed', message };
      this.searchedTotal = total;
    } finally {
      if (this.asking === asking) {
        this.asking = null;
        this.tookMs = performance.now() - started;
        this.grew(this.total);
      }
    }
  }
}
