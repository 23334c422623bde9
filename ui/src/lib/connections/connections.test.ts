import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { aConnection, aRemote, FakeDesktop, PIN_HERE, PIN_OTHER } from '../../test/desktop';
import { NOW, summary } from '../../test/fixtures';
import { HostRefused, HostUnreachable } from '../host';
import { authorityOf, connectLink, pasted, pinOf, pinShort } from './address';
import { Connections } from './connections.svelte';
import { healthOf } from './health';
import { NewConnection } from './new-connection.svelte';
import { newestEnd, unread } from './unread';

const WHOLE = `https://hq.example:7443#${PIN_HERE}`;

describe('what is pasted', () => {
  it.each([
    ['hq.example', 'hq.example', null],
    ['  10.0.0.7:7443 \n', '10.0.0.7:7443', null],
    [WHOLE, WHOLE, PIN_HERE],
    [connectLink(WHOLE), WHOLE, PIN_HERE],
    ['https://hq.example#sha256//short', 'https://hq.example#sha256//short', null],
  ])('%s is looked at', (text, address, pin) => expect(pasted(text)).toEqual({ address, pin }));

  it.each(['', '  ', 'two words', 'deckport://live', 'deckport://connect', 'deckport:'])(
    '"%s" is not',
    (text) => expect(pasted(text)).toBeNull(),
  );

  it('is shown without what stands around it', () => {
    expect(authorityOf(WHOLE)).toBe('hq.example:7443');
    expect(authorityOf('https://[fd00::1]:99/')).toBe('[fd00::1]:99');
  });

  it('has the code that the collector shows of its key', () => {
    expect(pinShort(PIN_HERE)).toBe('WERC-8GMR-ZGE1');
    expect(pinShort(PIN_OTHER)).toBe('0000-0000-0000');
    expect(pinOf('https://hq.example')).toBeNull();
  });
});

describe('what happened since somebody looked', () => {
  const ended = (at: number, outcome: 'failed' | 'succeeded' | 'interrupted' | 'cancelled') =>
    summary({ finished_at: NOW + at, outcome });
  const all = [
    summary(),
    ended(1, 'failed'),
    ended(2, 'succeeded'),
    ended(3, 'interrupted'),
    ended(4, 'cancelled'),
  ];

  it('is what ended after it', () => {
    expect(unread(all, 0)).toEqual({ failed: 2, finished: 2 });
    expect(unread(all, NOW + 2)).toEqual({ failed: 1, finished: 1 });
    expect(unread(all, newestEnd(all))).toEqual({ failed: 0, finished: 0 });
    expect(newestEnd([summary()])).toBe(0);
  });
});

describe('how a connection is', () => {
  const there = aRemote('a');
  it.each([
    [there, { kind: 'live', since: 0 }, 'good'],
    [there, { kind: 'connecting' }, 'connecting'],
    [there, { kind: 'reconnecting', since: 0, attempt: 1, retryAt: 0 }, 'away'],
    [
      aConnection({ state: 'starting' }),
      { kind: 'reconnecting', since: 0, attempt: 1, retryAt: 0 },
      'connecting',
    ],
    [there, { kind: 'refused', message: '', code: 'unauthorized' }, 'login'],
    [there, { kind: 'refused', message: '', code: 'other_key' }, 'other-key'],
  ] as const)('%#', (described, link, health) => expect(healthOf(described, link)).toBe(health));
});

describe('connections', () => {
  beforeEach(() => localStorage.clear());
  afterEach(() => vi.restoreAllMocks());

  const opened = async (host: FakeDesktop) => {
    const connections = new Connections(host, host.described, localStorage);
    await vi.waitFor(() => expect(host.sockets).toHaveLength(host.described.length));
    return connections;
  };

  it('are all watched, and the one that was on the screen is there again', async () => {
    const host = new FakeDesktop([aConnection(), aRemote('a')]);
    const first = await opened(host);
    expect(first.chosen.id).toBe('local');
    first.choose('a');
    expect(first.chosen.id).toBe('a');
    first.stop();
    const second = new Connections(host, host.described, localStorage);
    expect(second.chosen.id).toBe('a');
    second.stop();
  });

  it('that go take their watching along, and the first is shown then', async () => {
    const host = new FakeDesktop([aConnection(), aRemote('a')]);
    const connections = await opened(host);
    connections.choose('a');
    const kept = connections.get('local');
    connections.take([aConnection({ sentence: 'The disk is full.' })]);
    expect(connections.chosen).toBe(kept);
    expect(kept?.described.sentence).toBe('The disk is full.');
    await vi.waitFor(() => expect(host.sockets[1]?.closed).toBe(true));
    connections.stop();
  });

  it('that can be dialled again are dialled at once', async () => {
    const host = new FakeDesktop([aConnection({ state: 'waiting' })]);
    host.refused.set('local', new HostUnreachable('not ready'));
    const connections = new Connections(host, host.described, localStorage);
    await vi.waitFor(() => expect(connections.chosen.health).toBe('away'));
    host.refused.clear();
    connections.take([aConnection()]);
    await vi.waitFor(() => expect(connections.chosen.health).toBe('good'));
    connections.stop();
  });

  it('remember up to when each was looked at', async () => {
    const host = new FakeDesktop([aConnection(), aRemote('a')]);
    const connections = await opened(host);
    const other = connections.get('a')!;
    const say = (deployments: object[]) =>
      host.sockets[1]!.handlers.message(JSON.stringify({ type: 'snapshot', id: 1, data: { deployments } }));
    say([summary({ id: 'old', outcome: 'failed', finished_at: NOW })]);
    expect(other.unread).toEqual({ failed: 0, finished: 0 });
    connections.look(other);
    say([
      summary({ id: 'old', outcome: 'failed', finished_at: NOW }),
      summary({ id: 'new', outcome: 'failed', finished_at: NOW + 1 }),
    ]);
    expect(other.unread).toEqual({ failed: 1, finished: 0 });
    connections.look(other);
    expect(other.unread).toEqual({ failed: 0, finished: 0 });
    connections.stop();
    const again = new Connections(host, host.described, localStorage);
    expect(again.get('a')?.looked).toBe(NOW + 1);
    again.stop();
  });

  it('know which of them has a deployment', async () => {
    const host = new FakeDesktop([aConnection(), aRemote('a')]);
    host.answer = () => ({ status: 404, body: {} });
    const connections = await opened(host);
    expect(await connections.having('one')).toBeUndefined();
    vi.spyOn(host, 'request').mockImplementation(async (connection) => ({
      status: connection === 'a' ? 200 : 404,
      headers: {},
      body: JSON.stringify({ summary: { venue_id: 'v' } }),
    }));
    expect((await connections.having('one'))?.watched.id).toBe('a');
    connections.stop();
  });
});

describe('adding a collector elsewhere', () => {
  const login = { login: 'ada', password: 'three blind mice' };
  const begun = (text: string, known: (authority: string) => string | undefined = () => undefined) => {
    const host = new FakeDesktop([aConnection()]);
    const adding = new NewConnection(host.desktop.remotes, known);
    adding.begin(text);
    return { host, adding };
  };

  it('goes by address, comparison and login', async () => {
    const { host, adding } = begun('hq.example');
    await adding.look();
    expect(adding.step).toMatchObject({ kind: 'comparing', promised: false });
    await expect(adding.add(login)).rejects.toThrow('not compared');
    adding.same();
    expect(await adding.add(login)).toBe('added');
    expect(host.added).toEqual([{ address: WHOLE, name: '', login }]);
  });

  it('says when the pasted text names this very key', async () => {
    const { adding } = begun(connectLink(WHOLE));
    await adding.look();
    expect(adding.step).toMatchObject({ kind: 'comparing', promised: true });
  });

  it('ends where another key answers than the text names', async () => {
    const { adding } = begun(`https://hq.example:7443#${PIN_OTHER}`);
    await adding.look();
    expect(adding.step).toEqual({
      kind: 'mismatch',
      authority: 'hq.example:7443',
      promised: '0000-0000-0000',
      found: 'WERC-8GMR-ZGE1',
    });
    adding.same();
    expect(adding.step.kind).toBe('mismatch');
    await expect(adding.add(login)).rejects.toThrow();
  });

  it('says what is no address, what is there already and what cannot be reached', async () => {
    const { host, adding } = begun('two words');
    await adding.look();
    expect(adding.step).toMatchObject({ failed: 'This is not a collector’s address.' });
    adding.begin('hq.example');
    host.looked = new HostUnreachable('connection refused');
    await adding.look();
    expect(adding.step).toMatchObject({ failed: 'It could not be reached: Connection refused.' });
    host.looked = new HostRefused('an address without TLS is for this computer', 'bad_request');
    await adding.look();
    expect(adding.step).toMatchObject({ failed: 'An address without TLS is for this computer.' });
    // the port was left out
    const other = begun('hq.example', (authority) =>
      authority === 'hq.example:7443' ? 'Hall HQ' : undefined,
    );
    await other.adding.look();
    expect(other.adding.step).toMatchObject({ failed: 'You have a connection to it already: Hall HQ.' });
  });
});
