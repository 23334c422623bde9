import { describe, expect, it, vi } from 'vitest';
import { FakeHost, hit, row, type Answer } from '../../test/fixtures';
import { Api } from '../api/client';
import type { SearchHit } from '../api/types';
import { LiveConnection } from '../connection/connection.svelte';
import { bars, bucketAt, rangeOf, sumOf } from './histogram';
import { grouped, HEIGHTS, Layout, listed, Results } from './results.svelte';
import { cursorOf, HistorySearch } from './search.svelte';

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000 });
const progress = {
  blocks: 1,
  of_blocks: 2,
  opened: 1,
  unreadable: 0,
  rows: 4000,
  done: false,
  took_us: 120_000,
};

async function started(answer?: Answer) {
  const host = new FakeHost(answer);
  const connection = new LiveConnection(host, 'here');
  connection.start();
  await eventually(() => expect(connection.state.kind).toBe('live'));
  const api = new Api(host, 'here');
  const search = new HistorySearch(api, connection);
  const id = () => host.idOf('search');
  const snapshot = () =>
    host.say({
      type: 'snapshot',
      id: id(),
      data: {
        query: 'x',
        of_blocks: 2,
        histogram_from: 0,
        histogram_width_us: 60e6,
        histogram_buckets: 4,
      },
    });
  const delta = (hits: SearchHit[], matched: number, buckets: number[][] = []) =>
    host.say({ type: 'delta', id: id(), data: { hits, matched, buckets, progress } });
  const end = () => host.say({ type: 'ended', id: id(), reason: 'complete' });
  return { host, api, connection, search, snapshot, delta, end, id };
}

describe('a search', () => {
  it('streams in, counts on beyond what it lists, and ends', async () => {
    const { host, search, snapshot, delta, end } = await started();
    search.run('disk');
    expect(host.socket.sent.at(-1)).toMatchObject({ topic: 'search', query: 'disk', limit: 200 });
    expect(search.state.kind).toBe('asking');
    snapshot();
    delta([hit('a', 9), hit('a', 5)], 2, [[3, 2, 1]]);
    delta([], 7, [[2, 5, 0]]);
    await eventually(() => expect(search.matched).toBe(7));
    expect(search.state.kind).toBe('searching');
    expect(search.histogram).toMatchObject({ matched: [0, 0, 5, 2], errors: [0, 0, 0, 1] });
    end();
    expect(search.state.kind).toBe('done');
    expect(search.hits.map((one) => one.row.row)).toEqual([9, 5]);
    expect(search.older).toBe('more');
  });

  it('is stopped, and keeps what it found', async () => {
    const { host, search, snapshot, delta, id } = await started();
    search.run('disk');
    snapshot();
    delta([hit('a', 9)], 1);
    search.cancel();
    expect(search.state.kind).toBe('stopped');
    expect(search.hits).toHaveLength(1);
    expect(host.socket.sent.at(-1)).toEqual({ type: 'unsubscribe', id: id() });
  });

  it('takes nothing of the search before it', async () => {
    const { host, search, snapshot, delta, id } = await started();
    search.run('disk');
    const old = id();
    snapshot();
    search.run('nvidia');
    host.say({ type: 'delta', id: old, data: { hits: [hit('old', 1)], matched: 1, buckets: [], progress } });
    snapshot();
    delta([hit('new', 1)], 1);
    await eventually(() => expect(search.hits).toHaveLength(1));
    expect(search.hits[0]!.deployment_id).toBe('new');
  });

  it('says what is wrong with a query, and is over', async () => {
    const { host, search, id } = await started();
    search.run('level:eror');
    const error = { code: 'bad_request', message: 'no such level', retryable: false };
    host.say({ type: 'error', id: id(), error });
    expect(search.state).toEqual({ kind: 'failed', message: 'no such level' });
    expect(host.socket.sent.at(-1)).toMatchObject({ type: 'unsubscribe' });
  });

  it('begins anew when the collector comes back, without doubling what was there', async () => {
    const { host, connection, search, snapshot, delta } = await started();
    search.run('disk');
    snapshot();
    delta([hit('a', 9)], 1);
    await eventually(() => expect(search.hits).toHaveLength(1));
    host.socket.handlers.closed({ reason: 'lost', message: '' });
    connection.retry();
    await eventually(() => expect(host.sockets).toHaveLength(2));
    expect(search.hits).toHaveLength(1);
    await eventually(() => host.idOf('search'));
    snapshot();
    delta([hit('a', 9)], 1);
    await eventually(() => expect(search.matched).toBe(1));
    expect(search.hits).toHaveLength(1);
  });

  it('asks for older hits behind the last one, page by page, once at a time', async () => {
    const asked: (string | null)[] = [];
    const { search, snapshot, delta, end } = await started((request) => {
      const before = new URL(request.path, 'http://x').searchParams.get('before');
      asked.push(before);
      const first = asked.length === 1;
      return { body: { hits: [hit('b', first ? 3 : 2)], next: first ? 'cursor-2' : null } };
    });
    search.run('disk');
    snapshot();
    delta([hit('a', 9)], 3);
    await eventually(() => expect(search.hits).toHaveLength(1));
    end();
    void search.loadOlder();
    await search.loadOlder();
    await eventually(() => expect(search.hits).toHaveLength(2));
    await search.loadOlder();
    expect(asked).toEqual([cursorOf(hit('a', 9)), 'cursor-2']);
    expect(search.hits.map((one) => one.row.row)).toEqual([9, 3, 2]);
    expect(search.older).toBe('none');
  });

  it('can ask again for an older page that did not come', async () => {
    let fails = true;
    const { search, snapshot, delta, end } = await started(() =>
      fails ? { status: 503, body: {} } : { body: { hits: [], next: null } },
    );
    search.run('disk');
    snapshot();
    delta([hit('a', 9)], 3);
    await eventually(() => expect(search.hits).toHaveLength(1));
    end();
    await search.loadOlder();
    expect(search.older).toBe('failed');
    expect(search.state.kind).toBe('done');
    fails = false;
    await search.loadOlder();
    expect(search.older).toBe('none');
  });
});

describe('results', () => {
  const hits = [hit('a', 9), hit('a', 5), hit('b', 7), hit('a', 2)];

  it('stand under their runs, in the order of their newest hits', () => {
    expect(grouped(hits).map((group) => [group.id, group.hits.map((one) => one.row.row)])).toEqual([
      ['a', [9, 5, 2]],
      ['b', [7]],
    ]);
  });

  it('lie where their heights put them', () => {
    const layout = new Layout(listed(grouped(hits), new Set(['a']), new Map()));
    expect(layout.entries.map((entry) => entry.kind)).toEqual(['run', 'run', 'hit', 'end']);
    expect(layout.topOf(2)).toBe(HEIGHTS.run * 2);
    expect(layout.at(HEIGHTS.run * 2 + HEIGHTS.hit - 1)).toBe(2);
    expect(layout.at(1e9)).toBe(3);
    expect(layout.at(-50)).toBe(0);
    expect(layout.height).toBe(HEIGHTS.run * 2 + HEIGHTS.hit + HEIGHTS.end);
  });

  it('are gone through by keys, over headings and past what is folded', async () => {
    const { api, search } = await started();
    search.hits = hits;
    const results = new Results(search, api);
    const rows = () => results.hit && `${results.hit.deployment_id}${results.hit.row.row}`;
    results.move(1);
    expect(rows()).toBe('a9');
    results.move(3);
    expect(rows()).toBe('b7');
    results.move(99);
    expect(rows()).toBe('b7');
    results.move(-1);
    expect(rows()).toBe('a2');
    results.fold('a');
    results.move(1);
    expect(rows()).toBe('b7');
  });

  it('show the lines around one, and put them away', async () => {
    const { api, search } = await started((request) => {
      const query = new URL(request.path, 'http://x').searchParams;
      const from = Number(query.get('from'));
      const count = Number(query.get('count'));
      return {
        body: {
          total_rows: 10,
          first_row: from,
          rows: Array.from({ length: count }, (_, i) => row(from + i)),
        },
      };
    });
    search.hits = [hit('a', 1)];
    const results = new Results(search, api);
    await results.peek(search.hits[0]!);
    const lines = () =>
      results.layout.entries.flatMap<number | string>((entry) =>
        entry.kind === 'around' ? [entry.row.row] : entry.kind === 'hit' ? ['hit'] : [],
      );
    expect(lines()).toEqual([0, 'hit', 2, 3, 4]);
    await results.peek(search.hits[0]!);
    expect(lines()).toEqual(['hit']);
  });
});

describe('the histogram', () => {
  const histogram = { from: 0, width_us: 10 * 60e6, matched: [0, 10, 1000, 1], errors: [0, 10, 1, 0] };

  it('shows the smallest beside the largest, and errors within what matched', () => {
    const drawn = bars(histogram, 400, 50);
    expect(drawn.map((bar) => bar.index)).toEqual([1, 2, 3]);
    expect(drawn[0]).toMatchObject({ matched: 2, errors: 2 });
    expect(drawn[1]).toMatchObject({ x: 234, width: 32, matched: 50, errors: 2 });
    expect(bars({ ...histogram, matched: Array<number>(100).fill(1) }, 400, 50)[1]).toMatchObject({
      x: 4,
      width: 3,
    });
    expect(drawn[2]).toMatchObject({ matched: 2, errors: 0 });
  });

  it('finds the bucket under a point, also outside', () => {
    expect([-5, 0, 199, 399, 900].map((x) => bucketAt(x, 400, 4))).toEqual([0, 0, 1, 3, 3]);
  });

  it('chooses a range in either direction, widened to whole minutes or seconds', () => {
    expect(rangeOf(histogram, 2, 1)).toEqual({ after: 10 * 60e6, before: 30 * 60e6 });
    const odd = { ...histogram, from: 500_000, width_us: 1_500_000 };
    expect(rangeOf(odd, 0, 0)).toEqual({ after: 0, before: 2e6 });
    expect(sumOf(histogram, 3, 1)).toEqual({ matched: 1011, errors: 11 });
  });
});
