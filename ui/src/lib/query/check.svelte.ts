/**
 * How the collector reads the query that is being typed: its parts for colouring, and what is wrong with it.
 *
 * Asked after a pause in typing. Until the answer comes the parts of before are carried over the edit, so that colours do not
 * flicker, and no problem is shown: half a word is not a mistake.
 */
import type { Api } from '../api/client';
import type { QueryPart, QueryProblem } from '../api/types';
import { minutesEast } from './dates';

const TYPING_PAUSE_MS = 150;

/** The parts of `before`, moved to where they stand in `after`; a part that the edit touches keeps what is left of it. */
export function carry(parts: readonly QueryPart[], before: string, after: string): QueryPart[] {
  let head = 0;
  const most = Math.min(before.length, after.length);
  while (head < most && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < most - head && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const shift = after.length - before.length;
  const moved = (at: number): number => (at <= head ? at : Math.max(head, at + shift));
  return parts
    .map((part) => ({ ...part, from: moved(part.from), to: part.to < head ? part.to : moved(part.to) }))
    .filter((part) => part.to > part.from);
}

export class QueryCheck {
  parts = $state.raw<readonly QueryPart[]>([]);
  problem = $state.raw<QueryProblem | null>(null);
  /** The text that `parts` belong to. */
  private text = '';
  private generation = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly api: Api) {}

  update(text: string): void {
    if (text === this.text) return;
    this.parts = carry(this.parts, this.text, text);
    this.text = text;
    this.problem = null;
    this.generation++;
    clearTimeout(this.timer);
    if (text.trim() !== '') this.timer = setTimeout(() => void this.ask(), TYPING_PAUSE_MS);
  }

  /** What a search itself said is wrong, when it was asked before the check. */
  refused(problem: QueryProblem): void {
    this.problem = problem;
  }

  close(): void {
    clearTimeout(this.timer);
    this.generation++;
  }

  private async ask(): Promise<void> {
    const generation = this.generation;
    try {
      const parsed = await this.api.checkQuery(this.text, minutesEast());
      if (generation !== this.generation) return;
      this.parts = parsed.parts;
      this.problem = parsed.problem;
    } catch {
      // a query without colours can be searched for all the same
    }
  }
}
