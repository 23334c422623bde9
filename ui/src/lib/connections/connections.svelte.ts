/**
 * All collectors that this app is connected to, each watched whether it is the one on the screen or not.
 *
 * The host says which there are. Each has a live socket and knows its fleet, so that switching shows at once what is there, and
 * the switcher can tell how the others do. Which one was on the screen, which of its venues, and up to when each was looked at,
 * is kept from start to start.
 */
import { Api } from '../api/client';
import type { Info, Micros } from '../api/types';
import { LiveConnection } from '../connection/connection.svelte';
import type { Connection, Host } from '../host';
import { Fleet } from '../live/fleet.svelte';
import { Me } from '../operators/me.svelte';
import { NOWHERE, Venues, type Wanted } from '../venues/venues.svelte';
import { healthOf } from './health';
import { whereIs } from '../venues/whereabouts';
import { newestEnd, NOTHING, unread } from './unread';

const KEY = 'deckport.connections';

interface Stored {
  chosen: string | null;
  looked: Record<string, Micros>;
  places: Record<string, Wanted>;
}

/** Where a deployment is; `venue` is null where one looks already. */
export interface Having {
  watched: Watched;
  venue: string | null;
}

export class Watched {
  described: Connection;
  /** What ended up to here was looked at; null until it is known what there is. */
  looked: Micros | null;
  /** What it said of itself; null until it did. */
  info = $state.raw<Info | null>(null);
  readonly venues: Venues;
  readonly api: Api;
  readonly me: Me;
  readonly link: LiveConnection;
  readonly fleet: Fleet;
  readonly health = $derived.by(() => healthOf(this.described, this.link.state));
  readonly unread = $derived.by(() =>
    this.looked === null ? NOTHING : unread(this.fleet.deployments, this.looked),
  );

  constructor(
    host: Host,
    described: Connection,
    looked: Micros | null,
    wanted: Wanted,
    /** Another place in it was chosen. */
    keep: (wanted: Wanted) => void,
  ) {
    this.described = $state.raw(described);
    this.looked = $state(looked);
    this.venues = new Venues(wanted, (wanted) => {
      keep(wanted);
      this.move();
    });
    this.api = new Api(host, described.id, this.venues);
    this.me = new Me(this.api);
    this.link = new LiveConnection(host, described.id, this.venues);
    this.fleet = new Fleet(this.link);
    this.fleet.start();
    this.link.start();
  }

  /** Everything is asked for anew from where one looks now. */
  private move(): void {
    const { role } = this.venues;
    if (role !== null) this.me.suppose(role);
    this.fleet.forget();
    this.link.reopen();
  }

  /** Undefined: it has no such deployment that one may see. */
  async having(deployment: string): Promise<Having | undefined> {
    if (this.fleet.get(deployment)) return { watched: this, venue: null };
    const venue = await whereIs(this.api, this.venues, deployment);
    return venue === undefined ? undefined : { watched: this, venue };
  }

  get id(): string {
    return this.described.id;
  }

  stop(): void {
    this.fleet.stop();
    this.link.stop();
  }
}

export class Connections {
  /** The local one first. */
  list: readonly Watched[] = $state.raw([]);
  private chosenId = $state<string | null>(null);
  /** The one that every screen shows. */
  readonly chosen = $derived.by(() => this.list.find((one) => one.id === this.chosenId) ?? this.list[0]!);
  private readonly stored: Stored;

  constructor(
    private readonly host: Host,
    described: readonly Connection[],
    private readonly storage: Storage,
  ) {
    this.stored = read(storage);
    this.chosenId = this.stored.chosen;
    this.take(described);
  }

  get(id: string): Watched | undefined {
    return this.list.find((one) => one.id === id);
  }

  choose(id: string): void {
    this.chosenId = id;
    this.store({ chosen: id });
  }

  /** What the host says that there is now. One that can be dialled again is dialled at once. */
  take(described: readonly Connection[]): void {
    const before = this.list;
    this.list = described.map((one) => {
      const known = before.find((watched) => watched.id === one.id);
      if (!known) return this.watch(one);
      const back = one.state === 'ready' && known.described.state !== 'ready';
      known.described = one;
      if (back) known.link.retry();
      return known;
    });
    const gone = before.filter((one) => !this.list.includes(one));
    for (const one of gone) one.stop();
    if (gone.length > 0) {
      const [looked, places] = [{ ...this.stored.looked }, { ...this.stored.places }];
      for (const { id } of gone) {
        delete looked[id];
        delete places[id];
      }
      this.store({ looked, places });
    }
  }

  private watch(described: Connection): Watched {
    const { looked, places } = this.stored;
    const keep = (wanted: Wanted) =>
      this.store({ places: { ...this.stored.places, [described.id]: wanted } });
    const [seen, wanted] = [looked[described.id] ?? null, places[described.id] ?? NOWHERE];
    return new Watched(this.host, described, seen, wanted, keep);
  }

  /** Somebody looks at it now; or it is new, and what ended before is no news. */
  look(watched: Watched): void {
    const newest = newestEnd(watched.fleet.deployments);
    if (watched.looked !== null && newest <= watched.looked) return;
    watched.looked = newest;
    this.store({ looked: { ...this.stored.looked, [watched.id]: newest } });
  }

  /** Which one has this deployment: its links name none. */
  async having(deployment: string): Promise<Having | undefined> {
    const known = this.list.find((one) => one.fleet.get(deployment));
    if (known) return known.having(deployment);
    const asked = this.list.map(async (one) => {
      const found = await one.having(deployment);
      if (!found) throw new Error('not there');
      return found;
    });
    return Promise.any(asked).catch(() => undefined);
  }

  stop(): void {
    for (const one of this.list) one.stop();
  }

  private store(change: Partial<Stored>): void {
    Object.assign(this.stored, change);
    try {
      this.storage.setItem(KEY, JSON.stringify(this.stored));
    } catch {
      // a full or forbidden storage costs only the memory of it
    }
  }
}

function read(storage: Storage): Stored {
  let stored: Partial<Stored> = {};
  try {
    stored = JSON.parse(storage.getItem(KEY) ?? '{}') as Partial<Stored>;
  } catch {
    // unreadable: as if nothing had been kept
  }
  const looked = typeof stored.looked === 'object' && stored.looked !== null ? stored.looked : {};
  const chosen = typeof stored.chosen === 'string' ? stored.chosen : null;
  return { chosen, looked, places: readPlaces(stored.places) };
}

function readPlaces(stored: unknown): Record<string, Wanted> {
  const places: Record<string, Wanted> = {};
  if (typeof stored !== 'object' || stored === null) return places;
  const id = (value: unknown) => (typeof value === 'string' ? value : null);
  for (const [connection, wanted] of Object.entries(stored)) {
    if (typeof wanted !== 'object' || wanted === null) continue;
    const { organisation, venue } = wanted as Partial<Wanted>;
    places[connection] = { organisation: id(organisation), venue: id(venue) };
  }
  return places;
}
