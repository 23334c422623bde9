import { describe, expect, it } from 'vitest';
import { FilteredDisplay, FoldedDisplay, joinStretches, type Display } from './display';

/** A small generator with a seed, so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

/** Every row is either shown exactly once, in order, or inside exactly one hidden stretch. */
function shownRows(display: Display): { rows: number[]; hidden: number } {
  const rows: number[] = [];
  let hidden = 0;
  for (let position = 0; position < display.length; position++) {
    const item = display.at(position)!;
    if (item.kind === 'row') rows.push(item.row);
    else hidden += item.to - item.from;
  }
  return { rows, hidden };
}

describe('folded phases', () => {
  it('shows everything when nothing is folded', () => {
    const display = new FoldedDisplay(10_000_000, []);
    expect(display.length).toBe(10_000_000);
    expect(display.at(9_999_999)).toEqual({ kind: 'row', row: 9_999_999 });
    expect(display.at(10_000_000)).toBeUndefined();
  });

  it('agrees with a plain list for random folds', () => {
    const next = random(7);
    for (let round = 0; round < 200; round++) {
      const total = 1 + Math.floor(next() * 60);
      const folds = Array.from({ length: Math.floor(next() * 4) }, () => {
        const from = 1 + Math.floor(next() * total);
        return { from, to: from + Math.floor(next() * 20) };
      });
      const expected: number[] = [];
      for (let row = 0; row < total; row++) {
        if (!folds.some((fold) => row >= fold.from && row < fold.to)) expected.push(row);
      }
      const display = new FoldedDisplay(total, folds);
      expect(shownRows(display).rows).toEqual(expected);
      expected.forEach((row, position) => expect(display.positionOf(row)).toBe(position));
      for (let row = 0; row < total; row++) expect(display.isHidden(row)).toBe(!expected.includes(row));
    }
  });

  it('finds a folded row at the header that hides it', () => {
    const display = new FoldedDisplay(100, [{ from: 11, to: 50 }]);
    expect(display.at(display.positionOf(30))).toEqual({ kind: 'row', row: 10 });
  });
});

describe('filtered rows', () => {
  it('says of every hidden row that it is hidden', () => {
    const next = random(11);
    for (let round = 0; round < 200; round++) {
      const total = 1 + Math.floor(next() * 80);
      const matched = Array.from({ length: total }, (_, row) => row).filter(() => next() < 0.2);
      const display = new FilteredDisplay(total, matched, []);
      const { rows, hidden } = shownRows(display);
      expect(rows).toEqual(matched);
      expect(rows.length + hidden).toBe(total);
      for (const row of matched) expect(display.at(display.positionOf(row))).toEqual({ kind: 'row', row });
    }
  });

  it('leaves lines around each match, joined where they meet', () => {
    const display = new FilteredDisplay(100, [0, 50, 54], [], 3);
    expect(shownRows(display).rows).toEqual([0, 1, 2, 3, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57]);
    const next = random(13);
    for (let round = 0; round < 100; round++) {
      const total = 1 + Math.floor(next() * 80);
      const around = Math.floor(next() * 5);
      const matched = Array.from({ length: total }, (_, row) => row).filter(() => next() < 0.1);
      const near = (row: number) => matched.some((match) => Math.abs(match - row) <= around);
      const { rows, hidden } = shownRows(new FilteredDisplay(total, matched, [], around));
      expect(rows).toEqual(Array.from({ length: total }, (_, row) => row).filter(near));
      expect(rows.length + hidden).toBe(total);
    }
  });

  it('shows what was revealed around a match', () => {
    const display = new FilteredDisplay(100, [50], [{ from: 48, to: 53 }]);
    expect(shownRows(display)).toEqual({ rows: [48, 49, 50, 51, 52], hidden: 95 });
  });
});

it('joins overlapping and touching stretches', () => {
  const joined = joinStretches(
    [
      { from: 5, to: 9 },
      { from: -3, to: 2 },
      { from: 9, to: 12 },
      { from: 30, to: 99 },
    ],
    40,
  );
  expect(joined).toEqual([
    { from: 0, to: 2 },
    { from: 5, to: 12 },
    { from: 30, to: 40 },
  ]);
});
