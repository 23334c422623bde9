import { describe, expect, it } from 'vitest';
import type { Comparison, Hunk } from '../api/types';
import { blocks, changedPart, firstHunk, pairs, phaseBars, unlisted } from './align';

const run = (rows: number) => ({ rows }) as Comparison['this'];
const hunk = (this_from: number, this_to: number, other_from: number, other_to: number): Hunk => ({
  kind: this_from === this_to ? 'missing_here' : other_from === other_to ? 'only_here' : 'changed',
  this_from,
  this_to,
  other_from,
  other_to,
  this_lines: Array.from({ length: this_to - this_from }, (_, i) => `here ${this_from + i}`),
  other_lines: Array.from({ length: other_to - other_from }, (_, i) => `there ${other_from + i}`),
});
const comparing = (hunks: Hunk[], fields: Partial<Comparison> = {}): Comparison => ({
  this: run(100),
  other: run(103),
  how: 'chosen',
  first_difference: null,
  phases: [],
  hunks,
  same_rows: 0,
  ignored: 0,
  complete: true,
  ...fields,
});

describe('a comparison', () => {
  it('is differences with what is alike between them, and misses no row of either run', () => {
    const list = blocks(comparing([hunk(0, 1, 0, 1), hunk(40, 40, 40, 46), hunk(90, 93, 96, 96)]));
    expect(list.map((block) => block.kind)).toEqual([
      'different',
      'alike',
      'different',
      'alike',
      'different',
      'alike',
    ]);
    for (const side of ['this', 'other'] as const) {
      let at = 0;
      for (const block of list) {
        const range = block.kind === 'alike' ? block : block.hunk;
        expect(range[`${side}_from`]).toBe(at);
        at = range[`${side}_to`];
      }
      expect(at).toBe(side === 'this' ? 100 : 103);
    }
    expect(blocks(comparing([]))).toHaveLength(1);
  });

  it('has no empty stretch where lines moved', () => {
    const moved = blocks(comparing([hunk(44, 45, 44, 45), hunk(45, 45, 76, 77), hunk(60, 61, 60, 61)]));
    expect(
      moved.map((block) => (block.kind === 'alike' ? [block.this_from, block.this_to] : 'hunk')),
    ).toEqual([[0, 44], 'hunk', 'hunk', [45, 60], 'hunk', [61, 100]]);
  });

  it('says which lines of a long difference are not listed', () => {
    expect(unlisted(hunk(0, 50, 0, 2))).toBe(null);
    const long = { ...hunk(10, 10, 10, 90), other_lines: Array.from({ length: 50 }, () => 'there') };
    expect(unlisted(long)).toEqual({ side: 'other', row: 60, lines: 30 });
  });

  it('pairs the lines of a difference as far as both sides go', () => {
    const lines = pairs(hunk(5, 6, 7, 9));
    expect(lines).toEqual([
      { this_row: 5, other_row: 7, this_text: 'here 5', other_text: 'there 7' },
      { this_row: null, other_row: 8, this_text: '', other_text: 'there 8' },
    ]);
  });

  it('marks what two lines do not share, unless that is nearly all', () => {
    expect(changedPart('Secure Boot is disabled', 'Secure Boot is enabled')).toEqual({
      a: [15, 18],
      b: [15, 17],
    });
    expect(changedPart('aaa', 'aaaa')).toEqual({ a: [3, 3], b: [3, 4] });
    expect(changedPart('one thing', 'something else')).toBeNull();
    expect(changedPart('', 'x')).toBeNull();
  });

  it('knows which difference is the first', () => {
    const hunks = [hunk(0, 1, 0, 1), hunk(40, 40, 40, 46)];
    const first = { this_row: null, other_row: 42, kind: 'missing_here', text: '', other_text: '' } as const;
    expect(firstHunk(comparing(hunks, { first_difference: first }))).toBe(1);
    expect(firstHunk(comparing(hunks))).toBe(0);
    expect(firstHunk(comparing([]))).toBeNull();
  });

  it('measures phases of both runs on one scale', () => {
    const phase = { name: 'x', this_state: null, other_state: null };
    expect(
      phaseBars([
        { ...phase, this_us: 50, other_us: 100 },
        { ...phase, this_us: null, other_us: 25 },
      ]),
    ).toEqual([
      { here: 0.5, there: 1 },
      { here: 0, there: 0.25 },
    ]);
    expect(phaseBars([{ ...phase, this_us: null, other_us: null }])).toEqual([{ here: 0, there: 0 }]);
  });
});
