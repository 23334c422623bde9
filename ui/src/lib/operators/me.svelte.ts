/**
 * Who the operator is to this collector, and what they may do there.
 *
 * The collector decides each time; this only keeps what would be refused from being offered. Until it is known everything is.
 */
import type { Api } from '../api/client';
import type { Me as Answer, Person, Role } from '../api/types';
import { atLeast } from './roles';

export class Me {
  private answer = $state.raw<Answer | null>(null);
  readonly role = $derived<Role | null>(this.answer?.role ?? null);
  /** Null: the shell of this computer, or whoever has the collector's token; they have no password and no sessions. */
  readonly operator = $derived<Person | null>(this.answer?.operator ?? null);
  readonly known = $derived(this.answer !== null);
  /** The collector was asked, and answered or not: waiting for it helps no more. */
  asked = $state(false);

  constructor(private readonly api: Api) {}

  /** Asks again: a role changes at once. What was known stays while there is no answer. */
  async load(): Promise<void> {
    try {
      this.answer = await this.api.me();
    } catch {
      // the collector's own refusals say what is not allowed
    } finally {
      this.asked = true;
    }
  }

  /** What is to be expected until the collector says it: a role somewhere else. */
  suppose(role: Role): void {
    if (this.answer !== null) this.answer = { ...this.answer, role };
  }

  /** Came with the collector's token, or over the shell's own stream. */
  get kind(): string {
    return this.answer?.kind ?? '';
  }

  may(role: Role): boolean {
    return this.role === null || atLeast(this.role, role);
  }

  /** In all venues, as what is of no single one asks for. */
  mayEverywhere(role: Role): boolean {
    return this.may(role) && (this.operator === null || this.isEverywhere(this.operator, role));
  }

  private isEverywhere({ everywhere }: Person, role: Role): boolean {
    return everywhere !== null && atLeast(everywhere, role);
  }
}
