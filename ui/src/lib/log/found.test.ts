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
  const told = (all: number[], from: number, direction: 'next' | 'previous') => {
    const near = direction === 'next' ? all.find((row) => row >= from) : all.findLast((row) => row <= from);
    const round = direction === 'next' ? all[0] : all.at(-1);
    return near === undefined
      ? { row: round ?? null, wrapped: round !== undefined }
      : { row: near, wrapped: false };
  };

  it.each([
    ['few', (row: number) => row % 7 === 3, 19_000],
    ['more than are listed', (row: number) => row % 2 === 0, 10_010],
    ['none', () => false, 0],
    ['all', () => true, 10_000],
  ])('is what a look at the whole log tells, or is not known: %s', (_, matches, known) => {
    // the last row was open, and is another one now
    const now = (row: number) => (row === 29_999 ? !matches(row) : matches(row));
    for (const [until, total] of [
      [30_000, 30_000],
      [30_000, 30_005],
      [20_000, 30_000],
    ] as const) {
      const still = total === until ? matches : now;
      const rows = Array.from({ length: total }, (_, row) => row).filter(still);
      const found = search(matches, 0, until);
      let answered = 0;
      for (const direction of ['next', 'previous'] as const) {
        for (let from = 0; from < total; from += 97) {
          const near = nearest(found, total, from, direction);
          if (near === null) continue;
          answered++;
          expect(near).toEqual(told(rows, from, direction));
        }
      }
      // what is listed is told without asking
      expect(answered).toBeGreaterThanOrEqual(Math.floor(known / 97));
    }
  });
});
