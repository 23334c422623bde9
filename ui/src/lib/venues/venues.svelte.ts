/**
 * The venues of one collector where the operator may do something, and which of them is looked at.
 *
 * What is chosen stands in `query`, which every request and socket carries: what is seen and done is of that place. Until the
 * collector has told what there is, what was chosen the last time is believed. Where the operator has no role any more, and where
 * nothing is, is left (`leave`), for wherever they are at home.
 */
import { HostRefused } from '../host';
import type { Api } from '../api/client';
import type { Organisation, Role, Venue, Venues as Answer } from '../api/types';

/** What is kept from start to start. */
export interface Wanted {
  /** Another organisation than the collector's first; for whoever runs it. */
  organisation: string | null;
  /** Null: all of them. */
  venue: string | null;
}

/** How screens show all venues: mixed, one after the other, or only what is of one. */
export type View = { kind: 'mixed' } | { kind: 'grouped' } | { kind: 'only'; venue: string };

export const NOWHERE: Wanted = { organisation: null, venue: null };

export class Venues {
  /** False until the collector told. */
  known = $state(false);
  organisation = $state.raw<Organisation | null>(null);
  /** The role in all venues; null: only in some. */
  everywhere = $state.raw<Role | null>(null);
  /** By name. */
  list = $state.raw<readonly Venue[]>([]);
  view = $state.raw<View>({ kind: 'mixed' });
  /** What it was called that one was put out of; null: nothing to tell. */
  left = $state<string | null>(null);

  wanted: Wanted;
  readonly query: string;
  /** With one venue nobody needs to know that there are such things. */
  readonly several = $derived(this.list.length > 1);
  /** Null: all of them, or the only one. */
  readonly chosen = $derived.by(() => this.list.find((venue) => venue.id === this.wanted.venue) ?? null);
  /** Things of several venues stand beside each other. */
  readonly mixed = $derived.by(() => this.several && this.chosen === null);
  readonly role = $derived.by(() => this.chosen?.role ?? this.everywhere);

  constructor(
    wanted: Wanted,
    /** Another place was chosen. */
    private readonly moved: (wanted: Wanted) => void,
  ) {
    this.wanted = $state.raw(wanted);
    this.query = $derived(queryOf(this.wanted));
  }

  /** Empty where it is not known. */
  name(id: string | undefined): string {
    return this.list.find((venue) => venue.id === id)?.name ?? '';
  }

  /** Where requests about this venue go; null: about all. */
  queryOf(venue: string | null): string {
    return queryOf({ ...this.wanted, venue });
  }

  /** Asks what there is. What was known stays while there is no answer. */
  async load(api: Api): Promise<void> {
    const asked = this.query;
    let answer: Answer;
    try {
      answer = await api.venues();
    } catch (cause) {
      if (cause instanceof HostRefused && cause.code === 'forbidden' && asked === this.query) this.leave();
      return;
    }
    if (asked === this.query) this.take(answer);
  }

  /** Null: all of them. */
  choose(venue: string | null): void {
    if (venue === this.wanted.venue) return;
    this.go({ ...this.wanted, venue });
  }

  enter(organisation: string): void {
    if (organisation === this.organisation?.id) return;
    this.known = false;
    this.list = [];
    this.organisation = null;
    this.view = { kind: 'mixed' };
    this.go({ organisation, venue: null });
  }

  leave(): boolean {
    const { organisation, venue } = this.wanted;
    if (organisation === null && venue === null) return false;
    this.left = this.chosen?.name ?? '';
    this.go(NOWHERE);
    return true;
  }

  saved(venue: Venue): void {
    const others = this.list.filter((one) => one.id !== venue.id);
    this.list = [...others, venue].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  }

  private take({ organisation, everywhere, venues }: Answer): void {
    this.known = true;
    this.organisation = organisation;
    this.everywhere = everywhere;
    this.list = venues;
    const { view } = this;
    if (view.kind === 'only' && !venues.some(({ id }) => id === view.venue)) this.view = { kind: 'mixed' };
    const { venue } = this.wanted;
    if (venue !== null && !venues.some(({ id }) => id === venue)) this.leave();
    // whoever is not of all venues acts in the first one as long as they do not say
    else if (venue === null && everywhere === null && venues.length > 1) {
      const [first] = venues.map(({ id }) => id).sort();
      this.choose(first!);
    }
  }

  private go(wanted: Wanted): void {
    this.wanted = wanted;
    this.moved(wanted);
  }
}

function queryOf({ organisation, venue }: Wanted): string {
  const query = new URLSearchParams();
  if (venue !== null) query.set('venue', venue);
  if (organisation !== null) query.set('organisation', organisation);
  return query.toString();
}
