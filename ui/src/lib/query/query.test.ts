import { describe, expect, it, vi } from 'vitest';
import { FakeHost } from '../../test/fixtures';
import { Api } from '../api/client';
import { carry, QueryCheck } from './check.svelte';
import { queryDate } from './dates';
import { conditions, loosened, patternsOf, setField, setTime, timeOf, valueOf, writeTerm } from './terms';

describe('reading a query', () => {
  it('finds the terms that narrow all of it, and no others', () => {
    const values = (text: string) => conditions(text).map((term) => `${term.field ?? ''}=${term.value}`);
    expect(values('disk level:error')).toEqual(['=disk', 'level=error']);
    expect(values('template:="Autumn \\"Cup\\"" and "a b"')).toEqual(['template=Autumn "Cup"', '=a b']);
    expect(values('-level:error NOT phase:x (console:a or console:b)')).toEqual([]);
    expect(values('a or level:error')).toEqual([]);
    expect(values('(a or b) level:error')).toEqual(['level=error']);
    expect(values('http://example.com:80')).toEqual(['=http://example.com:80']);
    expect(values('/a\\/b \\d+/i')).toEqual(['=a/b \\d+']);
  });

  it('tells the time that is chosen', () => {
    expect(timeOf('disk')).toEqual({ kind: 'all' });
    expect(timeOf('disk since:2h')).toEqual({ kind: 'since', span: '2h' });
    expect(timeOf('before:"2026-11-01 14:30"')).toEqual({
      kind: 'range',
      after: null,
      before: '2026-11-01 14:30',
    });
  });
});

describe('chips', () => {
  it.each([
    ['disk', 'level', 'error', 'disk level:error'],
    ['disk level:warning full', 'level', 'error', 'disk level:error full'],
    ['level:warning level:error x', 'level', 'error', 'level:error x'],
    ['disk level:error', 'level', null, 'disk'],
    ['level:error and disk', 'level', null, 'disk'],
    ['a and level:error and b', 'level', null, 'a b'],
    ['', 'level', 'error', 'level:error'],
    ['level:error', 'level', null, ''],
    // what is denied, or one of several, is not the chip's
    ['-level:error disk', 'level', 'warning', '-level:error disk level:warning'],
    ['a or b', 'level', 'error', '(a or b) level:error'],
    ['(a or b) level:error', 'level', null, '(a or b)'],
    ['a or b', 'level', null, 'a or b'],
    // while a phrase is being typed it is closed first
    ['"install fai', 'level', 'error', '"install fai" level:error'],
  ])('%s with %s %s', (text, field, value, edited) => {
    expect(setField(text, field, value)).toBe(edited);
  });

  it('write names that read back as they are', () => {
    for (const name of ['Bay 12', 'a"b\\c', 'or', '-x', 'plain', 'héllo', '(x)', "it's", '/x/']) {
      const text = setField('disk', 'console', name, true);
      expect(valueOf(text, 'console')).toBe(name);
      expect(valueOf(text.replace('disk ', ''), 'console')).toBe(name);
    }
    expect(writeTerm('console', 'Bay 12', true)).toBe('console:="Bay 12"');
  });

  it('put one choice of time in the place of another', () => {
    const range = { kind: 'range', after: '2026-11-26 14:00', before: '2026-11-26 15:00' } as const;
    const chosen = setTime('since:7d disk', range);
    expect(chosen).toBe('after:"2026-11-26 14:00" before:"2026-11-26 15:00" disk');
    expect(setTime(chosen, { kind: 'since', span: '1h' })).toBe('since:1h disk');
    expect(setTime(chosen, { kind: 'all' })).toBe('disk');
  });

  it('leave brackets and minus signs beside what they belong to', () => {
    expect(setField('-(a  or b) level:error c', 'level', 'warning')).toBe('-(a or b) level:warning c');
  });
});

describe('when nothing was found', () => {
  it('less is suggested, the stretch of time first', () => {
    expect(loosened('zebra level:error since:7d console:="Bay 3"')).toEqual([
      { without: 'since:7d', query: 'zebra level:error console:="Bay 3"' },
      { without: 'level:error', query: 'zebra since:7d console:="Bay 3"' },
      { without: 'console:="Bay 3"', query: 'zebra level:error since:7d' },
    ]);
    expect(loosened('zebra')).toEqual([]);
    expect(loosened('level:error')).toEqual([]);
  });
});

describe('highlighting', () => {
  const found = (query: string, text: string) =>
    patternsOf(query).flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[0]));

  it('marks words, phrases and patterns, and nothing that is denied', () => {
    expect(found('disk', 'Disk full, diskette')).toEqual(['Disk', 'disk']);
    expect(found('word:disk', 'Disk full, diskette')).toEqual(['Disk']);
    expect(found("'ERR'", 'err ERR')).toEqual(['ERR']);
    expect(found('/fail(ed)?/', 'failed Failed fail')).toEqual(['failed', 'fail']);
    expect(found('a.c level:error phase:x', 'abc a.c')).toEqual(['a.c']);
    expect(found('-disk not full -(error or x) y', 'disk full error x y')).toEqual(['y']);
    expect(found('not (a not b)', 'a b')).toEqual(['b']);
  });

  it('survives patterns of another engine', () => {
    expect(patternsOf('/(?P<x>a)/ ok').map((pattern) => pattern.source)).toEqual(['ok']);
  });
});

describe('dates in a query', () => {
  const at = Date.UTC(2026, 10, 26, 14, 30) * 1000;
  it('are local, and say their offset when it is not that of today', () => {
    expect(queryDate(at, () => 60)).toBe('2026-11-26 15:30');
    expect(queryDate(at + 5e6, () => 0)).toBe('2026-11-26 14:30:05');
    expect(queryDate(at, (moment) => (moment === at ? -90 : 0))).toBe('2026-11-26 13:00-01:30');
  });
});

describe('colours while typing', () => {
  const parts = [
    { from: 0, to: 4, kind: 'word' },
    { from: 5, to: 11, kind: 'field' },
    { from: 11, to: 16, kind: 'value' },
  ];

  it('stay on what is not edited', () => {
    const moved = carry(parts, 'disk level:error', 'disks level:error');
    expect(moved.slice(1)).toEqual([
      { from: 6, to: 12, kind: 'field' },
      { from: 12, to: 17, kind: 'value' },
    ]);
    expect(carry(parts, 'disk level:error', 'disk ')).toEqual([parts[0]]);
    expect(carry(parts, 'disk level:error', 'level:error')).toEqual([
      { from: 0, to: 6, kind: 'field' },
      { from: 6, to: 11, kind: 'value' },
    ]);
  });

  it('come from the collector after a pause, once for many keys', async () => {
    const host = new FakeHost(() => ({
      body: { ok: false, parts: [], problem: { message: 'no such level', from: 6, to: 10 } },
    }));
    const check = new QueryCheck(new Api(host, 'here'));
    for (const text of ['l', 'le', 'level:eror']) check.update(text);
    await vi.waitFor(() => expect(check.problem?.message).toBe('no such level'));
    expect(host.requests).toHaveLength(1);
    check.update('level:error');
    expect(check.problem).toBeNull();
    check.close();
  });
});
