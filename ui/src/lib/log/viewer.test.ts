import { beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeHost, phase, row } from '../../test/fixtures';
import { Api } from '../api/client';
import { LiveConnection } from '../connection/connection.svelte';
import { t } from '../shared/strings';
import { ROW_END } from './selection.svelte';
import { ROW_PX, Viewer } from './viewer.svelte';

/** Waits for a condition, with a deadline that a busy machine can keep. */
const eventually = (check: () => void) => vi.waitFor(check, { timeout: 15_000 });

/** A log of a million rows that answers pages as a collector does. */
const TOTAL = 1_000_000;

/** `grows`: how many rows come to the log while a question for rows is answered. */
async function opened(at: { row: number } | 'tail', long = TOTAL, follow = true, grows = 0, height = 30) {
  let total = long;
  const host = new FakeHost((request) => {
    const url = new URL(request.path, 'http://x');
    const from = Number(url.searchParams.get('from'));
    const count = Number(url.searchParams.get('count'));
    if (url.pathname.endsWith('/rows')) {
      total += grows;
      const rows = Array.from({ length: Math.max(0, Math.min(count, total - from)) }, (_, i) =>
        row(from + i),
      );
      return { body: { total_rows: total, first_row: from, rows, acked_seq: total } };
    }
    if (url.pathname.endsWith('/find')) return { body: { row: 777, wrapped: false } };
    return { status: 404, body: {} };
  });
  const connection = new LiveConnection(host, 'here');
  connection.start();
  const viewer = new Viewer(new Api(host, 'here'), connection, 'one');
  viewer.open(at, long, follow);
  // the height is known when the screen stands
  viewer.resize(height * ROW_PX);
  await eventually(() => expect(viewer.complete).toBe(true));
  const id = host.idOf('window');
  const tail = (first: number, count: number) =>
    host.say({
      type: 'delta',
      id,
      data: {
        total_rows: first + count,
        from: first,
        rows: Array.from({ length: count }, (_, i) => row(first + i)),
      },
    });
  return { host, connection, viewer, id, tail };
}

/** First row and count of each question for rows. */
const asked = (host: FakeHost) =>
  host.requests
    .map(({ path }) => new URL(path, 'http://x'))
    .filter((url) => url.pathname.endsWith('/rows'))
    .map((url) => ['from', 'count'].map((name) => Number(url.searchParams.get(name))));

const shown = (viewer: Viewer) => viewer.slots.map((slot) => (slot.item.kind === 'row' ? slot.item.row : -1));

beforeEach(() => performance.clearMarks());

describe('the viewer', () => {
  it('asks for the surroundings of a leap only where one comes to rest', async () => {
    const { host, viewer } = await opened('tail');
    const windows = () => host.socket.sent.filter((message) => message['type'] === 'window');
    vi.useFakeTimers();
    try {
      for (const row of [1_000, 400_000, 80_000, 700_000]) {
        viewer.jumpTo(row);
        await vi.advanceTimersByTimeAsync(50);
        expect(shown(viewer)).toContain(row);
        expect(viewer.complete).toBe(true);
      }
      expect(windows()).toEqual([]);
      await vi.advanceTimersByTimeAsync(300);
      expect(windows().length).toBe(1);
      const from = windows()[0]!['from'] as number;
      expect(from).toBeLessThan(700_000);
      expect(from + 300).toBeGreaterThan(700_000);
      // who scrolls on from there is not kept waiting
      viewer.scrollBy(100);
      await vi.advanceTimersByTimeAsync(100);
      expect(windows().length).toBe(2);
      // nor who scrolls on without a rest
      viewer.jumpTo(90_000);
      for (let step = 0; step < 8; step++) {
        await vi.advanceTimersByTimeAsync(50);
        viewer.scrollBy(10);
      }
      expect(windows().length).toBe(3);
      // and neither is who goes back to the end in the middle of a leap
      viewer.jumpTo(5_000);
      await vi.advanceTimersByTimeAsync(50);
      viewer.follow();
      await vi.advanceTimersByTimeAsync(100);
      expect(windows().at(-1)).toMatchObject({ follow: true });
    } finally {
      vi.useRealTimers();
      viewer.close();
    }
  });

  it('opens at the tail of a long log by asking for one screen, not for the log', async () => {
    const { host, viewer } = await opened('tail');
    expect(shown(viewer).at(-1)).toBe(TOTAL - 1);
    expect(asked(host).reduce((sum, [, count]) => sum + count!, 0)).toBeLessThanOrEqual(600);
    viewer.close();
  });

  it.each([
    { height: 12, at: 'tail' as const },
    { height: 40, at: 'tail' as const },
    { height: 12, at: { row: 500_000 } },
    { height: 40, at: { row: 500_000 } },
    { height: 40, at: { row: 12 } },
  ])(
    'fills a screen of $height rows at $at with one question, wherever pages begin',
    async ({ height, at }) => {
      const { host, viewer } = await opened(at, 1_000_010, true, 0, height);
      expect(shown(viewer)).toContain(at === 'tail' ? 1_000_009 : at.row);
      expect(shown(viewer).length).toBeGreaterThanOrEqual(height);
      expect(asked(host)).toHaveLength(1);
      viewer.jumpTo(250_000);
      await eventually(() => expect(shown(viewer)).toContain(250_000));
      expect(viewer.complete).toBe(true);
      expect(asked(host)).toHaveLength(2);
      viewer.close();
    },
  );

  it('opens at a row a third down the screen, however near to the end it is', async () => {
    for (const height of [8, 12, 35]) {
      for (const before of [1, 6, 10, 15, 500]) {
        const { viewer } = await opened({ row: 10_000 - before }, 10_000, false, 0, height);
        const at = 10_000 - before - viewer.top;
        expect(at).toBe(Math.max(height - before, Math.ceil(height / 3)));
        viewer.close();
      }
    }
  });

  it('asks for the rows of the failing line before those of folded phases above it', async () => {
    const { host, connection } = await opened('tail');
    host.requests.length = 0;
    const viewer = new Viewer(new Api(host, 'here'), connection, 'one');
    const ended = (index: number) =>
      phase({ index, first_row: index * 2000, last_row: index * 2000 + 1999, finished_at: 1 });
    viewer.setPhases([0, 1, 2, 3, 4].map(ended));
    for (const index of [0, 1, 2, 3]) viewer.fold(index);
    viewer.open({ row: 8_005 }, TOTAL, false);
    viewer.resize(35 * ROW_PX);
    const [from, count] = asked(host)[0]!;
    expect(from).toBeLessThanOrEqual(8_000);
    expect(from! + count!).toBeGreaterThan(8_025);
    await eventually(() => expect(viewer.complete).toBe(true));
    viewer.close();
  });

  it('keeps what a filter shows while the log grows', async () => {
    const { host, viewer, tail } = await opened('tail');
    const hits = Array.from({ length: 20 }, (_, i) => TOTAL - 400 * (20 - i));
    const found = { total: 20, rows: hits, capped: false, until: TOTAL, last: hits[19], buckets: [] };
    const answer = host.answer;
    // the log is searched again while it grows
    host.answer = (request) => (request.path.includes('/matches') ? { body: found } : answer(request));
    viewer.search.q = 'x';
    viewer.search.onlyMatches = true;
    viewer.search.hits = { kind: 'found', matches: found as never };
    viewer.refiltered(null);
    await eventually(() =>
      expect(viewer.complete && shown(viewer)).toEqual(expect.arrayContaining([hits[19]])),
    );
    await eventually(() => expect(viewer.complete).toBe(true));
    host.requests.length = 0;
    for (let i = 0; i < 60; i++) {
      tail(TOTAL + i * 150, 150);
      await eventually(() => expect(viewer.total).toBe(TOTAL + (i + 1) * 150));
      expect(viewer.complete).toBe(true);
    }
    expect(asked(host)).toEqual([]);
    viewer.close();
  });

  it('does not chase the end of a log that grows faster than it is asked for', async () => {
    const { host, viewer, tail } = await opened('tail', TOTAL, true, 500);
    expect(asked(host)).toHaveLength(1);
    expect(shown(viewer).at(-1)).toBe(TOTAL - 1);
    // the window brings the end and its rows
    tail(TOTAL + 300, 300);
    await eventually(() => expect(shown(viewer).at(-1)).toBe(TOTAL + 599));
    expect(viewer.complete).toBe(true);
    expect(asked(host)).toHaveLength(1);
    // whoever looks elsewhere is told by each answer how long it is
    viewer.jumpTo(5_000);
    await eventually(() => expect(viewer.total).toBe(TOTAL + 1_000));
    viewer.close();
  });

  it('moves the window at once with who leaves the end of a log that grew', async () => {
    const { host, viewer, tail } = await opened('tail');
    tail(TOTAL, 2_000);
    await eventually(() => expect(viewer.total).toBe(TOTAL + 2_000));
    await eventually(() => expect(viewer.complete).toBe(true));
    vi.useFakeTimers();
    try {
      viewer.scrollBy(-5);
      await vi.advanceTimersByTimeAsync(120);
      const moved = host.socket.sent.filter((message) => message['type'] === 'window');
      expect(moved.at(-1)).toMatchObject({ follow: false });
    } finally {
      vi.useRealTimers();
      viewer.close();
    }
  });

  it('follows the tail, row by row without a hole', async () => {
    const { viewer, tail } = await opened('tail');
    for (let i = 0; i < 20; i++) tail(TOTAL + i * 5, 5);
    await eventually(() => expect(viewer.total).toBe(TOTAL + 100));
    const rows = shown(viewer);
    expect(rows.at(-1)).toBe(TOTAL + 99);
    rows.forEach((number, i) => expect(number).toBe(rows[0]! + i));
    expect(viewer.unseen).toBe(0);
    viewer.close();
  });

  it('stays put once the operator scrolled up, and counts what came', async () => {
    const { viewer, tail } = await opened('tail');
    viewer.scrollBy(-100);
    const before = shown(viewer);
    tail(TOTAL, 312);
    await eventually(() => expect(viewer.total).toBe(TOTAL + 312));
    expect(viewer.following).toBe(false);
    expect(shown(viewer)).toEqual(before);
    expect(viewer.unseen).toBe(312);
    viewer.follow();
    expect(viewer.unseen).toBe(0);
    expect(shown(viewer).at(-1)).toBe(TOTAL + 311);
    viewer.close();
  });

  it('pays for deltas only after they were applied', async () => {
    const { host, viewer, tail } = await opened('tail');
    for (let row = TOTAL; row < TOTAL + 4; row++) tail(row, 1);
    expect(host.socket.sent.some((message) => message['type'] === 'credit')).toBe(false);
    await eventually(() =>
      expect(host.socket.sent.filter((message) => message['type'] === 'credit')).toEqual([
        { type: 'credit', id: expect.any(Number), credits: 4 },
      ]),
    );
    viewer.close();
  });

  it('jumps to any row, shows it, and measures when it was painted', async () => {
    const { viewer } = await opened('tail');
    const before = shown(viewer);
    viewer.jumpTo(543_210);
    // nothing blank in between: what stands there stays until the rows are here
    expect(shown(viewer)).toEqual(before);
    await eventually(() => expect(shown(viewer)).toContain(543_210));
    expect(viewer.complete).toBe(true);
    expect(viewer.cursor).toBe(543_210);
    viewer.painted();
    await eventually(() => expect(performance.getEntriesByName('row-painted')).toHaveLength(1));
    viewer.close();
  });

  it('opens the phase that hides the row it jumps to', async () => {
    const { viewer } = await opened('tail');
    viewer.setPhases([
      phase({ index: 0, first_row: 0, last_row: 499_999, state: 'succeeded' }),
      phase({ index: 1, first_row: 500_000, last_row: null }),
    ]);
    viewer.foldAll(true);
    expect(viewer.display.length).toBe(2);
    viewer.jumpTo(123_456);
    await eventually(() => expect(shown(viewer)).toContain(123_456));
    expect(viewer.folded.has(0)).toBe(false);
    expect(viewer.folded.has(1)).toBe(true);
    viewer.close();
  });

  it('keeps a folded phase that runs as one row while it grows', async () => {
    const { viewer, tail } = await opened('tail');
    const running = phase({ first_row: 500_000, last_row: TOTAL - 1 });
    viewer.setPhases([running]);
    viewer.fold(0);
    expect(viewer.display.length).toBe(500_001);
    // the rows are here before the phase tells of them
    tail(TOTAL, 40);
    await eventually(() => expect(viewer.total).toBe(TOTAL + 40));
    expect(viewer.display.length).toBe(500_001);
    // finished: what comes after it is not its own
    viewer.setPhases([{ ...running, state: 'succeeded', last_row: TOTAL + 29, finished_at: 1 }]);
    expect(viewer.display.length).toBe(500_011);
    viewer.close();
  });

  it('folds under a header that stays where it is, wherever the current row is', async () => {
    const { viewer } = await opened({ row: 100 });
    viewer.setPhases([
      phase({ index: 0, first_row: 0, last_row: 104, finished_at: 1 }),
      phase({ index: 1, first_row: 105, last_row: 999, finished_at: 1 }),
      phase({ index: 2, first_row: 1000 }),
    ]);
    viewer.scrollTo(95);
    viewer.cursor = 500_000;
    const before = shown(viewer).slice(0, 11);
    viewer.fold(1);
    expect(shown(viewer).slice(0, 12)).toEqual([...before, 1000]);
    viewer.fold(1);
    expect(shown(viewer).slice(0, 11)).toEqual(before);
    // the header is above the screen: the current row, when it can be seen, stays instead
    viewer.scrollTo(990);
    viewer.cursor = 1005;
    viewer.fold(1);
    expect(viewer.display.positionOf(1005) - viewer.top).toBe(15);
    viewer.close();
  });

  it('does not move what stands above a header that is unfolded while the tail is followed', async () => {
    const { viewer } = await opened('tail');
    viewer.setPhases([
      phase({ index: 0, first_row: 0, last_row: TOTAL - 6, finished_at: 1 }),
      phase({ index: 1, first_row: TOTAL - 5 }),
    ]);
    viewer.fold(1);
    expect(viewer.following).toBe(true);
    const before = shown(viewer);
    viewer.fold(1);
    expect(shown(viewer).slice(0, before.length - 1)).toEqual(before.slice(0, -1));
    expect(viewer.following).toBe(false);
    viewer.close();
  });

  it('holds the rows that the operator points at, whatever arrives', async () => {
    const { viewer, tail } = await opened('tail');
    const before = shown(viewer);
    viewer.hold();
    tail(TOTAL, 12);
    await eventually(() => expect(viewer.unseen).toBe(12));
    expect(shown(viewer).slice(0, before.length)).toEqual(before);
    viewer.close();
  });

  it('opens what a filter hides next to the current row, below it first, which stays in place', async () => {
    const { viewer } = await opened({ row: 0 }, 1000);
    viewer.resize(10 * ROW_PX);
    viewer.search.q = 'x';
    viewer.search.onlyMatches = true;
    viewer.search.hits = { kind: 'found', matches: { total: 2, rows: [300, 600], capped: false } as never };
    viewer.cursor = 600;
    viewer.revealHere();
    expect([599, 601, 611].map((row) => viewer.display.isHidden(row))).toEqual([true, false, true]);
    viewer.cursor = 990;
    viewer.scrollTo(10);
    const before = viewer.display.positionOf(990) - viewer.top;
    viewer.revealHere();
    expect(viewer.display.isHidden(980)).toBe(false);
    expect(viewer.display.positionOf(990) - viewer.top).toBe(before);
    viewer.close();
  });

  it('selects whole lines from the current row, down and back up beyond it', async () => {
    const { viewer } = await opened({ row: 100 });
    const lines = () => [viewer.selection.range?.start, viewer.selection.range?.end];
    viewer.cursor = 100;
    viewer.extendCursor(1);
    viewer.extendCursor(1);
    expect(lines()).toEqual([
      { row: 100, offset: 0 },
      { row: 102, offset: ROW_END },
    ]);
    for (let i = 0; i < 3; i++) viewer.extendCursor(-1);
    expect(lines()).toEqual([
      { row: 99, offset: 0 },
      { row: 100, offset: ROW_END },
    ]);
    // begun anew where the operator went in between
    viewer.moveCursor(-1);
    viewer.extendCursor(-1);
    expect(lines()).toEqual([
      { row: 97, offset: 0 },
      { row: 98, offset: ROW_END },
    ]);
    viewer.close();
  });

  it('moves the live window to where the operator looks', async () => {
    const { host, viewer } = await opened('tail');
    viewer.jumpTo(400_000);
    await eventually(() => {
      const moved = host.socket.sent.findLast((message) => message['type'] === 'window');
      expect(moved).toMatchObject({ follow: false });
      expect(moved!['from']).toBeGreaterThan(399_000);
      expect(moved!['from']).toBeLessThan(400_000);
    });
    viewer.close();
  });

  it('asks again when rows could not be had, and says so meanwhile', async () => {
    const { host, viewer } = await opened('tail');
    const answer = host.answer;
    host.answer = () => ({ status: 503, body: {} });
    viewer.jumpTo(10_000);
    await eventually(() => expect(viewer.loadFailed).toBe(true));
    expect(viewer.complete).toBe(false);
    host.answer = answer;
    await eventually(() => expect(viewer.complete).toBe(true));
    expect(viewer.loadFailed).toBe(false);
    viewer.close();
  });

  it('goes where the collector found something', async () => {
    const { viewer } = await opened('tail');
    await viewer.findFrom({ level: 'error' }, 'next', 'nothing');
    expect(viewer.cursor).toBe(777);
    viewer.close();
  });

  it('goes at each press to the next of the matches that are known, without asking', async () => {
    const { host, viewer } = await opened({ row: 10 });
    const known = {
      ...{ total: 3, rows: [40, 50_000, 60_000], capped: false, until: viewer.total },
      ...{ last: 60_000, scanned_rows: viewer.total, buckets: [] },
    };
    const press = (direction: 'next' | 'previous') =>
      viewer.findFrom({ q: 'disk' }, direction, 'nothing', known);
    const asked = () => host.requests.filter((request) => request.path.includes('/find?')).length;
    await Promise.all([press('next'), press('next'), press('next')]);
    expect(viewer.cursor).toBe(60_000);
    await press('previous');
    expect(viewer.cursor).toBe(50_000);
    expect(asked()).toBe(0);
    // what is behind the last, and what came since, the collector tells
    viewer.jumpTo(60_000);
    await press('next');
    expect(viewer.cursor).toBe(777);
    expect(asked()).toBe(1);
    viewer.close();
  });

  describe('while the collector looks for a match', () => {
    async function asking() {
      const { viewer, host } = await opened({ row: 10 });
      const answers: ((row: number) => void)[] = [];
      const request = host.request.bind(host);
      host.request = (connection, asked) => {
        if (!asked.path.includes('/find?')) return request(connection, asked);
        host.requests.push(asked);
        return new Promise((resolve, reject) => {
          answers.push((row) =>
            resolve({ status: 200, headers: {}, body: JSON.stringify({ row, wrapped: true }) }),
          );
          asked.signal!.addEventListener('abort', () => reject(asked.signal!.reason as Error));
        });
      };
      const press = (direction: 'next' | 'previous' = 'next') =>
        viewer.findFrom({ level: 'error' }, direction, 'nothing');
      return { viewer, answers, press };
    }

    it('a key that is held down asks once', async () => {
      const { viewer, answers, press } = await asking();
      const pressed = [press(), press(), press()];
      expect(answers).toHaveLength(1);
      answers[0]!(50_000);
      await Promise.all(pressed);
      expect(viewer.cursor).toBe(50_000);
      const again = press();
      expect(answers).toHaveLength(2);
      answers[1]!(70_000);
      await again;
      expect(viewer.cursor).toBe(70_000);
      viewer.close();
    });

    it.each([
      ['goes the other way', (viewer: Viewer) => void viewer.findFrom({ level: 'error' }, 'previous', '')],
      ['jumps', (viewer: Viewer) => viewer.jumpTo(12)],
      ['scrolls', (viewer: Viewer) => viewer.scrollTo(3)],
      ['moves the current row', (viewer: Viewer) => viewer.moveCursor(1)],
      ['follows', (viewer: Viewer) => viewer.follow()],
      [
        'types',
        (viewer: Viewer) => {
          viewer.search.q = 'disk';
          viewer.search.changed();
        },
      ],
      ['leaves', (viewer: Viewer) => viewer.close()],
    ])('whoever %s is not moved by its answer, and told nothing', async (_, act) => {
      const { viewer, answers, press } = await asking();
      viewer.said = 'of a search before';
      const pressed = press();
      act(viewer);
      const { cursor } = viewer;
      answers[0]!(50_000);
      await pressed;
      expect(viewer.cursor).toBe(cursor);
      expect(viewer.said).toBe('');
      viewer.close();
    });
  });
});
