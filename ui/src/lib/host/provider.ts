/**
 * Logging in by the word of a provider, in a browser: away to its page, and back with a code in the address.
 *
 * The page keeps a word for itself, in this tab, and tells the collector its hash when it leaves. The code that it comes back with is
 * good once and only with the word: neither a code that was read on the way nor one that somebody else slips in is of use.
 */
import type { HostRequest, HostResponse, ProviderLogin } from './types';

const LEFT_KEY = 'deckport.login';

/** What is kept while the page is away. */
interface Left {
  word: string;
  /** Where to go on. */
  route: string;
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/** Moves a code out of the address bar, and puts back what stood there when the page was left. Null when there was none. */
export function takeCode(location: Location, history: History, storage: Storage): string | null {
  const code = /^#login=([\w-]+)$/.exec(location.hash)?.[1];
  if (code === undefined) return null;
  const route = left(storage)?.route ?? '#/live';
  history.replaceState(null, '', `${location.pathname}${location.search}${route}`);
  return code;
}

function left(storage: Storage): Left | null {
  try {
    const kept = JSON.parse(storage.getItem(LEFT_KEY) ?? 'null') as Partial<Left> | null;
    if (typeof kept?.word !== 'string') return null;
    const route = typeof kept.route === 'string' && kept.route.startsWith('#/') ? kept.route : '#/live';
    return { word: kept.word, route };
  } catch {
    return null;
  }
}

export class BrowserProviderLogin implements ProviderLogin {
  constructor(
    /** The code that the page came back with. */
    private code: string | null,
    private readonly storage: Storage,
    private readonly location: Location,
    private readonly ask: (request: HostRequest) => Promise<HostResponse>,
    private readonly entered: (answer: HostResponse) => void,
    private readonly refusal: (answer: HostResponse) => Error,
    private readonly client: string,
  ) {}

  async name(): Promise<string | null> {
    const answer = await this.ask({ method: 'GET', path: '/api/v1/login' });
    if (answer.status !== 200) return null;
    return (JSON.parse(answer.body) as { oidc: string | null }).oidc;
  }

  async go(anew = false): Promise<void> {
    const word = base64url(crypto.getRandomValues(new Uint8Array(32)));
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(word));
    const challenge = base64url(new Uint8Array(digest));
    const answer = await this.post('/api/v1/login/oidc', { challenge, anew });
    if (answer.status !== 200) throw this.refusal(answer);
    const { authorize } = JSON.parse(answer.body) as { authorize: string };
    const kept: Left = { word, route: this.location.hash };
    this.storage.setItem(LEFT_KEY, JSON.stringify(kept));
    this.location.assign(authorize);
  }

  async back(): Promise<boolean> {
    const code = this.code;
    if (code === null) return false;
    // each is good once
    this.code = null;
    const word = left(this.storage)?.word ?? '';
    this.storage.removeItem(LEFT_KEY);
    const asked = { code, verifier: word, client: this.client };
    const answer = await this.post('/api/v1/login/oidc/session', asked);
    if (answer.status !== 200) throw this.refusal(answer);
    this.entered(answer);
    return true;
  }

  private post(path: string, body: unknown): Promise<HostResponse> {
    const headers = { 'content-type': 'application/json' };
    return this.ask({ method: 'POST', path, headers, body: JSON.stringify(body) });
  }
}
