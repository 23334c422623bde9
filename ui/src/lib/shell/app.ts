/** What every screen may reach, given by context: the API, the live connection, preferences, routing. */
import { getContext, setContext } from 'svelte';
import type { Api } from '../api/client';
import type { Info } from '../api/types';
import type { Connections, Watched } from '../connections/connections.svelte';
import type { LiveConnection } from '../connection/connection.svelte';
import type { Adding } from '../consoles/adding.svelte';
import type { Consoles } from '../consoles/consoles.svelte';
import type { KnownRuns } from '../history/known.svelte';
import type { Results } from '../history/results.svelte';
import type { SavedSearches } from '../history/saved.svelte';
import type { HistorySearch } from '../history/search.svelte';
import type { Host } from '../host';
import type { Fleet } from '../live/fleet.svelte';
import type { Me } from '../operators/me.svelte';
import type { Clock } from '../shared/clock.svelte';
import type { Preferences } from '../shared/preferences.svelte';
import type { Router } from '../shared/router.svelte';
import type { Toasts } from '../shared/toasts.svelte';
import type { Overview } from '../venues/overview.svelte';
import type { Venues } from '../venues/venues.svelte';

export interface App {
  host: Host;
  connections: Connections;
  /** The one that the screens show; what follows belongs to it. */
  watched: Watched;
  api: Api;
  connection: LiveConnection;
  /** The deployments. */
  fleet: Fleet;
  /** Who the operator is there. */
  me: Me;
  venues: Venues;
  /** What needs somebody in the venues that are not shown. */
  overview: Overview;
  consoles: Consoles;
  adding: Adding;
  known: KnownRuns;
  /** The search that History shows; it stays while other screens are looked at. */
  search: HistorySearch;
  results: Results;
  saved: SavedSearches;
  clock: Clock;
  preferences: Preferences;
  router: Router;
  toasts: Toasts;
  /** Shows another collector. */
  switchTo(connection: string): void;
  /** Shows another venue, or all (null). */
  chooseVenue(venue: string | null): Promise<void>;
  enterOrganisation(organisation: string): void;
  /** Null until the collector answered. */
  info(): Info | null;
  showShortcuts(): void;
  /** Opens the dialog for it, with this template chosen. */
  addConsoles(template?: string): void;
}

/** What can be given to someone else: the address of a screen, from its link. */
export function shareable(host: Host, link: string): string {
  if (host.kind === 'desktop')
    return `deckport://${link.replace(/^#\//, '').replace(/^deployments\//, 'deployment/')}`;
  return `${location.origin}${location.pathname}${link}`;
}

/** Where a component finds what the app consists of. */
export const APP = Symbol('app');

export function provideApp(app: App): void {
  setContext(APP, app);
}

export function useApp(): App {
  return getContext<App>(APP);
}
