import { describe, expect, it, vi } from 'vitest';
import { adoptToken, BrowserHost } from './browser';
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

  it('say refused when no ticket is sold for the token', async () => {
    vi.spyOn(globalThis, 'fetch').mockResolvedValue(new Response('{}', { status: 401 }));
    const host = new BrowserHost('http://collector.test', sessionStorage);
    const handlers = { message: () => undefined, closed: () => undefined };
    await expect(host.live('here', handlers)).rejects.toBeInstanceOf(HostRefused);
  });
});
