import { describe, expect, it, vi } from 'vitest';
import { FakeHost } from '../../test/fixtures';
import { Api } from '../api/client';
import { minutesEast } from '../query/dates';
import { Search } from './search.svelte';

describe('finding in one log', () => {
  function searching() {
    const host = new FakeHost(() => ({
      body: {
        total: 20_000,
        rows: [5, 9],
        capped: true,
        scanned_rows: 9,
        buckets: [
          [5, 2],
          [800_000, 1],
        ],
      },
    }));
    return { host, search: new Search(new Api(host, 'here'), 'one') };
  }

  it('asks in the search language when that is chosen, and shows all places', async () => {
    const { host, search } = searching();
    search.language = true;
    search.q = 'disk -cache';
    search.matchCase = true;
    search.changed();
    await vi.waitFor(() => expect(search.hits.kind).toBe('found'), { timeout: 15_000 });
    const query = new URL(host.requests[0]!.path, 'http://x').searchParams;
    expect(Object.fromEntries(query)).toEqual({
      q: 'disk -cache',
      lang: 'true',
      tz: String(minutesEast()),
      buckets: '400',
    });
    expect(search.hitPlaces).toEqual([5, 800_000]);
    expect(search.hitRows).toEqual([5, 9]);
    // times may be counted from now
    expect(search.known).toBeNull();
    expect(search.matchers.map((matcher) => matcher.source)).toEqual(['disk']);
    search.close();
  });

  it('looks only at what came since when the log grows', async () => {
    const answer = (until: number, rows: number[]) => ({
      body: {
        total: rows.length,
        rows,
        capped: false,
        until,
        last: rows.at(-1) ?? null,
        scanned_rows: until,
        buckets: [],
      },
    });
    const host = new FakeHost((request) => {
      const from = new URL(request.path, 'http://x').searchParams.get('from');
      return from === null ? answer(10, [3, 9]) : answer(20, [9, 15]);
    });
    const search = new Search(new Api(host, 'here'), 'one');
    search.grew(10);
    search.q = 'disk';
    search.changed();
    await vi.waitFor(() => expect(search.hitRows).toEqual([3, 9]), { timeout: 15_000 });
    expect(search.known?.rows).toEqual([3, 9]);
    search.grew(20);
    await vi.waitFor(() => expect(search.hitRows).toEqual([3, 9, 15]), { timeout: 15_000 });
    expect(
      host.requests.map((request) => new URL(request.path, 'http://x').searchParams.get('from')),
    ).toEqual([null, '9']);
    // what another query found is shown until this one has, and is not its answer
    search.q = 'disk full';
    search.changed();
    expect(search.hitRows).toEqual([3, 9, 15]);
    expect(search.known).toBeNull();
    search.close();
  });

  it('waits for the next letter, and for nothing else', async () => {
    vi.useFakeTimers();
    try {
      const { host, search } = searching();
      for (const typed of ['d', 'di', 'dis']) {
        search.q = typed;
        search.changed();
        await vi.advanceTimersByTimeAsync(50);
      }
      expect(host.requests).toHaveLength(0);
      await vi.advanceTimersByTimeAsync(100);
      expect(host.requests).toHaveLength(1);
      // pasted, and then a choice beside it
      search.q = 'disk full';
      search.changed();
      await vi.advanceTimersByTimeAsync(1);
      expect(host.requests).toHaveLength(2);
      search.matchCase = true;
      search.changed();
      await vi.advanceTimersByTimeAsync(1);
      expect(host.requests).toHaveLength(3);
      search.close();
    } finally {
      vi.useRealTimers();
    }
  });

  it('gives up what is not wanted any more, and says nothing of it', async () => {
    const { host, search } = searching();
    search.grew(10);
    const until = (count: number) => vi.waitFor(() => expect(host.requests).toHaveLength(count));
    // the answers stay out
    const waiting: AbortSignal[] = [];
    host.request = (_, request) => {
      host.requests.push(request);
      waiting.push(request.signal!);
      return new Promise((_, reject) =>
        request.signal!.addEventListener('abort', () => reject(request.signal!.reason as Error)),
      );
    };
    search.q = 'disk';
    search.changed();
    await until(1);
    expect(waiting[0]!.aborted).toBe(false);
    search.q = 'disk full';
    search.changed();
    expect(waiting[0]!.aborted).toBe(true);
    await until(2);
    expect(search.hits.kind).toBe('searching');
    // a log that grows meanwhile waits for its turn
    search.grew(20);
    expect(waiting[1]!.aborted).toBe(false);
    search.close();
    expect(waiting[1]!.aborted).toBe(true);
    await new Promise((done) => setTimeout(done));
    expect(search.hits.kind).toBe('searching');
    expect(host.requests).toHaveLength(2);
  });

  it('is as it was otherwise', () => {
    const { search } = searching();
    search.q = 'a.c';
    expect(search.query()).toEqual({ q: 'a.c', regex: false, case: false });
    expect(search.matchers).toEqual([/a\.c/giu]);
    search.regex = true;
    search.q = '(';
    expect(search.matchers).toEqual([]);
    search.close();
  });
});
