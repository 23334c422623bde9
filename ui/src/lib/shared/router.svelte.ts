/** Hash routing: the same links work in the desktop shell, in a browser, and as `deckport://…`. */

/** Side by side on one clock, on the time since each start, each by itself, or as one list. */
export type TogetherView = 'time' | 'start' | 'free' | 'merged';
const TOGETHER_VIEWS: readonly string[] = ['time', 'start', 'free', 'merged'];
/** More do not fit beside each other. */
export const TOGETHER_MOST = 4;

export type Route =
  | { name: 'live' }
  | { name: 'deployment'; id: string; seq: number | null; row?: number }
  /** `find`: what the consoles are filtered by. */
  | { name: 'fleet'; find: string }
  | { name: 'history'; q: string }
  | { name: 'together'; runs: string[]; view: TogetherView }
  | { name: 'comparison'; id: string; other: string }
  | { name: 'signatures'; id: string | null }
  | { name: 'audit'; query: string }
  | { name: 'operators' }
  | { name: 'venues' }
  /** `add`: the address that is offered for adding; null: nothing is added. */
  | { name: 'connections'; add: string | null }
  /** `at`: the section that somebody came for. */
  | { name: 'settings'; at: string | null }
  | { name: 'unknown'; path: string };

export function parseRoute(hash: string): Route {
  const raw = hash.replace(/^#/, '').replace(/^\/+/, '');
  const [path = '', search = ''] = raw.split('?', 2);
  const parts = path.split('/').filter(Boolean);
  if (parts.length === 0 || parts[0] === 'live') return { name: 'live' };
  if (parts[0] === 'audit') return { name: 'audit', query: search };
  const query = new URLSearchParams(search);
  if (parts[0] === 'settings') return { name: 'settings', at: query.get('at') };
  if (parts[0] === 'operators') return { name: 'operators' };
  if (parts[0] === 'venues') return { name: 'venues' };
  if (parts[0] === 'fleet') return { name: 'fleet', find: query.get('find') ?? '' };
  if (parts[0] === 'connections') return { name: 'connections', add: query.get('add') };
  if (parts[0] === 'history') return { name: 'history', q: query.get('q') ?? '' };
  if (parts[0] === 'together') {
    const view = query.get('view') ?? '';
    return {
      name: 'together',
      runs: [...new Set(query.getAll('run'))].slice(0, TOGETHER_MOST),
      view: TOGETHER_VIEWS.includes(view) ? (view as TogetherView) : 'time',
    };
  }
  if (parts[0] === 'compare' && parts[1]) {
    return { name: 'comparison', id: decoded(parts[1]), other: query.get('with') ?? 'last-good' };
  }
  if (parts[0] === 'signatures') return { name: 'signatures', id: parts[1] ? decoded(parts[1]) : null };
  if ((parts[0] === 'deployments' || parts[0] === 'deployment') && parts[1]) {
    const row = whole(query.get('row'));
    return {
      name: 'deployment',
      id: decoded(parts[1]),
      seq: whole(query.get('seq')),
      ...(row === null ? {} : { row }),
    };
  }
  return { name: 'unknown', path: raw };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function whole(text: string | null): number | null {
  const value = Number(text ?? Number.NaN);
  return text !== '' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

export function liveLink(): string {
  return '#/live';
}

export function fleetLink(find = ''): string {
  return find === '' ? '#/fleet' : `#/fleet?find=${encodeURIComponent(find)}`;
}

export function deploymentLink(id: string, seq?: number): string {
  return `#/deployments/${encodeURIComponent(id)}${seq === undefined ? '' : `?seq=${seq}`}`;
}

/** The link to a line by its number from zero, where its record is not known. */
export function rowLink(id: string, row: number): string {
  return `#/deployments/${encodeURIComponent(id)}?row=${row}`;
}

export function historyLink(q = ''): string {
  return q === '' ? '#/history' : `#/history?q=${encodeURIComponent(q)}`;
}

export function togetherLink(runs: readonly string[] = [], view: TogetherView = 'time'): string {
  const query = new URLSearchParams(runs.map((run) => ['run', run]));
  if (view !== 'time') query.set('view', view);
  const text = query.toString();
  return text === '' ? '#/together' : `#/together?${text}`;
}

export function comparisonLink(id: string, other = 'last-good'): string {
  return `#/compare/${encodeURIComponent(id)}?with=${encodeURIComponent(other)}`;
}

export function signaturesLink(id?: string): string {
  return id === undefined ? '#/signatures' : `#/signatures/${encodeURIComponent(id)}`;
}

export function auditLink(query = ''): string {
  return query === '' ? '#/audit' : `#/audit?${query}`;
}

export function operatorsLink(): string {
  return '#/operators';
}

export function venuesLink(): string {
  return '#/venues';
}

/** With the address of a collector that is to be added. */
export function connectionsLink(add?: string): string {
  return add === undefined ? '#/connections' : `#/connections?add=${encodeURIComponent(add)}`;
}

/** A path as the shell gives it, and the connection that it says it is of; empty where it says none. */
export function ofConnection(said: string): { path: string; connection: string } {
  const [path = '', search = ''] = said.split('?', 2);
  const query = new URLSearchParams(search);
  const connection = query.get('connection') ?? '';
  // what else is asked stays as it was written
  const rest = search.split('&').filter((one) => one !== '' && !one.startsWith('connection='));
  return { path: rest.length === 0 ? path : `${path}?${rest.join('&')}`, connection };
}

/** Routes that show something of one collector, which another does not have. */
export function isOfOneCollector(route: Route): boolean {
  return (
    route.name === 'deployment' ||
    route.name === 'comparison' ||
    (route.name === 'together' && route.runs.length > 0) ||
    (route.name === 'signatures' && route.id !== null)
  );
}

export function settingsLink(at?: 'network'): string {
  return at === undefined ? '#/settings' : `#/settings?at=${at}`;
}

export class Router {
  route = $state.raw<Route>(parseRoute(location.hash));
  /** Counts navigations, so that going to the same link twice is noticed. */
  visits = $state(0);

  constructor() {
    window.addEventListener('hashchange', () => {
      this.route = parseRoute(location.hash);
      this.visits++;
    });
  }

  go(path: string): void {
    const hash = `#/${path
      .replace(/^#/, '')
      .replace(/^deckport:\/*/, '')
      .replace(/^\/+/, '')}`;
    if (location.hash === hash) {
      this.route = parseRoute(hash);
      this.visits++;
    } else {
      location.hash = hash;
    }
  }

  /** Changes the address in place: going back does not come here. */
  replace(link: string): void {
    history.replaceState(null, '', link);
    this.route = parseRoute(location.hash);
  }
}
