import { afterEach, describe, expect, it, vi } from 'vitest';
import { quote, wrapCommand } from '../live/teach';
import { Clock } from './clock.svelte';
import { axisTime, bytes, duration, offset, percent, roughly, span } from './format';
import { Preferences } from './preferences.svelte';
import {
  comparisonLink,
  deploymentLink,
  historyLink,
  parseRoute,
  rowLink,
  signaturesLink,
  togetherLink,
  ofConnection,
} from './router.svelte';

describe('format', () => {
  it.each([
    [0, '0:00'],
    [61_500_000, '1:01'],
    [3_723_000_000, '1:02:03'],
    [-5, '0:00'],
  ])('%d µs is %s', (us, text) => expect(duration(us)).toBe(text));
  it.each([
    [999, '999 B'],
    [1500, '1.5 kB'],
    [999_600, '1.0 MB'],
    [412e9, '412 GB'],
  ])('%d bytes is %s', (value, text) => expect(bytes(value)).toBe(text));
  it.each([
    [9_870, '9,870'],
    [123_456, '123 k'],
    [4_123_456, '4.1 M'],
    [999_600_000, '1.0 G'],
  ])('%d is roughly %s', (value, text) => expect(roughly(value)).toBe(text));
  it('writes under an axis what tells its times apart', () => {
    const at = new Date(2026, 10, 26, 14, 30, 5).getTime() * 1000;
    expect(axisTime(at, 60e6)).toBe('14:30:05');
    expect(axisTime(at, 3600e6)).toBe('14:30');
    expect(axisTime(at, 7 * 86_400e6)).toBe('26 Nov');
    expect(axisTime(at, 400 * 86_400e6)).toBe('26 Nov 2026');
  });
  it.each([
    [-5, '0 s'],
    [59_999_999, '59 s'],
    [3599e6, '59 min'],
    [86_399e6, '23 h'],
    [6.5 * 86_400e6, '6 d'],
  ])('%d µs is about %s', (us, text) => expect(span(us)).toBe(text));
  it('never says done before it is', () => expect(percent(0.999)).toBe('99 %'));
  it('keeps milliseconds exact', () => expect(offset(59_999_900)).toBe('+0:59.999'));
});

describe('the clock', () => {
  afterEach(() => void vi.useRealTimers());

  it('stands still while the collector is not heard', () => {
    vi.useFakeTimers();
    const clock = new Clock();
    let heard = true;
    const stop = clock.start(() => heard);
    const began = clock.now;
    vi.advanceTimersByTime(2000);
    expect(clock.now).toBe(began + 2e6);
    heard = false;
    vi.advanceTimersByTime(5000);
    expect(clock.now).toBe(began + 2e6);
    heard = true;
    vi.advanceTimersByTime(1000);
    expect(clock.now).toBe(began + 8e6);
    stop();
  });
});

describe('places that the shell names', () => {
  it.each([
    ['/live', '/live', ''],
    ['/live?connection=r1', '/live', 'r1'],
    ['/deployments/a?seq=7&connection=r1', '/deployments/a?seq=7', 'r1'],
    ['/history?q=a%26b%3D1', '/history?q=a%26b%3D1', ''],
  ])('%s', (said, path, connection) => {
    expect(ofConnection(said)).toEqual({ path, connection });
  });
});

describe('routes', () => {
  it.each([
    ['', { name: 'live' }],
    ['#/live', { name: 'live' }],
    ['#/settings', { name: 'settings', at: null }],
    ['#/settings?at=network', { name: 'settings', at: 'network' }],
    ['#/deployments/a-b?seq=12', { name: 'deployment', id: 'a-b', seq: 12 }],
    ['#/deployments/a-b?seq=-1', { name: 'deployment', id: 'a-b', seq: null }],
    ['#/deployments/a-b', { name: 'deployment', id: 'a-b', seq: null }],
    ['#/deployments/a-b?row=4160', { name: 'deployment', id: 'a-b', seq: null, row: 4160 }],
    ['#/history', { name: 'history', q: '' }],
    ['#/history?q=a%3Ab+c%20%22d%3F%22', { name: 'history', q: 'a:b c "d?"' }],
    ['#/together?run=a&run=b&run=a&view=merged', { name: 'together', runs: ['a', 'b'], view: 'merged' }],
    [
      '#/together?run=a&run=b&run=c&run=d&run=e&view=x',
      { name: 'together', runs: ['a', 'b', 'c', 'd'], view: 'time' },
    ],
    ['#/compare/a-b', { name: 'comparison', id: 'a-b', other: 'last-good' }],
    ['#/signatures', { name: 'signatures', id: null }],
    ['#/fleet', { name: 'fleet', find: '' }],
    ['#/fleet?find=Bay%2012', { name: 'fleet', find: 'Bay 12' }],
    ['#/operators', { name: 'operators' }],
    ['#/connections', { name: 'connections', add: null }],
    ['#/connections?add=https%3A%2F%2Fhq', { name: 'connections', add: 'https://hq' }],
    ['#/rollouts', { name: 'unknown', path: 'rollouts' }],
  ])('%s', (hash, route) => expect(parseRoute(hash)).toEqual(route));
  it('come back from their links', () => {
    expect(parseRoute(deploymentLink('x/y', 0))).toEqual({ name: 'deployment', id: 'x/y', seq: 0 });
    expect(parseRoute(rowLink('x/y', 0))).toEqual({ name: 'deployment', id: 'x/y', seq: null, row: 0 });
    for (const q of ['', 'a & b=c', '"100 %" +x #1 ?', 'ü/\\']) {
      expect(parseRoute(historyLink(q))).toEqual({ name: 'history', q });
    }
    const runs = ['a', 'b/c'];
    expect(parseRoute(togetherLink(runs, 'start'))).toEqual({ name: 'together', runs, view: 'start' });
    expect(parseRoute(comparisonLink('a/b', 'c&d'))).toEqual({ name: 'comparison', id: 'a/b', other: 'c&d' });
    expect(parseRoute(signaturesLink('a/b'))).toEqual({ name: 'signatures', id: 'a/b' });
  });
});

describe('preferences', () => {
  it('survive, and survive nonsense', () => {
    localStorage.clear();
    const first = new Preferences(localStorage);
    first.setTheme('light');
    first.dismiss('one');
    for (const query of ['a', 'b', 'a']) first.rememberSearch(query);
    const second = new Preferences(localStorage);
    expect(second.theme).toBe('light');
    expect(second.dismissed.has('one')).toBe(true);
    expect(second.recentSearches).toEqual(['a', 'b']);
    localStorage.setItem('deckport.preferences', '{broken');
    expect(new Preferences(localStorage).theme).toBe('system');
  });
});

describe('the taught command', () => {
  it('can be pasted as it is, whatever the path', () => {
    expect(quote("/home/o'neil/to ken")).toBe(`'/home/o'\\''neil/to ken'`);
    const info = { listen: 'http://10.0.0.5:7443', token_file: '/var/lib/deck port/token' };
    expect(wrapCommand(info as never, '-- bash install.sh')).toBe(
      `deckport-agent wrap --collector http://10.0.0.5:7443 --token-file '/var/lib/deck port/token' --name "$(hostname)" -- bash install.sh`,
    );
  });
});
