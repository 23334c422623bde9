/**
 * What needs the operator in the venues that are not on the screen.
 *
 * Whoever has a role in all venues is told by one live socket of them all; whoever has not, by one of each venue, and not of more
 * than a few: the collector and the shell keep each of them open.
 */
import type { DeploymentSummary, Micros } from '../api/types';
import { LiveConnection } from '../connection/connection.svelte';
import type { Host } from '../host';
import { reasonFor } from '../live/attention';
import { Fleet } from '../live/fleet.svelte';
import type { Venues } from './venues.svelte';

const MOST = 6;

interface Looked {
  link: LiveConnection;
  fleet: Fleet;
}

/** Where else there is something to be told of. */
export function elsewhere(venues: Venues): string[] {
  if (!venues.several || venues.chosen === null) return [];
  if (venues.everywhere !== null) return [venues.queryOf(null)];
  const others = venues.list.filter((venue) => venue !== venues.chosen);
  return others.slice(0, MOST).map((venue) => venues.queryOf(venue.id));
}

/** How many deployments need somebody, by venue. */
export function needing(
  deployments: readonly DeploymentSummary[],
  now: Micros,
  dismissed: ReadonlySet<string>,
): Map<string, number> {
  const counts = new Map<string, number>();
  for (const one of deployments) {
    // of a collector that knows nothing of venues
    if (one.venue_id === undefined || reasonFor(one, now, dismissed) === null) continue;
    counts.set(one.venue_id, (counts.get(one.venue_id) ?? 0) + 1);
  }
  return counts;
}

export class Overview {
  private looked = $state.raw<ReadonlyMap<string, Looked>>(new Map());
  /** Of all these places, each once. */
  readonly deployments = $derived.by(() => {
    const byId = new Map<string, DeploymentSummary>();
    for (const { fleet } of this.looked.values()) {
      for (const one of fleet.deployments) byId.set(one.id, one);
    }
    return [...byId.values()];
  });

  constructor(
    private readonly host: Host,
    private readonly connection: string,
  ) {}

  look(places: readonly string[]): void {
    const next = new Map<string, Looked>();
    for (const query of places) next.set(query, this.looked.get(query) ?? this.open(query));
    for (const [query, one] of this.looked) {
      if (!next.has(query)) one.link.stop();
    }
    this.looked = next;
  }

  stop(): void {
    this.look([]);
  }

  private open(query: string): Looked {
    const link = new LiveConnection(this.host, this.connection, { query, leave: () => false });
    const fleet = new Fleet(link);
    fleet.start();
    link.start();
    return { link, fleet };
  }
}
