/**
 * Which of a fixed number of nodes shows which position. A row that moves keeps its node, so its text is not laid out again, and
 * one that leaves gives its node to one that comes. Behind a leap, where all rows are others, the nodes stay in the order in which
 * they stand, since each one that is moved is laid out once more.
 */
export class NodesInTurn {
  private first = 0;
  private count = 1;
  /** The node of position 0. */
  private turn = 0;

  /** The screen shows `count` positions from `first` on. */
  show(first: number, count: number): void {
    const leap = Math.abs(first - this.first) >= this.count;
    if (leap) this.turn = this.of(this.first) - first;
    this.first = first;
    this.count = count;
  }

  of(position: number): number {
    return modulo(position + this.turn, this.count);
  }
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}
