import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { aRemote } from '../../test/desktop';
import { FakeHost, NOW, summary } from '../../test/fixtures';
import { aPerson } from '../../test/operators';
import { Api } from '../api/client';
import type { Role, Venue, Venues as Answer } from '../api/types';
import { Connections } from '../connections/connections.svelte';
import { HostRefused } from '../host';
import { reach } from '../operators/reach';
import { parseRoute } from '../shared/router.svelte';
import { elsewhere, needing } from './overview.svelte';
import { NOWHERE, Venues, type Wanted } from './venues.svelte';
import { parts } from './viewing';
import { stays, whereIs } from './whereabouts';

const north: Venue = { id: 'n', name: 'North', role: 'operator' };
const south: Venue = { id: 's', name: 'South', role: 'viewer' };

function answer(everywhere: Role | null, venues: Venue[] = [north, south]): Answer {
  return { organisation: { id: 'o', name: 'Arcades' }, everywhere, venues };
}

/** `told`: what the collector says of its venues, by the query that asks. */
async function loaded(wanted: Wanted, told: Answer | Error) {
  const moved = vi.fn<(wanted: Wanted) => void>();
  const venues = new Venues(wanted, moved);
  const host = new FakeHost(() => {
    if (told instanceof Error) throw told;
    return { body: told };
  });
  await venues.load(new Api(host, 'here', venues));
  return { venues, moved, host };
}

describe('where one looks', () => {
  it('is everywhere, and said by no request, until a venue is chosen', async () => {
    const { venues, moved } = await loaded(NOWHERE, answer('admin'));
    expect([venues.query, venues.several, venues.mixed, venues.role]).toEqual(['', true, true, 'admin']);
    venues.choose('s');
    expect([venues.query, venues.chosen?.name, venues.mixed, venues.role]).toEqual([
      'venue=s',
      'South',
      false,
      'viewer',
    ]);
    expect(moved).toHaveBeenCalledExactlyOnceWith({ organisation: null, venue: 's' });
    venues.choose('s');
    expect(moved).toHaveBeenCalledOnce();
  });

  it('is nothing that anybody is told of where there is one', async () => {
    const { venues } = await loaded(NOWHERE, answer('admin', [north]));
    expect([venues.several, venues.mixed, venues.chosen, venues.query]).toEqual([false, false, null, '']);
  });

  it('is the first of their own for who is not of all, as the collector takes it', async () => {
    const { venues, moved } = await loaded(NOWHERE, answer(null, [south, { ...north, id: 'a' }]));
    expect(venues.chosen?.id).toBe('a');
    expect(moved).toHaveBeenCalledOnce();
  });

  it('is left when there is no role any more, and that is told', async () => {
    const gone = await loaded({ organisation: null, venue: 'gone' }, answer('viewer'));
    expect([gone.venues.query, gone.venues.left]).toEqual(['', '']);
    const refused = await loaded(
      { organisation: null, venue: 'n' },
      new HostRefused('this login has no role there', 'forbidden'),
    );
    expect(refused.venues.query).toBe('');
    expect(refused.moved).toHaveBeenCalledExactlyOnceWith(NOWHERE);
    expect(refused.venues.leave()).toBe(false);
  });

  it('is believed while there is no answer', async () => {
    const { venues, moved } = await loaded({ organisation: null, venue: 'n' }, new Error('no answer'));
    expect([venues.query, venues.known]).toEqual(['venue=n', false]);
    expect(moved).not.toHaveBeenCalled();
  });

  it('may be another organisation, which every request names', async () => {
    const { venues, host } = await loaded(NOWHERE, answer('admin'));
    venues.enter('x');
    expect([venues.query, venues.known, venues.list]).toEqual(['organisation=x', false, []]);
    venues.choose('v');
    const api = new Api(host, 'here', venues);
    await api.consoles();
    expect(host.requests.at(-1)?.path).toBe('/api/v1/consoles?venue=v&organisation=x');
    await api.deployments({ limit: 5 });
    expect(host.requests.at(-1)?.path).toBe('/api/v1/deployments?limit=5&venue=v&organisation=x');
  });

  it('is shown by name, in the order of people', async () => {
    const { venues } = await loaded(NOWHERE, answer('admin'));
    venues.saved({ id: 'm', name: 'Hall 10', role: 'admin' });
    venues.saved({ id: 'k', name: 'Hall 9', role: 'admin' });
    expect(venues.list.map(({ name }) => name)).toEqual(['Hall 9', 'Hall 10', 'North', 'South']);
    venues.saved({ ...north, name: 'Attic' });
    expect(venues.list.map(({ name }) => name)).toEqual(['Attic', 'Hall 9', 'Hall 10', 'South']);
  });
});

describe('a connection', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    vi.useRealTimers();
    localStorage.clear();
  });

  async function opened(host: FakeHost) {
    const connections = new Connections(host, [aRemote('a')], localStorage);
    await vi.advanceTimersByTimeAsync(0);
    return connections;
  }

  it('is opened anew in another venue, and remembers it', async () => {
    const host = new FakeHost(() => ({ body: answer('admin') }));
    const connections = await opened(host);
    const { venues, api, fleet } = connections.chosen;
    await venues.load(api);
    host.say({ type: 'snapshot', id: host.idOf('fleet'), data: { deployments: [summary()] } });
    venues.choose('s');
    expect([fleet.known, fleet.deployments]).toEqual([false, []]);
    await vi.advanceTimersByTimeAsync(0);
    expect(host.sockets.map(({ place, closed }) => [place, closed])).toEqual([
      ['', true],
      ['venue=s', false],
    ]);
    expect(host.idOf('fleet')).toBe(1);
    connections.stop();
    const again = await opened(host);
    expect(host.socket.place).toBe('venue=s');
    again.stop();
  });

  it('goes home where it is not let in any more, and does not ask to log in', async () => {
    localStorage.setItem('deckport.connections', '{"places":{"a":{"venue":"n","organisation":null}}}');
    const host = new FakeHost();
    const live = vi.spyOn(host, 'live');
    live.mockRejectedValueOnce(new HostRefused('this login has no role there', 'forbidden'));
    const connections = await opened(host);
    expect(connections.chosen.link.state.kind).toBe('live');
    expect(live.mock.calls.map(([, , place]) => place)).toEqual(['venue=n', '']);
    // who is let in nowhere is asked to log in
    live.mockRejectedValue(new HostRefused('this login has no role there', 'forbidden'));
    connections.chosen.link.reopen();
    await vi.advanceTimersByTimeAsync(0);
    expect(connections.chosen.link.state).toMatchObject({ kind: 'refused', code: 'forbidden' });
    connections.stop();
  });
});

describe('what needs somebody', () => {
  it('is counted by venue', () => {
    const failed = { outcome: 'failed', finished_at: NOW } as const;
    const all = [
      summary({ id: '1', venue_id: 'n', ...failed }),
      summary({ id: '2', venue_id: 'n', ...failed }),
      summary({ id: '3', venue_id: 's', ...failed }),
      summary({ id: '4', venue_id: 's' }),
    ];
    expect([...needing(all, NOW, new Set(['3']))]).toEqual([['n', 2]]);
  });

  it('is asked for where it is not shown: of all at once, or of each', async () => {
    const { venues } = await loaded(NOWHERE, answer('admin'));
    expect(elsewhere(venues)).toEqual([]);
    venues.choose('n');
    expect(elsewhere(venues)).toEqual(['']);
    const own = await loaded({ organisation: null, venue: 'n' }, answer(null));
    expect(elsewhere(own.venues)).toEqual(['venue=s']);
  });
});

describe('things of several venues', () => {
  const things = [
    { in: 's', urgent: true },
    { in: 'n', urgent: false },
  ];
  const shown = (view: Parameters<typeof parts>[1]) =>
    parts(
      things,
      view,
      [north, south],
      (thing, venue) => thing.in === venue.id,
      ({ urgent }) => urgent,
    ).map(({ venue, items }) => [venue?.name ?? null, items.length]);

  it('are mixed, grouped with what is urgent first, or only of one', () => {
    expect(shown({ kind: 'mixed' })).toEqual([[null, 2]]);
    expect(shown({ kind: 'grouped' })).toEqual([
      ['South', 1],
      ['North', 1],
    ]);
    expect(shown({ kind: 'only', venue: 'n' })).toEqual([[null, 1]]);
  });
});

describe('another venue', () => {
  /** Runs by the places that have them. */
  async function set(everywhere: Role | null) {
    const has = new Map([
      ['venue=s', 'one'],
      ['', 'one'],
    ]);
    const host = new FakeHost(({ path }) => {
      if (path.startsWith('/api/v1/venues')) return { body: answer(everywhere) };
      const [, id, place] = /deployments\/([^?]+)\??(.*)$/.exec(path) ?? [];
      return has.get(place ?? '') === id
        ? { body: { summary: summary({ venue_id: 's' }) } }
        : { status: 404, body: {} };
    });
    const venues = new Venues({ organisation: null, venue: 'n' }, () => undefined);
    const api = new Api(host, 'here', venues);
    await venues.load(api);
    return { api, venues };
  }

  it.each(['viewer', null] as const)('has the deployment (role everywhere: %s)', async (everywhere) => {
    const { api, venues } = await set(everywhere);
    expect(await whereIs(api, venues, 'one')).toBe('s');
    expect(await whereIs(api, venues, 'two')).toBeUndefined();
    venues.choose('s');
    expect(await whereIs(api, venues, 'one')).toBeNull();
  });

  it('shows the same screen where what it shows is there', async () => {
    const { api } = await set('viewer');
    const to = (place: string, path: string) => stays(api.elsewhere(place), parseRoute(path));
    expect(await to('venue=s', '/deployments/one')).toBeNull();
    expect(await to('venue=n', '/deployments/one')).toBe('#/live');
    expect(await to('venue=n', '/fleet?find=bay')).toBeNull();
    expect(await to('venue=s', '/together?run=one&run=two')).toBe('#/together?run=one');
    expect(await to('venue=n', '/compare/one')).toBe('#/live');
  });
});

describe('what somebody may do, in words', () => {
  it('names the venues only where there are several', () => {
    const person = aPerson({
      role: 'admin',
      everywhere: 'viewer',
      venues: { s: 'admin', n: 'viewer', x: 'operator' },
    });
    expect(reach(person, [])).toEqual(['admin']);
    expect(reach(person, [north, south])).toEqual([
      'viewer in all venues',
      'operator in a venue that is not known here',
      'admin in South',
    ]);
    expect(reach(aPerson({ everywhere: null, venues: { n: 'operator' } }), [north, south])).toEqual([
      'operator in North',
    ]);
  });
});
