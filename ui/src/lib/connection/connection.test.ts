import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakeHost } from '../../test/fixtures';
import { HostRefused, HostUnreachable } from '../host';
import { backOff, LiveConnection } from './connection.svelte';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const handlers = () => ({ snapshot: vi.fn(), delta: vi.fn(), error: vi.fn() });

async function connected() {
  const host = new FakeHost();
  const connection = new LiveConnection(host, 'here');
  connection.start();
  await vi.advanceTimersByTimeAsync(0);
  return { host, connection };
}

describe('backing off', () => {
  it('doubles, and stays under its cap', () => {
    const waits = [0, 1, 2, 3, 4, 5, 6, 30].map((attempt) => backOff(attempt, 0.5));
    expect(waits.slice(0, 3)).toEqual([300, 600, 1200]);
    expect(Math.max(...waits)).toBe(10_000);
  });
});

describe('the live connection', () => {
  it('subscribes what was asked for before the socket was open', async () => {
    const host = new FakeHost();
    const connection = new LiveConnection(host, 'here');
    connection.subscribe({ topic: 'fleet' }, handlers());
    connection.start();
    expect(connection.state.kind).toBe('connecting');
    await vi.advanceTimersByTimeAsync(0);
    expect(connection.state.kind).toBe('live');
    expect(host.socket.sent).toEqual([{ type: 'subscribe', id: 1, topic: 'fleet' }]);
    connection.stop();
  });

  it('subscribes again after a loss, with what was told to be kept, and gives a fresh snapshot', async () => {
    const { host, connection } = await connected();
    const got = handlers();
    const subscription = connection.subscribe({ topic: 'window', from: 0 }, got);
    subscription.tell('window', { from: 900 }, { from: 900 });
    host.socket.handlers.closed({ reason: 'lost', message: '' });
    expect(connection.state.kind).toBe('reconnecting');
    await vi.advanceTimersByTimeAsync(1000);
    expect(connection.state.kind).toBe('live');
    expect(host.sockets).toHaveLength(2);
    expect(host.socket.sent).toEqual([{ type: 'subscribe', id: 1, topic: 'window', from: 900 }]);
    host.say({ type: 'snapshot', id: 1, data: 'new' });
    expect(got.snapshot).toHaveBeenCalledExactlyOnceWith('new');
    connection.stop();
  });

  it('ignores what an older socket still says', async () => {
    const { host, connection } = await connected();
    const got = handlers();
    connection.subscribe({ topic: 'fleet' }, got);
    const old = host.socket;
    old.handlers.closed({ reason: 'lost', message: '' });
    await vi.advanceTimersByTimeAsync(1000);
    old.handlers.message(JSON.stringify({ type: 'delta', id: 1, data: 'stale' }));
    old.handlers.closed({ reason: 'lost', message: '' });
    expect(got.delta).not.toHaveBeenCalled();
    expect(connection.state.kind).toBe('live');
    connection.stop();
  });

  it('keeps trying while nothing answers', async () => {
    const host = new FakeHost();
    host.refuse = new HostUnreachable('down');
    const connection = new LiveConnection(host, 'here');
    connection.start();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(connection.state).toMatchObject({ kind: 'reconnecting' });
    host.refuse = null;
    await vi.advanceTimersByTimeAsync(15_000);
    expect(connection.state.kind).toBe('live');
    connection.stop();
  });

  it('does not try a refused token again by itself', async () => {
    const host = new FakeHost();
    host.refuse = new HostRefused('the token is not known');
    const connection = new LiveConnection(host, 'here');
    connection.start();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(connection.state).toEqual({ kind: 'refused', message: 'the token is not known', code: '' });
    expect(host.sockets).toHaveLength(0);
    connection.stop();
  });

  it('notices a link that is open but silent', async () => {
    const { host, connection } = await connected();
    await vi.advanceTimersByTimeAsync(15_000);
    expect(host.socket.sent.at(-1)).toMatchObject({ type: 'ping' });
    const silent = host.socket;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(silent.closed).toBe(true);
    expect(connection.state.kind).toBe('reconnecting');
    connection.stop();
  });

  it('is kept alive by any answer', async () => {
    const { host, connection } = await connected();
    for (let i = 0; i < 8; i++) {
      await vi.advanceTimersByTimeAsync(15_000);
      host.say({ type: 'pong', nonce: 1 });
    }
    expect(host.sockets).toHaveLength(1);
    expect(connection.state.kind).toBe('live');
    connection.stop();
  });
});
