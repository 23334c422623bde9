import { describe, expect, it } from 'vitest';
import type { FoundMatches } from '../api/types';
import { nextFrom, together } from './found';

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
