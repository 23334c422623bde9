/** Who may log in, as admins see it; asked for when it is looked at, and changed in place by what is done here. */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { OperatorFields, Person } from '../api/types';

export type Asking = { kind: 'add' } | { kind: 'change' | 'password'; person: Person };

/** Everything that a change has to say again, or it would be changed as well. */
export function fieldsOf(person: Person): OperatorFields {
  const { login, name, venues } = person;
  return { login, name, role: person.everywhere ?? undefined, venues, disabled: person.disabled_at !== null };
}

export class Operators {
  state = $state.raw<{ kind: 'loading' | 'here' } | { kind: 'failed'; message: string }>({ kind: 'loading' });
  people = $state.raw<readonly Person[]>([]);
  /** The provider by whose word one comes in; null: only passwords count. */
  provider = $state<string | null>(null);
  readonly active = $derived(this.people.filter((one) => one.disabled_at === null));
  readonly shut = $derived(this.people.filter((one) => one.disabled_at !== null));

  constructor(private readonly api: Api) {}

  async load(): Promise<void> {
    try {
      const ways = this.api.ways().catch(() => null);
      this.people = await this.api.operators();
      this.provider = (await ways)?.oidc ?? null;
      this.state = { kind: 'here' };
    } catch (cause) {
      this.state = { kind: 'failed', message: messageOf(cause) };
    }
  }

  /** Takes somebody in, or changes them. Rejects with the collector's own sentence. */
  async save(fields: OperatorFields, person: Person | null): Promise<Person> {
    const saved = person
      ? await this.api.changeOperator(person.id, fields)
      : await this.api.addOperator(fields);
    const others = this.people.filter((one) => one.id !== saved.id);
    this.people = [...others, saved].sort((a, b) => a.login.localeCompare(b.login));
    return saved;
  }

  shutOut(person: Person, disabled: boolean): Promise<Person> {
    return this.save({ ...fieldsOf(person), disabled }, person);
  }

  /** Who has another account at the provider now. */
  forgetAccount(person: Person): Promise<Person> {
    return this.save({ ...fieldsOf(person), forget_identity: true }, person);
  }

  forgetSecondFactor(person: Person): Promise<Person> {
    return this.save({ ...fieldsOf(person), forget_second_factor: true }, person);
  }
}
