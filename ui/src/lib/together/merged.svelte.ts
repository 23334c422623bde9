/**
 * Several runs as one list, of which a small window is held: it grows at the end that is looked at and is cut at the other.
 *
 * Invariant: between the first and the last row of the window no row of any run is missing, and for each run `first` and
 * `next` bound what the window holds of it.
 */
import type { Api } from '../api/client';
import { rowAt, TimeIndex } from './clock';
import { take, type MergedRow } from './merge';

/** Rows held; enough for a few screens in both directions. */
export const MOST_HELD = 1200;
const GROW_ROWS = 200;
const READ_ROWS = 200;

interface Feed {
  id: string;
  /** How far the console's clock is ahead. */
  aheadUs: number;
  total: number;
  index: TimeIndex;
  /** Rows of this run in the window: from `first` up to but not including `next`. */
  first: number;
  next: number;
  before: MergedRow[];
  after: MergedRow[];
}

export interface Source {
  id: string;
  aheadUs: number;
  total: number;
}

export type MergedState = 'loading' | 'here' | 'failed';

export class Merged {
  items = $state.raw<readonly MergedRow[]>([]);
  state = $state<MergedState>('loading');
  /** Nothing stands before, or after, what is held. */
  atStart = $state(false);
  atEnd = $state(false);

  private feeds: Feed[] = [];
  private working = false;
  private generation = 0;

  constructor(private readonly api: Pick<Api, 'rows'>) {}

  /** Begins anew with these runs, around a moment. */
  async open(sources: readonly Source[], at: number): Promise<void> {
    const generation = ++this.generation;
    this.working = false;
    const known = new Map(this.feeds.map((feed) => [feed.id, feed.index]));
    this.state = 'loading';
    try {
      const feeds = await Promise.all(
        sources.map(async (source): Promise<Feed> => {
          const index = known.get(source.id) ?? new TimeIndex();
          const row = await rowAt(index, at + source.aheadUs, source.total, async (from, count) => {
            const page = await this.api.rows(source.id, from, count);
            return page.rows;
          });
          return { ...source, index, first: row, next: row, before: [], after: [] };
        }),
      );
      if (generation !== this.generation) return;
      this.feeds = feeds;
      this.items = [];
      this.atStart = this.atEnd = false;
      await this.grow('after');
      await this.grow('before');
      if (generation === this.generation && this.state === 'loading') this.state = 'here';
    } catch {
      if (generation === this.generation) this.state = 'failed';
    }
  }

  /** A run has grown. */
  grew(id: string, total: number): void {
    const feed = this.feeds.find((one) => one.id === id);
    if (!feed || total <= feed.total) return;
    feed.total = total;
    this.atEnd = false;
  }

  /** Adds rows at one end. Returns how many were added before the first, and how many were cut there. */
  async grow(end: 'before' | 'after'): Promise<{ added: number; cut: number }> {
    const nothing = { added: 0, cut: 0 };
    if (this.working || (end === 'after' ? this.atEnd : this.atStart)) return nothing;
    const generation = this.generation;
    this.working = true;
    try {
      const taken: MergedRow[] = [];
      const back = end === 'before';
      while (taken.length < GROW_ROWS) {
        await Promise.all(this.feeds.map((feed) => this.read(feed, back)));
        if (generation !== this.generation) return nothing;
        const waiting = this.feeds.map((feed) => ({
          rows: back ? feed.before : feed.after,
          more: this.hasMore(feed, back),
        }));
        const some = take(waiting, GROW_ROWS - taken.length, back);
        for (const one of some) {
          const feed = this.feeds[one.run]!;
          if (back) feed.first = one.row.row;
          else feed.next = one.row.row + 1;
        }
        taken.push(...some);
        if (some.length === 0) break;
      }
      if (taken.length < GROW_ROWS) {
        if (back) this.atStart = true;
        else this.atEnd = true;
      }
      if (this.state === 'failed') this.state = 'here';
      return this.put(taken, back);
    } catch {
      if (generation === this.generation) this.state = 'failed';
      return nothing;
    } finally {
      if (generation === this.generation) this.working = false;
    }
  }

  private put(taken: MergedRow[], back: boolean): { added: number; cut: number } {
    const all = back ? [...taken.reverse(), ...this.items] : [...this.items, ...taken];
    const over = Math.max(0, all.length - MOST_HELD);
    const kept = back ? all.slice(0, all.length - over) : all.slice(over);
    if (over > 0) {
      const gone = back ? all.slice(all.length - over) : all.slice(0, over);
      // what was cut is read again when it is looked at
      for (const one of gone) {
        const feed = this.feeds[one.run]!;
        if (back) {
          feed.next = Math.min(feed.next, one.row.row);
          feed.after = [];
          this.atEnd = false;
        } else {
          feed.first = Math.max(feed.first, one.row.row + 1);
          feed.before = [];
          this.atStart = false;
        }
      }
      // others' read rows stand behind the cut now
      for (const feed of this.feeds) {
        if (back) feed.after = [];
        else feed.before = [];
      }
    }
    this.items = kept;
    return { added: back ? taken.length : 0, cut: back ? 0 : over };
  }

  private hasMore(feed: Feed, back: boolean): boolean {
    if (back) return feed.first - feed.before.length > 0;
    return feed.next + feed.after.length < feed.total;
  }

  /** Reads the next page of a run whose read rows are used up. */
  private async read(feed: Feed, back: boolean): Promise<void> {
    const held = back ? feed.before : feed.after;
    if (held.length > 0 || !this.hasMore(feed, back)) return;
    const from = back ? Math.max(0, feed.first - READ_ROWS) : feed.next;
    const count = back ? feed.first - from : READ_ROWS;
    const page = await this.api.rows(feed.id, from, count);
    if (page.rows.length === 0) {
      // fewer rows than were promised: what is missing is not waited for
      feed.total = Math.min(feed.total, feed.next);
      return;
    }
    feed.total = Math.max(feed.total, page.total_rows);
    const run = this.feeds.indexOf(feed);
    const rows = page.rows.map((row): MergedRow => ({ run, at: row.at - feed.aheadUs, row }));
    feed.index.learn(page.rows[0]!.row, page.rows[0]!.at);
    // a page going back may be cut short by its size: then its rows do not reach the window
    if (back)
      feed.before = rows.at(-1)!.row.row === feed.first - 1 ? rows.reverse() : await this.readOne(feed);
    else feed.after = rows;
  }

  /** One row before the window, for rows so large that a page holds few of them. */
  private async readOne(feed: Feed): Promise<MergedRow[]> {
    const page = await this.api.rows(feed.id, feed.first - 1, 1);
    const run = this.feeds.indexOf(feed);
    return page.rows.map((row): MergedRow => ({ run, at: row.at - feed.aheadUs, row }));
  }
}
