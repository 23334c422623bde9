import { describe, expect, it } from 'vitest';
import type { FoundMatches } from '../api/types';
import { nearest, nextFrom, together } from './found';

/** What a search over rows `from..until` of a log finds in which every row that `matches` says matches. */
function search(matches: (row: number) => boolean, from: number, until: number): FoundMatches {
  const all = [];
  for (let row = from; row < until; row++) if (matches(row)) all.push(row);
  return {
    total: all.length,
    rows: all.slice(0, 10_000),
    capped: all.length > 10_000,
    until,
    last: all.at(-1) ?? null,
    scanned_rows: until,
    buckets: all.length > 0 ? [[all[0]!, all.length]] : [],
  };
}

describe('what was found, and what was found since', () => {
  it.each([
    ['few', (row: number) => row % 7 === 3],
    ['more than are listed', (row: number) => row % 2 === 0],
    ['none', () => false],
    ['all', () => true],
  ])('are what one search finds: %s', (_, matches) => {
    let found = search(matches, 0, 5);
    for (const until of [5, 6, 19_000, 19_001, 30_000]) {
      found = together(found, search(matches, nextFrom(found), until));
      const { buckets: _places, ...whole } = search(matches, 0, until);
      expect(found).toMatchObject(whole);
    }
  });

  it('take a row for what it has become', () => {
    const before = search((row) => row === 9, 0, 10);
    const finished = together(
      before,
      search(() => false, nextFrom(before), 12),
    );
    expect(finished).toMatchObject({ total: 0, rows: [], last: null });
    const none = search(() => false, 0, 10);
    expect(
      together(
        none,
        search((row) => row === 9, nextFrom(none), 12),
      ),
    ).toMatchObject({
      total: 1,
      rows: [9],
      last: 9,
    });
  });
});

describe('the nearest match', () => {
  const told = (all: number[], from: number, direction: 'next' | 'previous') =>
    direction === 'next' ? all.find((row) => row >= from) : all.findLast((row) => row <= from);

  it('is what a look at the whole log tells, wherever it is told: every small log', () => {
    const answered = { next: 0, previous: 0 };
    for (let until = 0; until <= 6; until++) {
      for (let bits = 0; bits < 1 << 8; bits++) {
        const found = search((row) => (bits & (1 << row)) !== 0, 0, until);
        // the last row that was searched was open, and is another one now
        const now = bits ^ (until > 0 ? 1 << (until - 1) : 0);
        for (const still of [bits, now]) {
          const all = Array.from({ length: 8 }, (_, row) => row).filter((row) => (still & (1 << row)) !== 0);
          for (const direction of ['next', 'previous'] as const) {
            for (let from = 0; from < 8; from++) {
              const near = nearest(found, from, direction);
              if (near === null) continue;
              answered[direction]++;
              expect(near).toEqual({ row: told(all, from, direction), wrapped: false });
            }
          }
        }
      }
    }
    expect(answered.next).toBeGreaterThan(1000);
    expect(answered.previous).toBeGreaterThan(1000);
  });

  it('is told among those that are listed of many, and not beyond', () => {
    const found = search((row) => row % 2 === 0, 0, 30_000);
    expect(found.rows.at(-1)).toBe(19_998);
    expect(nearest(found, 19_997, 'next')).toEqual({ row: 19_998, wrapped: false });
    expect(nearest(found, 19_998, 'previous')).toEqual({ row: 19_998, wrapped: false });
    expect(nearest(found, 19_999, 'next')).toBeNull();
    expect(nearest(found, 19_999, 'previous')).toBeNull();
    const few = search((row) => row === 7, 0, 30_000);
    expect(nearest(few, 29_998, 'previous')).toEqual({ row: 7, wrapped: false });
    // around the end the collector looks
    expect(nearest(few, 29_999, 'previous')).toBeNull();
    expect(nearest(few, 8, 'next')).toBeNull();
    expect(nearest(few, 6, 'previous')).toBeNull();
  });
});
