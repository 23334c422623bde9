import { afterEach, describe, expect, it, vi } from 'vitest';
import { BrowserProviderLogin, takeCode } from './provider';
import { HostRefused, type HostRequest, type HostResponse } from './types';

const AUTHORIZE = 'https://id.example.org/authorize?state=s';

function stage(code: string | null = null, answers: Record<string, Partial<HostResponse>> = {}) {
  const asked: HostRequest[] = [];
  const location = { hash: '#/deployments/7?seq=3', assign: vi.fn() };
  const entered = vi.fn();
  const provider = new BrowserProviderLogin(
    code,
    sessionStorage,
    location as unknown as Location,
    async (request) => {
      asked.push(request);
      const answer = answers[`${request.method} ${request.path}`] ?? { status: 404 };
      return { status: 200, headers: {}, body: '{}', ...answer };
    },
    entered,
    (answer) => new HostRefused(answer.body),
    'Firefox on Linux',
  );
  return { provider, asked, location, entered };
}

async function hash(word: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(word));
  return Buffer.from(digest).toString('base64url');
}

afterEach(() => sessionStorage.clear());

describe('by the word of a provider', () => {
  it('leaves with the hash of a word that stays here, and comes back with the word', async () => {
    const authorize = { body: JSON.stringify({ authorize: AUTHORIZE }) };
    const away = stage(null, { 'POST /api/v1/login/oidc': authorize });
    await away.provider.go();
    expect(away.location.assign).toHaveBeenCalledWith(AUTHORIZE);
    const { challenge } = JSON.parse(String(away.asked[0]?.body)) as { challenge: string };
    const kept = JSON.parse(sessionStorage.getItem('deckport.login')!) as { word: string };
    expect(challenge).toBe(await hash(kept.word));
    expect(JSON.stringify(away.asked)).not.toContain(kept.word);

    const back = { hash: '#login=the_code-1', pathname: '/', search: '' } as Location;
    const history = { replaceState: vi.fn() };
    const code = takeCode(back, history as unknown as History, sessionStorage);
    expect(code).toBe('the_code-1');
    expect(history.replaceState).toHaveBeenCalledWith(null, '', '/#/deployments/7?seq=3');
    const session = { body: '{"token":"dps_1"}' };
    const again = stage(code, { 'POST /api/v1/login/oidc/session': session });
    expect(await again.provider.back()).toBe(true);
    expect(JSON.parse(String(again.asked[0]?.body))).toEqual({
      code: 'the_code-1',
      verifier: kept.word,
      client: 'Firefox on Linux',
    });
    expect(again.entered).toHaveBeenCalledOnce();
    expect(sessionStorage.getItem('deckport.login')).toBeNull();
    expect(await again.provider.back()).toBe(false);
  });

  it('tells why not, and does not try the same code again', async () => {
    const refused = { status: 403, body: 'nobody here is that' };
    const { provider } = stage('code', { 'POST /api/v1/login/oidc/session': refused });
    await expect(provider.back()).rejects.toThrow('nobody here is that');
    expect(await provider.back()).toBe(false);
  });

  it('leaves other addresses alone, and goes nowhere but within the page', () => {
    const history = { replaceState: vi.fn() } as unknown as History;
    const at = (hash: string) =>
      takeCode({ hash, pathname: '/', search: '' } as Location, history, sessionStorage);
    for (const hash of ['', '#/live', '#/live?login=1', '#login=', '#login=<b>']) expect(at(hash)).toBeNull();
    sessionStorage.setItem('deckport.login', JSON.stringify({ word: 'w', route: 'https://evil.example' }));
    expect(at('#login=c')).toBe('c');
    expect(history.replaceState).toHaveBeenCalledWith(null, '', '/#/live');
  });

  it('is called by its name, where there is one', async () => {
    const named = stage(null, { 'GET /api/v1/login': { body: '{"oidc":"Example ID"}' } });
    expect(await named.provider.name()).toBe('Example ID');
    const older = stage();
    expect(await older.provider.name()).toBeNull();
  });
});
