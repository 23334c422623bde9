import { describe, expect, it, vi } from 'vitest';
import { adoptToken, BrowserHost, browserName } from './browser';
import { HostRefused, HostUnreachable } from './types';

function place(hash: string) {
  const replaced: string[] = [];
  const location = { hash, pathname: '/', search: '' } as Location;
  const history = {
    replaceState: (_: unknown, __: string, url: string) => void replaced.push(url),
  } as unknown as History;
  return { location, history, replaced };
}

describe('the token in the fragment', () => {
  it.each([
    ['#token=abc', 'abc', '/#/live'],
    ['#token=a%2Fb', 'a/b', '/#/live'],
    ['#/deployments/x?token=abc', 'abc', '/#/deployments/x'],
    ['#/deployments/x?token=abc&seq=7', 'abc', '/#/deployments/x?seq=7'],
  ])('moves %s out of the address', (hash, token, url) => {
    sessionStorage.clear();
    const { location, history, replaced } = place(hash);
    expect(adoptToken(location, history, sessionStorage)).toBe(true);
    expect(sessionStorage.getItem('deckport.token')).toBe(token);
    expect(replaced).toEqual([url]);
  });

  it.each(['#token=dps_anothers', '#/live?token=dpt_anothers'])(
    'takes no session and no program’s token from %s',
    (hash) => {
      sessionStorage.setItem('deckport.token', 'mine');
      const { location, history, replaced } = place(hash);
      expect(adoptToken(location, history, sessionStorage)).toBe(false);
      expect(sessionStorage.getItem('deckport.token')).toBe('mine');
      expect(replaced).toEqual(['/#/live']);
    },
  );

  it('leaves an address without a token alone', () => {
    const { location, history, replaced } = place('#/deployments/tokenless?seq=3');
    expect(adoptToken(location, history, sessionStorage)).toBe(false);
    expect(replaced).toEqual([]);
  });
});

describe('requests', () => {
  it('carry the token, and never in the address', async () => {
    sessionStorage.setItem('deckport.token', 'secret');
    const fetched = vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('{}'));
    const host = new BrowserHost('http://collector.test', sessionStorage);
    await host.request('here', { method: 'GET', path: '/api/v1/info' });
    const [url, init] = fetched.mock.calls[0]!;
    expect(String(url)).toBe('http://collector.test/api/v1/info');
    expect((init!.headers as Record<string, string>)['authorization']).toBe('Bearer secret');
    expect(init!.credentials).toBe('omit');
  });

  it('carry a file as it is', async () => {
    const fetched = vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('{}', { status: 201 }));
    const host = new BrowserHost('http://collector.test', sessionStorage);
    const file = new Blob([new Uint8Array([0, 255, 1])]);
    expect((await host.upload('here', '/api/v1/import', file)).status).toBe(201);
    const [, init] = fetched.mock.calls.at(-1)!;
    expect(init!.method).toBe('POST');
    expect(init!.body).toBe(file);
  });

  it('say unreachable when nothing answers', async () => {
    vi.spyOn(globalThis, 'fetch').mockRejectedValue(new TypeError('refused'));
    const host = new BrowserHost('http://collector.test', sessionStorage);
    await expect(host.request('here', { method: 'GET', path: '/api/v1/info' })).rejects.toBeInstanceOf(
      HostUnreachable,
    );
  });

  it('end when nobody waits any more', async () => {
    vi.spyOn(globalThis, 'fetch').mockImplementation(
      (_, init) =>
        new Promise((_, reject) =>
          init!.signal!.addEventListener('abort', () => reject(new DOMException('ended', 'AbortError'))),
        ),
    );
    const host = new BrowserHost('http://collector.test', sessionStorage);
    const waiting = new AbortController();
    const asked = host.request('here', { method: 'GET', path: '/api/v1/info', signal: waiting.signal });
    waiting.abort('another is looked for');
    await expect(asked).rejects.toBe('another is looked for');
    const again = host.request('here', { method: 'GET', path: '/api/v1/info', signal: waiting.signal });
    await expect(again).rejects.toBe('another is looked for');
  });

  it('say refused when no ticket is sold for the token', async () => {
    vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('{}', { status: 401 }));
    const host = new BrowserHost('http://collector.test', sessionStorage);
    const handlers = { message: () => undefined, closed: () => undefined };
    await expect(host.live('here', handlers, '')).rejects.toBeInstanceOf(HostRefused);
  });
});

describe('logging in', () => {
  const login = { login: 'ada', password: 'three blind mice' };

  it('keeps the session for this tab, and sends nothing of an older one along', async () => {
    sessionStorage.setItem('deckport.token', 'ended');
    const fetched = vi
      .spyOn(globalThis, 'fetch')
      .mockResolvedValue(new Response(JSON.stringify({ token: 'dps_new' })));
    const host = new BrowserHost('http://collector.test', sessionStorage);
    await host.enter('here', login);
    expect(sessionStorage.getItem('deckport.token')).toBe('dps_new');
    const [url, init] = fetched.mock.calls.at(-1)!;
    expect(String(url)).toBe('http://collector.test/api/v1/login');
    expect((init!.headers as Record<string, string>)['authorization']).toBeUndefined();
    expect(JSON.parse(init!.body as string)).toMatchObject(login);
  });

  it('tells why not, and for how long', async () => {
    sessionStorage.clear();
    const error = { code: 'rate_exceeded', message: 'too many logins failed' };
    vi.spyOn(globalThis, 'fetch').mockResolvedValue(
      new Response(JSON.stringify({ error }), { status: 429, headers: { 'retry-after': '15' } }),
    );
    const host = new BrowserHost('http://collector.test', sessionStorage);
    await expect(host.enter('here', login)).rejects.toMatchObject({
      name: 'HostRefused',
      code: 'rate_exceeded',
      waitS: 15,
    });
    expect(host.credentials.there()).toBe(false);
  });

  it.each([
    ['Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', 'Firefox on Linux'],
    [
      'Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0',
      'Edge on Windows',
    ],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1 Version/18.0 Mobile Safari/604.1',
      'Safari on iOS',
    ],
    ['curl/8', 'A browser'],
  ])('%s is %s', (agent, name) => expect(browserName(agent)).toBe(name));
});
