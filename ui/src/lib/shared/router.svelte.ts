/** Hash routing: the same links work in the desktop shell, in a browser, and as `deckport://…`. */

export type Route =
  | { name: 'live' }
  | { name: 'deployment'; id: string; seq: number | null }
  | { name: 'settings' }
  | { name: 'unknown'; path: string };

export function parseRoute(hash: string): Route {
  const raw = hash.replace(/^#/, '').replace(/^\/+/, '');
  const [path = '', search = ''] = raw.split('?', 2);
  const parts = path.split('/').filter(Boolean);
  if (parts.length === 0 || parts[0] === 'live') return { name: 'live' };
  if (parts[0] === 'settings') return { name: 'settings' };
  if ((parts[0] === 'deployments' || parts[0] === 'deployment') && parts[1]) {
    const seq = Number(new URLSearchParams(search).get('seq') ?? Number.NaN);
    let id: string;
    try {
      id = decodeURIComponent(parts[1]);
    } catch {
      id = parts[1];
    }
    return { name: 'deployment', id, seq: Number.isSafeInteger(seq) && seq >= 0 ? seq : null };
  }
  return { name: 'unknown', path: raw };
}

export function liveLink(): string {
  return '#/live';
}

export function deploymentLink(id: string, seq?: number): string {
  return `#/deployments/${encodeURIComponent(id)}${seq === undefined ? '' : `?seq=${seq}`}`;
}

export function settingsLink(): string {
  return '#/settings';
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
}
