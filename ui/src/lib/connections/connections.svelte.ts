/**
 * All collectors that this app is connected to, each watched whether it is the one on the screen or not.
 *
 * The host says which there are. Each has a live socket and knows its fleet, so that switching shows at once what is there, and
 * the switcher can tell how the others do. Which one was on the screen, and up to when each was looked at, is kept from start to
 * start.
 */
import { LiveConnection } from '../connection/connection.svelte';
import type { Connection, Host } from '../host';
import { Fleet } from '../live/fleet.svelte';
import type { Micros } from '../api/types';
import { healthOf } from './health';
import { newestEnd, NOTHING, unread } from './unread';

const KEY = 'deckport.connections';

interface Stored {
  chosen: string | null;
  looked: Record<string, Micros>;
}

export class Watched {
  described: Connection;
  /** What ended up to here was looked at; null until it is known what there is. */
  looked: Micros | null;
  readonly link: LiveConnection;
  readonly fleet: Fleet;
  readonly health = $derived.by(() => healthOf(this.described, this.link.state));
  readonly unread = $derived.by(() =>
    this.looked === null ? NOTHING : unread(this.fleet.deployments, this.looked),
  );

  constructor(host: Host, described: Connection, looked: Micros | null) {
    this.described = $state.raw(described);
    this.looked = $state(looked);
    this.link = new LiveConnection(host, described.id);
    this.fleet = new Fleet(this.link);
    this.fleet.start();
    this.link.start();
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
      if (!known) return new Watched(this.host, one, this.stored.looked[one.id] ?? null);
      const back = one.state === 'ready' && known.described.state !== 'ready';
      known.described = one;
      if (back) known.link.retry();
      return known;
    });
    const gone = before.filter((one) => !this.list.includes(one));
    for (const one of gone) one.stop();
    if (gone.length > 0) {
      const looked = { ...this.stored.looked };
      for (const one of gone) delete looked[one.id];
      this.store({ looked });
    }
  }

  /** Somebody looks at it now; or it is new, and what ended before is no news. */
  look(watched: Watched): void {
    const newest = newestEnd(watched.fleet.deployments);
    if (watched.looked !== null && newest <= watched.looked) return;
    watched.looked = newest;
    this.store({ looked: { ...this.stored.looked, [watched.id]: newest } });
  }

  /** Which one has this deployment: its links name none. */
  async having(deployment: string): Promise<Watched | undefined> {
    const known = this.list.find((one) => one.fleet.get(deployment));
    if (known || this.list.length === 1) return known;
    const asked = this.list.map(async (one) => {
      const path = `/api/v1/deployments/${encodeURIComponent(deployment)}`;
      const { status } = await this.host.request(one.id, { method: 'GET', path });
      if (status !== 200) throw new Error('not there');
      return one;
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
  return { chosen: typeof stored.chosen === 'string' ? stored.chosen : null, looked };
}
