/**
 * The host in a plain browser: the page was served by the collector it talks to.
 *
 * The operator logs in for a token; or an access token comes once in the URL's fragment (`#token=…`,
 * which browsers never send to a server) and is stripped from the address so that it is not
 * bookmarked or shared. Either is kept in `sessionStorage`: it is this tab's alone. A WebSocket and a download cannot carry a header, so each gets a
 * single-use ticket bought with the token.
 */
import { BrowserProviderLogin } from './provider';
import { refusal } from './refusal';
import {
  HostRefused,
  HostUnreachable,
  type Connection,
  type Credentials,
  type Host,
  type HostRequest,
  type HostResponse,
  type LiveHandlers,
  type LiveSocket,
  type Login,
  type ProviderLogin,
} from './types';

const TOKEN_KEY = 'deckport.token';
/** An answer slower than this is treated as a lost link. */
const REQUEST_TIMEOUT_MS = 20_000;
/** A file of hundreds of megabytes over a venue's network. */
const UPLOAD_TIMEOUT_MS = 15 * 60_000;

/**
 * Moves the collector's access token out of the address bar. Returns true when there was one.
 *
 * Sessions and programs' tokens are not taken from there: a link made by somebody else would have whoever follows it act as them,
 * and be written down so.
 */
export function adoptToken(location: Location, history: History, storage: Storage): boolean {
  const fragment = location.hash.replace(/^#/, '');
  const match = /^(?:(.*?)[?&])?token=([^&]+)(?:&(.*))?$/.exec(fragment);
  if (!match?.[2]) return false;
  let token: string;
  try {
    token = decodeURIComponent(match[2]);
  } catch {
    token = match[2];
  }
  const anothers = /^dp[st]_/.test(token);
  if (!anothers) storage.setItem(TOKEN_KEY, token);
  const route = match[1] || '/live';
  const rest = match[3] ? `?${match[3]}` : '';
  history.replaceState(null, '', `${location.pathname}${location.search}#${route}${rest}`);
  return !anothers;
}

/** How the session is listed: `Firefox on Linux`. */
export function browserName(agent: string): string {
  const found = (names: [RegExp, string][]) => names.find(([pattern]) => pattern.test(agent))?.[1];
  const browser = found([
    [/Edg\//, 'Edge'],
    [/OPR\//, 'Opera'],
    [/Firefox\/|FxiOS\//, 'Firefox'],
    [/Chrome\/|CriOS\//, 'Chrome'],
    [/Safari\//, 'Safari'],
  ]);
  const system = found([
    [/Android/, 'Android'],
    [/iPhone|iPad/, 'iOS'],
    [/Windows/, 'Windows'],
    [/Mac OS X/, 'macOS'],
    [/Linux/, 'Linux'],
  ]);
  return `${browser ?? 'A browser'}${system ? ` on ${system}` : ''}`;
}

/** The part of an address that says where in the collector something is meant. */
function placeIn(url: URL): string {
  const place = new URLSearchParams();
  for (const name of ['venue', 'organisation']) {
    const id = url.searchParams.get(name);
    if (id !== null) place.set(name, id);
  }
  return place.toString();
}

export class BrowserHost implements Host {
  readonly kind = 'browser';
  readonly credentials: Credentials = {
    there: () => this.storage.getItem(TOKEN_KEY) !== null,
    use: (token) => this.storage.setItem(TOKEN_KEY, token),
    forget: () => this.storage.removeItem(TOKEN_KEY),
  };

  readonly provider: ProviderLogin;

  constructor(
    private readonly origin: string,
    private readonly storage: Storage,
    /** What the page came back with from a provider of logins. */
    code: string | null = null,
  ) {
    this.provider = new BrowserProviderLogin(
      code,
      storage,
      location,
      (request) => {
        // what was held before is of no use
        if (request.method !== 'GET') this.credentials.forget();
        return this.send(request, request.body ?? null, REQUEST_TIMEOUT_MS);
      },
      (answer) => this.credentials.use((JSON.parse(answer.body) as { token: string }).token),
      refusal,
      browserName(navigator.userAgent),
    );
  }

  async connections(): Promise<Connection[]> {
    return [{ id: 'here', name: new URL(this.origin).host, kind: 'remote', state: 'ready', sentence: null }];
  }

  request(_connection: string, request: HostRequest): Promise<HostResponse> {
    return this.send(request, request.body ?? null, REQUEST_TIMEOUT_MS);
  }

  async enter(_connection: string, login: Login): Promise<void> {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ ...login, client: browserName(navigator.userAgent) });
    // what was held before is of no use
    this.credentials.forget();
    const answer = await this.send(
      { method: 'POST', path: '/api/v1/login', headers },
      body,
      REQUEST_TIMEOUT_MS,
    );
    if (answer.status !== 200) throw refusal(answer);
    this.credentials.use((JSON.parse(answer.body) as { token: string }).token);
  }

  upload(_connection: string, path: string, file: Blob): Promise<HostResponse> {
    const headers = { 'content-type': 'application/octet-stream' };
    return this.send({ method: 'POST', path, headers }, file, UPLOAD_TIMEOUT_MS);
  }

  private async send(
    request: HostRequest,
    sent: string | Blob | null,
    timeoutMs: number,
  ): Promise<HostResponse> {
    const headers: Record<string, string> = { ...request.headers };
    const token = this.storage.getItem(TOKEN_KEY);
    if (token) headers['authorization'] = `Bearer ${token}`;
    let answer: Response;
    let body: string;
    const { signal } = request;
    signal?.throwIfAborted();
    const ending = new AbortController();
    const end = (): void => ending.abort();
    signal?.addEventListener('abort', end);
    const timer = setTimeout(end, timeoutMs);
    try {
      answer = await fetch(this.origin + request.path, {
        method: request.method,
        headers,
        body: sent,
        cache: 'no-store',
        credentials: 'omit',
        signal: ending.signal,
      });
      body = await answer.text();
    } catch (cause) {
      signal?.throwIfAborted();
      throw new HostUnreachable('the collector did not answer', { cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
    }
    return { status: answer.status, headers: Object.fromEntries(answer.headers), body };
  }

  async live(connection: string, handlers: LiveHandlers, place: string): Promise<LiveSocket> {
    const ticket = await this.ticket(connection, place);
    const url = new URL('/ws/live', this.origin);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.searchParams.set('ticket', ticket);
    const socket = new WebSocket(url);
    return new Promise((resolve, reject) => {
      let opened = false;
      socket.onopen = () => {
        opened = true;
        resolve({
          send: (text) => {
            if (socket.readyState === WebSocket.OPEN) socket.send(text);
          },
          close: () => socket.close(1000),
        });
      };
      socket.onmessage = (event) => {
        if (typeof event.data === 'string') handlers.message(event.data);
      };
      socket.onclose = (event) => {
        if (!opened) {
          reject(new HostUnreachable('the live socket could not be opened'));
          return;
        }
        // 1008 is the collector's "not with these credentials"; everything else may be tried again.
        handlers.closed({
          reason: event.code === 1008 ? 'refused' : 'lost',
          message: event.reason || 'the link was lost',
        });
      };
    });
  }

  async download(connection: string, path: string, suggestedName: string): Promise<string | null> {
    const url = new URL(path, this.origin);
    const ticket = await this.ticket(connection, placeIn(url));
    url.searchParams.set('ticket', ticket);
    const link = document.createElement('a');
    link.href = url.href;
    link.download = suggestedName;
    link.rel = 'noopener';
    document.body.append(link);
    link.click();
    link.remove();
    return suggestedName;
  }

  async openAddress(address: string): Promise<void> {
    const { protocol } = new URL(address);
    if (protocol !== 'https:' && protocol !== 'http:') throw new Error('only web addresses can be opened');
    // without an opener the page there cannot reach this one, and does not learn where it was linked
    window.open(address, '_blank', 'noopener,noreferrer');
  }

  /** What is opened with it is in the place that it was asked for, whatever its own address says. */
  private async ticket(connection: string, place: string): Promise<string> {
    const path = place === '' ? '/api/v1/tickets' : `/api/v1/tickets?${place}`;
    const answer = await this.request(connection, { method: 'POST', path });
    // 404: there is no such place
    if ([401, 403, 404].includes(answer.status)) throw refusal(answer);
    if (answer.status >= 400) throw new HostUnreachable(`the collector answered ${answer.status}`);
    const { ticket } = JSON.parse(answer.body) as { ticket: string };
    return ticket;
  }
}
