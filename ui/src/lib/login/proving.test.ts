import { describe, expect, it, vi } from 'vitest';
import { FakeHost } from '../../test/fixtures';
import { Api } from '../api/client';
import type { HostRequest } from '../host';
import { HostRefused } from '../host';
import { Proving } from './proving.svelte';

const WANTED = { status: 403, body: { error: { code: 'proof_needed', message: 'prove it' } } };

/** A collector that wants a proof until it got one. */
function collector() {
  let proved = false;
  const host = new FakeHost((request: HostRequest) => {
    if (request.path === '/api/v1/me/prove') {
      proved = (JSON.parse(request.body ?? '{}') as { password: string }).password === 'right';
      const wrong = { error: { code: 'login_refused', message: 'the password is wrong' } };
      return proved ? { status: 200, body: {} } : { status: 403, body: wrong };
    }
    return proved ? { body: { id: 'made' } } : WANTED;
  });
  const api = new Api(host, 'here');
  const proving = new Proving(api);
  api.provedBy(proving);
  const paths = () => host.requests.map(({ method, path }) => `${method} ${path}`);
  return { host, api, proving, paths };
}

const token = { name: 'a script', role: 'viewer', ttl_s: 60 } as const;

describe('a proof', () => {
  it('is asked for once for all that waits, and all of it is done then', async () => {
    const { api, proving, host, paths } = collector();
    const both = Promise.all([api.giveToken(token), api.elsewhere('venue=v').giveToken(token)]);
    await vi.waitFor(() => expect(proving.open).toBe(true));
    await vi.waitFor(() => expect(host.requests).toHaveLength(2));
    await proving.by({ login: 'ada', password: 'right' });
    proving.proved();
    await expect(both).resolves.toHaveLength(2);
    expect(proving.open).toBe(false);
    expect(paths()).toEqual([
      'POST /api/v1/api-tokens',
      'POST /api/v1/api-tokens?venue=v',
      'POST /api/v1/me/prove',
      'POST /api/v1/api-tokens',
      'POST /api/v1/api-tokens?venue=v',
    ]);
    expect(host.requests[3]?.body).toBe(host.requests[0]?.body);
  });

  it('that nobody gives leaves everything as it was', async () => {
    const { api, proving, paths } = collector();
    const given = api.giveToken(token);
    await vi.waitFor(() => expect(proving.open).toBe(true));
    proving.dropped();
    await expect(given).rejects.toThrow('nothing was done');
    expect(paths()).toHaveLength(1);
    expect(proving.open).toBe(false);
  });

  it('that does not help is not asked for again and again', async () => {
    const { api, proving, paths } = collector();
    const given = api.giveToken(token);
    await vi.waitFor(() => expect(proving.open).toBe(true));
    // as if it had been good for no time at all
    proving.proved();
    await expect(given).rejects.toMatchObject({ code: 'proof_needed' });
    expect(paths()).toHaveLength(2);
  });

  it('is refused in the collector’s words, with how long to wait', async () => {
    const { proving, host } = collector();
    const wrong = proving.by({ login: 'ada', password: 'wrong' });
    await expect(wrong).rejects.toMatchObject({ code: 'login_refused' });
    host.answer = () => ({ status: 429, body: { error: { code: 'rate_exceeded', message: 'wait' } } });
    const early = proving.by({ login: 'ada', password: 'right' });
    await expect(early).rejects.toBeInstanceOf(HostRefused);
  });

  it('is wanted by nobody where nobody can be asked', async () => {
    const { host } = collector();
    const given = new Api(host, 'here').giveToken(token);
    await expect(given).rejects.toMatchObject({ code: 'proof_needed' });
  });
});
