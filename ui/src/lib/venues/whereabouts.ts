/** In which venue something is, and what of a screen is still there in another one. */
import type { Api } from '../api/client';
import { HostUnreachable } from '../host';
import { liveLink, signaturesLink, togetherLink, type Route } from '../shared/router.svelte';
import type { Venues } from './venues.svelte';

/** Asks whether there is such a thing; where nobody answers it is taken to be there. */
async function isThere(ask: () => Promise<unknown>): Promise<boolean> {
  try {
    await ask();
    return true;
  } catch (cause) {
    return cause instanceof HostUnreachable;
  }
}

/** The venue of a deployment that one may see; null: where one looks already. Undefined: nowhere. */
export async function whereIs(
  api: Api,
  venues: Venues,
  deployment: string,
): Promise<string | null | undefined> {
  const asked = (from: Api) => from.deployment(deployment).then(({ summary }) => summary.venue_id ?? '');
  if ((await asked(api).catch(() => undefined)) !== undefined) return null;
  // of a connection that was not on the screen yet
  if (!venues.known) await venues.load(api);
  if (venues.query === '' && !venues.several) return undefined;
  const places =
    venues.everywhere === null
      ? venues.list.filter(({ id }) => id !== venues.chosen?.id).map(({ id }) => venues.queryOf(id))
      : [venues.queryOf(null)];
  return Promise.any(places.map((place) => asked(api.elsewhere(place)))).catch(() => undefined);
}

/** Where a screen leads once another place is looked at: the same where what it shows is there too. Null: it stays. */
export async function stays(there: Api, route: Route): Promise<string | null> {
  const run = (id: string) => isThere(() => there.deployment(id));
  switch (route.name) {
    case 'deployment':
      return (await run(route.id)) ? null : liveLink();
    case 'comparison':
      return (await run(route.id)) ? null : liveLink();
    case 'together': {
      const here = await Promise.all(route.runs.map(run));
      const left = route.runs.filter((_, i) => here[i]);
      return left.length === route.runs.length ? null : togetherLink(left, route.view);
    }
    case 'signatures': {
      const { id } = route;
      return id === null || (await isThere(() => there.signature(id))) ? null : signaturesLink();
    }
    default:
      return null;
  }
}
