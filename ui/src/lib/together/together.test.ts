import { flushSync } from 'svelte';
import { describe, expect, it, vi } from 'vitest';
import { FakeHost, NOW, row, summary } from '../../test/fixtures';
import { Api } from '../api/client';
import { LiveConnection } from '../connection/connection.svelte';
import { rowAt, TimeIndex } from './clock';
import { take, type MergedRow } from './merge';
import { Merged, MOST_HELD } from './merged.svelte';
import { Together } from './together.svelte';

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000 });

describe('finding a moment in a log', () => {
  /** A million lines: even, then none for an hour, then a burst. */
  const TOTAL = 1_000_000;
  const at = (number: number) =>
    number < 500_000 ? number * 1000 : 3600e6 + 500_000 * 1000 + (number - 500_000);

  it.each([0, 1, 999, 123_456_789, 499_999_000, 2000e6, 4_100_000_500, 4_100_499_999, 9e12])(
    'takes few reads to %d',
    async (moment) => {
      const index = new TimeIndex();
      let reads = 0;
      const found = await rowAt(index, moment, TOTAL, async (from, count) => {
        reads++;
        const length = Math.min(count, TOTAL - from);
        return Array.from({ length }, (_, i) => ({ row: from + i, at: at(from + i) }));
      });
      expect(at(found)).toBeLessThanOrEqual(moment);
      if (found < TOTAL - 1) expect(at(found + 1)).toBeGreaterThan(moment);
      expect(reads).toBeLessThanOrEqual(20);
    },
  );

  it('is the first row before the log began, and leaves a clock that was set back aside', async () => {
    const index = new TimeIndex();
    index.learn(10, 100);
    index.learn(20, 50);
    index.learn(30, 300);
    expect(index.around(120)).toEqual({ from: { row: 10, at: 100 }, to: { row: 30, at: 300 } });
    const read = async () => [{ row: 0, at: 90 }];
    expect(await rowAt(new TimeIndex(), 5, 1, read)).toBe(0);
  });
});

describe('one list of several runs', () => {
  const item = (run: number, at: number, number = at): MergedRow => ({ run, at, row: row(number, { at }) });
  const ats = (rows: MergedRow[]) => rows.map((one) => `${one.run}@${one.at}`);

  it('goes by time, and stops where a row that was not read may come first', () => {
    const waiting = [
      { rows: [item(0, 1), item(0, 5)], more: true },
      { rows: [item(1, 2), item(1, 3), item(1, 9)], more: false },
    ];
    expect(ats(take(waiting, 10))).toEqual(['0@1', '1@2', '1@3', '0@5']);
    expect(waiting[1]!.rows).toHaveLength(1);
    waiting[0]!.more = false;
    expect(ats(take(waiting, 10))).toEqual(['1@9']);
  });

  it('keeps the order of a run whose clock was set back, and of runs of the same moment', () => {
    const rows = take(
      [
        { rows: [item(0, 5, 1), item(0, 2, 2)], more: false },
        { rows: [item(1, 5, 1)], more: false },
      ],
      10,
    );
    expect(rows.map((one) => [one.run, one.row.row])).toEqual([
      [0, 1],
      [0, 2],
      [1, 1],
    ]);
  });

  it('goes back in the same order', () => {
    const waiting = () => [
      { rows: [item(0, 5), item(0, 1)], more: false },
      { rows: [item(1, 5), item(1, 3)], more: false },
    ];
    expect(ats(take(waiting(), 10, true).reverse())).toEqual(['0@1', '1@3', '0@5', '1@5']);
  });

  /** Runs of 5,000 rows: one every 10 µs, the other every 15 µs from later on, its clock 7 µs ahead. */
  function reading() {
    const asked: number[] = [];
    const time = (id: string, number: number) => (id === 'a' ? number * 10 : 2000 + number * 15 + 7);
    const rows = async (id: string, from: number, count: number) => {
      asked.push(count);
      const length = Math.max(0, Math.min(count, 5000 - from));
      const page = Array.from({ length }, (_, i) => row(from + i, { at: time(id, from + i) }));
      return { rows: page, total_rows: 5000, first_row: from, acked_seq: 0 };
    };
    const sources = [
      { id: 'a', aheadUs: 0, total: 5000 },
      { id: 'b', aheadUs: 7, total: 5000 },
    ];
    return { merged: new Merged({ rows }), sources, asked };
  }

  function complete(items: readonly MergedRow[]) {
    for (const run of [0, 1]) {
      const numbers = items.filter((one) => one.run === run).map((one) => one.row.row);
      numbers.forEach((number, i) => expect(number).toBe(numbers[0]! + i));
    }
    items.forEach((one, i) => expect(one.at).toBeGreaterThanOrEqual(items[Math.max(0, i - 1)]!.at));
  }

  it('holds a window that grows, is cut, and misses nothing', async () => {
    const { merged, sources, asked } = reading();
    await merged.open(sources, 30_000);
    expect(merged.state).toBe('here');
    expect(merged.items.some((one) => one.at > 29_900 && one.at < 30_100)).toBe(true);
    complete(merged.items);
    for (let i = 0; i < 12; i++) await merged.grow('after');
    expect(merged.items.length).toBeLessThanOrEqual(MOST_HELD);
    complete(merged.items);
    for (let i = 0; i < 30; i++) await merged.grow('before');
    expect(merged.items.length).toBeLessThanOrEqual(MOST_HELD);
    complete(merged.items);
    for (let i = 0; i < 60 && !merged.atEnd; i++) await merged.grow('after');
    expect(merged.atEnd).toBe(true);
    complete(merged.items);
    expect(merged.items.at(-1)!.at).toBe(2000 + 4999 * 15);
    expect(Math.max(...asked)).toBeLessThanOrEqual(200);
    for (let i = 0; i < 80 && !merged.atStart; i++) await merged.grow('before');
    expect(merged.items[0]!.at).toBe(0);
    complete(merged.items);
  });

  it('goes on when a run has grown', async () => {
    let total = 10;
    const rows = async (_id: string, from: number, count: number) => {
      const length = Math.max(0, Math.min(count, total - from));
      const page = Array.from({ length }, (_, i) => row(from + i));
      return { rows: page, total_rows: total, first_row: from, acked_seq: 0 };
    };
    const merged = new Merged({ rows });
    await merged.open([{ id: 'a', aheadUs: 0, total }], 0);
    expect(merged.atEnd).toBe(true);
    expect(merged.items).toHaveLength(10);
    total = 14;
    merged.grew('a', 14);
    await merged.grow('after');
    expect(merged.items.map((one) => one.row.row)).toEqual(Array.from({ length: 14 }, (_, i) => i));
  });

  it('says that it failed, and can be opened again', async () => {
    const { sources } = reading();
    const merged = new Merged({ rows: () => Promise.reject(new Error('gone')) });
    await merged.open(sources, 0);
    expect(merged.state).toBe('failed');
  });
});

describe('logs on one clock', () => {
  it('follow the one that the operator moves, to the same time or the same time since their start', async () => {
    const start = { a: NOW, b: NOW + 60e6 };
    const time = (id: string, number: number) => start[id as 'a' | 'b'] + number * 100_000;
    const host = new FakeHost((request) => {
      const url = new URL(request.path, 'http://x');
      const id = url.pathname.split('/')[4]!;
      const from = Number(url.searchParams.get('from'));
      const count = Math.min(Number(url.searchParams.get('count')), 5000 - from);
      const rows = Array.from({ length: count }, (_, i) => row(from + i, { at: time(id, from + i) }));
      return { body: { total_rows: 5000, first_row: from, rows, acked_seq: 5000 } };
    });
    const connection = new LiveConnection(host, 'here');
    connection.start();
    await eventually(() => expect(connection.state.kind).toBe('live'));
    const together = new Together(new Api(host, 'here'), connection);
    together.show(['a', 'b']);
    for (const [id, side] of together.sides) {
      const subscribed = host.socket.sent.find(
        (one) => one['topic'] === 'deployment' && one['deployment_id'] === id,
      );
      const started_at = start[id as 'a' | 'b'];
      const run = summary({ id, rows: 5000, started_at, state: 'succeeded', outcome: 'succeeded' });
      const detail = { summary: run, context: null, events: [], clock_offset_us: 0 };
      host.say({ type: 'snapshot', id: subscribed!['id'], data: detail });
      side.open();
      side.viewer.resize(600);
    }
    const [a, b] = [together.sides.get('a')!, together.sides.get('b')!];
    together.lead('a');
    a.viewer.scrollTo(2000);
    await eventually(() => expect(a.at).toBe(time('a', 2000)));
    flushSync();
    together.align('time');
    await eventually(() => expect(b.viewer.topRow).toBe(1400));
    together.align('start');
    await eventually(() => expect(b.viewer.topRow).toBe(2000));
    // before the other began, it stands at its beginning
    a.viewer.scrollTo(10);
    await eventually(() => expect(a.at).toBe(time('a', 10)));
    together.align('time');
    await eventually(() => expect(b.viewer.topRow).toBe(0));
    together.show(['b']);
    expect([...together.sides.keys()]).toEqual(['b']);
    together.close();
  });
});
