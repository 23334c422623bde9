/** A collector's operators, sessions and tokens, as far as the screens about them need it. */
import type { Access, Me, OperatorFields, Person } from '../lib/api/types';
import { NOW, type Answer } from './fixtures';

export function aPerson(fields: Partial<Person> = {}): Person {
  return {
    id: 'p-ada',
    login: 'ada',
    name: 'Ada Lovelace',
    role: 'admin',
    everywhere: fields.role ?? 'admin',
    venues: {},
    second_factor: false,
    password: true,
    identity: null,
    created_at: NOW,
    disabled_at: null,
    ...fields,
  };
}

export function anAccess(fields: Partial<Access> = {}): Access {
  return {
    id: 's',
    kind: 'session',
    operator_id: 'p-ada',
    login: 'ada',
    name: 'Firefox on Linux',
    role: 'admin',
    created_at: NOW,
    seen_at: NOW,
    expires_at: NOW + 30 * 86_400e6,
    own: false,
    ...fields,
  };
}

export class FakeOperators {
  people = [
    aPerson(),
    aPerson({ id: 'p-bob', login: 'bob', name: 'Bob', role: 'viewer', second_factor: true }),
  ];
  me: Me = { kind: 'operator', role: 'admin', operator: this.people[0]! };
  accesses: Access[] = [];

  answer: Answer = ({ method, path, body }) => {
    const said = body === undefined ? null : (JSON.parse(body) as unknown);
    if (path === '/api/v1/me') return { body: this.me };
    if (path === '/api/v1/operators') {
      return method === 'GET'
        ? { body: { operators: this.people } }
        : { status: 201, body: this.save(said, null) };
    }
    const person = /^\/api\/v1\/operators\/(.+)$/.exec(path)?.[1];
    if (person) return { body: this.save(said, person) };
    if (path.startsWith('/api/v1/sessions') && method === 'GET') return { body: { sessions: this.accesses } };
    const access = /^\/api\/v1\/sessions\/(.+)$/.exec(path)?.[1];
    if (access) {
      this.accesses = this.accesses.filter(({ id }) => id !== access);
      return { status: 204, body: null };
    }
    if (path === '/api/v1/api-tokens') {
      const { name, role } = said as { name: string; role: Access['role'] };
      const given = anAccess({ id: 't', kind: 'token', name, role });
      this.accesses = [given, ...this.accesses];
      return { status: 201, body: { token: 'dpt_secret', access: given } };
    }
    return { status: 404, body: {} };
  };

  private save(said: unknown, id: string | null): Person {
    const { login, name, role, disabled, forget_second_factor } = said as OperatorFields;
    const before = this.people.find((one) => one.id === id);
    const saved = aPerson({
      ...before,
      id: id ?? `p-${login}`,
      login,
      name,
      role: role ?? 'viewer',
      everywhere: role ?? null,
      disabled_at: disabled ? NOW : null,
      second_factor: (before?.second_factor ?? false) && !forget_second_factor,
    });
    this.people = [...this.people.filter((one) => one.id !== saved.id), saved];
    return saved;
  }
}
