import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { aCode, aConsole, FakeConsoles } from '../../test/consoles';
import { FakeHost, NOW } from '../../test/fixtures';
import { Api } from '../api/client';
import { each } from './acting';
import { Me } from '../operators/me.svelte';
import { NOWHERE, Venues } from '../venues/venues.svelte';
import { Adding } from './adding.svelte';
import { Consoles } from './consoles.svelte';
import { before, joinedSince } from './joined';
import {
  canBeRemoved,
  certificateOf,
  clockOff,
  codeState,
  compareNames,
  counted,
  diskOf,
  groupOf,
  matching,
  memoryOf,
  standingTone,
  standingWord,
  takesOrders,
} from './standing';

const one = (id: string, fields = {}) => aConsole({ id, name: id, ...fields });

describe('how a console stands', () => {
  it.each([
    ['enrolled', 'here', 'good', 'added'],
    ['locked', 'locked', 'failed', 'locked out'],
    ['revoked', 'removed', 'offline', 'removed'],
    ['unenrolled', 'here', 'pending', 'not added'],
  ] as const)('%s is in group %s', (standing, group, tone, word) => {
    expect(groupOf(one('a', { standing }))).toBe(group);
    expect(standingTone(standing)).toBe(tone);
    expect(standingWord(standing)).toBe(word);
  });

  it('of a newer collector is shown as it came', () => expect(standingWord('lent')).toBe('lent'));

  it('decides what it can be told', () => {
    expect(takesOrders(one('a'))).toBe(true);
    expect(takesOrders(one('a', { linked_since: null }))).toBe(false);
    expect(takesOrders(one('a', { standing: 'locked' }))).toBe(false);
    const removable = (standing: 'enrolled' | 'locked' | 'revoked' | 'unenrolled') =>
      canBeRemoved(one('a', { standing }));
    expect([removable('enrolled'), removable('locked')]).toEqual([true, true]);
    expect([removable('revoked'), removable('unenrolled')]).toEqual([false, false]);
  });

  it('is counted without those that were removed', () => {
    const all = [
      one('a'),
      one('b', { linked_since: null }),
      one('c', { standing: 'locked', linked_since: null }),
      one('d', { standing: 'revoked', linked_since: null }),
    ];
    expect(counted(all)).toEqual({ here: 3, linked: 1, locked: 1 });
  });
});

describe('how it does', () => {
  it('tells shares only where the whole is known', () => {
    const health = aConsole().health!;
    expect(memoryOf(health)).toEqual({ used: 0.25, used_bytes: 4e9, bytes: 16e9, full: false });
    expect(diskOf({ ...health, disk_free_bytes: 50e9 })?.full).toBe(true);
    expect(diskOf({ ...health, disk_bytes: 0 })).toBeNull();
    // free may be more than the whole for a moment
    expect(memoryOf({ ...health, memory_available_bytes: 17e9 })?.used).toBe(0);
  });

  it('tells a clock only when it is off by more than a second', () => {
    const health = aConsole().health!;
    expect(clockOff(null)).toBeNull();
    expect(clockOff({ ...health, clock_ahead_us: null })).toBeNull();
    expect(clockOff({ ...health, clock_ahead_us: 1e6 })).toBeNull();
    expect(clockOff({ ...health, clock_ahead_us: 1.1e6 })).toBe(1.1e6);
    expect(clockOff({ ...health, clock_ahead_us: -2e6 })).toBe(-2e6);
  });

  it('tells of a certificate while it may be used', () => {
    const ends = (certificate_ends_at: number | null, fields = {}) =>
      certificateOf(one('a', { certificate_ends_at, ...fields }), NOW);
    expect(ends(NOW + 3 * 86_400e6)).toEqual({ kind: 'good', leftUs: 3 * 86_400e6 });
    expect(ends(NOW + 3600e6).kind).toBe('ending');
    expect(ends(NOW)).toEqual({ kind: 'ended', at: NOW });
    expect(ends(null).kind).toBe('none');
    expect(ends(NOW + 3600e6, { standing: 'revoked' }).kind).toBe('none');
  });

  it('a code ends by itself', () => {
    expect(codeState(aCode({ expires_at: NOW + 1 }), NOW)).toBe('open');
    expect(codeState(aCode({ expires_at: NOW }), NOW)).toBe('expired');
    expect(codeState(aCode({ expires_at: NOW, state: 'used' }), NOW)).toBe('used');
  });
});

describe('finding consoles', () => {
  const all = [
    one('Bay 12'),
    one('Bay 2', { template: 'card-shop', linked_since: null }),
    one('Stage', { standing: 'locked', linked_since: null }),
  ];
  const found = (typed: string) => matching(all, typed).map(({ name }) => name);

  it('sorts numbers as people do', () =>
    expect([...all].sort(compareNames).map(({ name }) => name)).toEqual(['Bay 2', 'Bay 12', 'Stage']));

  it('by every word of what the row says', () => {
    expect(found('')).toHaveLength(3);
    expect(found('bay ARCADE')).toEqual(['Bay 12']);
    expect(found('away')).toEqual(['Bay 2', 'Stage']);
    expect(found('locked')).toEqual(['Stage']);
    expect(found('bay stage')).toEqual([]);
  });
});

describe('who came in', () => {
  const at = (ends: number, fields = {}) => ({ certificate_ends_at: NOW + ends, ...fields });

  it('is new, or was not added before, in the order in which they came', () => {
    const known = before([
      one('old'),
      one('locked', { standing: 'locked' }),
      one('gone', { standing: 'revoked' }),
    ]);
    const now = [
      one('old'),
      one('locked', at(3)),
      one('gone', { standing: 'revoked' }),
      one('new', at(2)),
      one('wrapped', { standing: 'unenrolled' }),
    ];
    expect(joinedSince(known, now, 2).map(({ id }) => id)).toEqual(['new', 'locked']);
  });

  it('is also one that was here, when a code let in more than are new', () => {
    const known = before([one('again', at(1)), one('renewed', at(1)), one('same', at(1))]);
    const now = [one('again', at(9)), one('renewed', at(5)), one('same', at(1))];
    expect(joinedSince(known, now, 0)).toEqual([]);
    expect(joinedSince(known, now, 1).map(({ id }) => id)).toEqual(['again']);
  });
});

describe('asking again and again', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  function set() {
    const fake = new FakeConsoles();
    const host = new FakeHost(fake.answer);
    const api = new Api(host, 'here');
    const consoles = new Consoles(api, new Me(api));
    const asked = () => host.requests.filter(({ path }) => path === '/api/v1/consoles').length;
    return { fake, host, consoles, asked };
  }
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  it('as often as the most curious wants, and not when nobody looks', async () => {
    const { consoles, asked } = set();
    const screen = consoles.watch(5000);
    await pass(0);
    expect(asked()).toBe(1);
    const dialog = consoles.watch(2000);
    await pass(4100);
    expect(asked()).toBe(4);
    dialog();
    await pass(10_000);
    // one more at the pace of before
    expect(asked()).toBeLessThanOrEqual(7);
    screen();
    const end = asked();
    await pass(60_000);
    expect(asked()).toBe(end);
  });

  it('not while the page is hidden, and at once when it is shown', async () => {
    const { consoles, asked } = set();
    const stop = consoles.watch(1000);
    await pass(0);
    const visible = vi.spyOn(document, 'visibilityState', 'get').mockReturnValue('hidden');
    document.dispatchEvent(new Event('visibilitychange'));
    await pass(10_000);
    expect(asked()).toBe(1);
    visible.mockReturnValue('visible');
    document.dispatchEvent(new Event('visibilitychange'));
    await pass(0);
    expect(asked()).toBe(2);
    stop();
  });

  it('keeps what is known when the collector fails', async () => {
    const { fake, consoles } = set();
    fake.list = [one('a')];
    await consoles.load();
    fake.instead = () => ({
      status: 500,
      body: { error: { code: 'internal', message: 'no disk', retryable: true } },
    });
    await consoles.load();
    expect(consoles.state).toEqual({ kind: 'failed', message: 'no disk' });
    expect(consoles.known).toBe(true);
    expect(consoles.get('a')?.name).toBe('a');
  });

  it('does not believe an answer from before something was done', async () => {
    const { fake, consoles, asked } = set();
    fake.list = [one('a')];
    await consoles.load();
    const slow = consoles.load();
    consoles.removed('a');
    fake.change('a', { standing: 'revoked' });
    await slow;
    expect(consoles.get('a')?.standing).toBe('revoked');
    expect(asked()).toBe(3);
  });
});

describe('adding', () => {
  function set() {
    const fake = new FakeConsoles();
    const api = new Api(new FakeHost(fake.answer), 'here');
    const consoles = new Consoles(api, new Me(api));
    return { fake, consoles, adding: new Adding(api, consoles, new Venues(NOWHERE, () => undefined)) };
  }
  const now = () => Date.now() * 1000;

  it('has chosen the template of the newest code', async () => {
    const { fake, adding } = set();
    fake.templates = ['arcade', 'card-shop', 'console'];
    fake.codes = [aCode({ template: 'card-shop' }), aCode({ id: 'older' })];
    await adding.begin(now());
    expect(adding.template).toBe('card-shop');
    await adding.begin(now(), 'arcade');
    expect(adding.template).toBe('arcade');
    await adding.begin(now(), 'no-longer-there');
    expect(adding.template).toBe('arcade');
  });

  it('keeps an open code when the dialog is opened again, and no other', async () => {
    const { fake, adding } = set();
    await adding.begin(now());
    await adding.make();
    const code = adding.made?.code;
    await adding.begin(now());
    expect(adding.state).toMatchObject({ kind: 'made', made: { code } });
    await adding.begin(now(), 'console');
    expect(adding.state.kind).toBe('asking');
    await adding.make();
    await adding.takeBack();
    await adding.begin(now());
    expect(adding.state).toEqual({ kind: 'asking', back: null });
    expect(fake.done.filter((done) => done.startsWith('POST'))).toHaveLength(2);
  });

  it('is quick with a code, and still knows who was here before', async () => {
    const { fake, consoles, adding } = set();
    fake.list = [one('a')];
    void adding.begin(now());
    await adding.make();
    expect(adding.made?.invitation.template).toBe('arcade');
    fake.join(one('b'));
    await consoles.load();
    expect(adding.joined.map(({ id }) => id)).toEqual(['b']);
  });

  it('makes no code for a number that cannot be', async () => {
    const { fake, adding } = set();
    await adding.begin(now());
    for (const uses of [null, 0, 1.5, 501]) {
      adding.uses = uses;
      await adding.make();
    }
    expect(fake.done).toEqual([]);
  });
});

it('asks many consoles a few at a time, and answers in their order', async () => {
  let running = 0;
  let most = 0;
  const all = Array.from({ length: 11 }, (_, i) => one(String(i)));
  const answers = await each(all, async (console) => {
    most = Math.max(most, ++running);
    await new Promise((done) => setTimeout(done, 5));
    running--;
    if (console.id === '3') throw new Error('unreachable');
    return { accepted: true, message: console.id };
  });
  expect(most).toBe(4);
  expect(answers.map(({ console }) => console.id)).toEqual(all.map(({ id }) => id));
  expect(answers.filter(({ accepted }) => !accepted).map(({ console }) => console.id)).toEqual(['3']);
});
