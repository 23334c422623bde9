import { mockIPC, clearMocks } from '@tauri-apps/api/mocks';
import { afterEach, describe, expect, it } from 'vitest';
import { TauriHost } from './tauri';
import { HostRefused, HostUnreachable } from './types';

afterEach(() => clearMocks());

const info = { method: 'GET', path: '/api/v1/info' } as const;

/** What the shell is told, and how it answers `request`. */
function shell(answers: () => Promise<unknown>) {
  const told: [string, Record<string, unknown>][] = [];
  mockIPC((command, args) => {
    told.push([command, args as Record<string, unknown>]);
    return command === 'request' ? answers() : undefined;
  });
  return told;
}

describe('requests', () => {
  it('are numbered where the answer may be given up, and giving up is told once', async () => {
    let refuse: (why: unknown) => void = () => undefined;
    const told = shell(() => new Promise((_, reject) => (refuse = reject)));
    const host = new TauriHost();
    const waiting = new AbortController();
    const asked = host.request('here', { ...info, signal: waiting.signal });
    waiting.abort('another is looked for');
    refuse({ code: 'given_up', message: 'nobody waits for this answer any more' });
    await expect(asked).rejects.toBe('another is looked for');
    const [[, { number }], gave] = told as [(typeof told)[0], (typeof told)[0]];
    expect(number).toEqual(expect.any(Number));
    expect(gave).toEqual(['request_give_up', { number }]);
    await expect(host.request('here', { ...info, signal: waiting.signal })).rejects.toBe(
      'another is looked for',
    );
    expect(told).toHaveLength(2);
  });

  it('are answered as ever otherwise', async () => {
    const told = shell(async () => ({ status: 200, headers: {}, body: '{}', base64: false }));
    const host = new TauriHost();
    const waiting = new AbortController();
    expect(await host.request('here', info)).toEqual({ status: 200, headers: {}, body: '{}' });
    expect(await host.request('here', { ...info, signal: waiting.signal })).toMatchObject({ status: 200 });
    // it has its answer: there is nothing to give up
    waiting.abort();
    expect(told.map(([command, { number }]) => [command, typeof number])).toEqual([
      ['request', 'object'],
      ['request', 'number'],
    ]);
  });

  it.each([
    ['unauthorized', HostRefused],
    ['timed_out', HostUnreachable],
  ])('that fail with %s say so', async (code, as) => {
    shell(() => Promise.reject({ code, message: 'no' }));
    const waiting = new AbortController();
    const asked = new TauriHost().request('here', { ...info, signal: waiting.signal });
    await expect(asked).rejects.toBeInstanceOf(as);
  });
});
