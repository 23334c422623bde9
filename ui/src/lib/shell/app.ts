/** What every screen may reach, given by context: the API, the live connection, preferences, routing. */
import { getContext, setContext } from 'svelte';
import type { Api } from '../api/client';
import type { Info } from '../api/types';
import type { LiveConnection } from '../connection/connection.svelte';
import type { Host } from '../host';
import type { Fleet } from '../live/fleet.svelte';
import type { Clock } from '../shared/clock.svelte';
import type { Preferences } from '../shared/preferences.svelte';
import type { Router } from '../shared/router.svelte';
import type { Toasts } from '../shared/toasts.svelte';

export interface App {
  host: Host;
  api: Api;
  connection: LiveConnection;
  fleet: Fleet;
  clock: Clock;
  preferences: Preferences;
  router: Router;
  toasts: Toasts;
  /** Null until the collector answered. */
  info(): Info | null;
  showShortcuts(): void;
}

const KEY = Symbol('app');

export function provideApp(app: App): void {
  setContext(KEY, app);
}

export function useApp(): App {
  return getContext<App>(KEY);
}
