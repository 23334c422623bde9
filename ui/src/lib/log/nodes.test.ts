import { describe, expect, it } from 'vitest';
import { NodesInTurn } from './nodes';

function shown(nodes: NodesInTurn, first: number, count: number): number[] {
  nodes.show(first, count);
  return Array.from({ length: count }, (_, at) => nodes.of(first + at));
}

describe('nodes in turn', () => {
  it('stay with their rows while these move', () => {
    const nodes = new NodesInTurn();
    const before = shown(nodes, 1000, 5);
    const after = shown(nodes, 1002, 5);
    expect(after.slice(0, 3)).toEqual(before.slice(2));
    expect(new Set(after)).toEqual(new Set(before));
    expect(shown(nodes, 998, 5).slice(4)).toEqual(after.slice(0, 1));
  });

  it('stay in their order behind a leap', () => {
    const nodes = new NodesInTurn();
    const before = shown(nodes, 1003, 7);
    expect(shown(nodes, 5_000_001, 7)).toEqual(before);
    expect(shown(nodes, 12, 7)).toEqual(before);
    expect(shown(nodes, 10, 7)).not.toEqual(before);
  });

  it('are each used once, whatever the height', () => {
    const nodes = new NodesInTurn();
    let first = 7;
    for (const [step, count] of [
      [3, 36],
      [-2, 12],
      [100_000, 12],
      [5, 40],
      [-99_000, 41],
      [0, 1],
    ] as const) {
      first += step;
      expect(shown(nodes, first, count).sort((a, b) => a - b)).toEqual(
        Array.from({ length: count }, (_, at) => at),
      );
    }
  });
});
