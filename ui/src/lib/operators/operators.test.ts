import { describe, expect, it } from 'vitest';
import { aPerson, anAccess, FakeOperators } from '../../test/operators';
import { FakeHost } from '../../test/fixtures';
import { Api } from '../api/client';
import { Me } from './me.svelte';
import { fieldsOf, Operators } from './operators.svelte';
import { generated, unfit } from './password';
import { atLeast, upTo } from './roles';
import { Sessions } from './sessions.svelte';

describe('roles', () => {
  it('each may what those before it may', () => {
    expect(atLeast('admin', 'operator')).toBe(true);
    expect(atLeast('operator', 'operator')).toBe(true);
    expect(atLeast('viewer', 'operator')).toBe(false);
    expect(upTo('operator')).toEqual(['viewer', 'operator']);
  });

  it('of a newer collector may least', () => expect(atLeast('referee' as 'viewer', 'operator')).toBe(false));
});

describe('passwords', () => {
  it('that are made fit, and differ', () => {
    const made = Array.from({ length: 50 }, () => generated('a'));
    expect(new Set(made).size).toBe(50);
    for (const one of made) {
      expect(one).toMatch(/^([2-9a-km-z]{4}-){3}[2-9a-km-z]{4}$/);
      expect(unfit(one, 'a')).toBeNull();
    }
  });

  it.each([
    ['short', 'ada', 'short'],
    ['Ada is great 1', 'ada', 'login'],
    ['aaaaaaaaaaaa', 'ada', 'plain'],
    ['three blind mice', 'ada', null],
    ['three blind mice', '', null],
  ])('%s for %s', (password, login, why) => expect(unfit(password, login)).toBe(why));
});

describe('who the operator is', () => {
  it('is not held against them before it is known', async () => {
    const fake = new FakeOperators();
    const me = new Me(new Api(new FakeHost(fake.answer), 'here'));
    expect(me.may('admin')).toBe(true);
    fake.me = { kind: 'operator', role: 'viewer', operator: aPerson({ role: 'viewer' }) };
    await me.load();
    expect([me.may('viewer'), me.may('operator')]).toEqual([true, false]);
    expect(me.operator?.login).toBe('ada');
  });
});

describe('operators', () => {
  const held = async () => {
    const fake = new FakeOperators();
    const operators = new Operators(new Api(new FakeHost(fake.answer), 'here'));
    await operators.load();
    return { fake, operators };
  };

  it('are taken in and changed, in the order of their logins', async () => {
    const { operators } = await held();
    await operators.save(
      { login: 'aaron', name: 'Aaron', role: 'viewer', password: 'three blind mice' },
      null,
    );
    expect(operators.people.map(({ login }) => login)).toEqual(['aaron', 'ada', 'bob']);
    await operators.shutOut(operators.people[0]!, true);
    expect(operators.shut.map(({ login }) => login)).toEqual(['aaron']);
  });

  it('who are shut out stay so when something else of them is changed', () => {
    expect(fieldsOf(aPerson({ disabled_at: 1 }))).toEqual({
      login: 'ada',
      name: 'Ada Lovelace',
      role: 'admin',
      venues: {},
      disabled: true,
    });
    // Somebody of one venue stays of one venue.
    const local = aPerson({ everywhere: null, venues: { v: 'operator' } });
    expect(fieldsOf(local)).toMatchObject({ role: undefined, venues: { v: 'operator' } });
  });
});

describe('sessions and tokens', () => {
  it('are told apart, and gone when they were ended', async () => {
    const fake = new FakeOperators();
    fake.accesses = [anAccess(), anAccess({ id: 't', kind: 'token', name: 'report' })];
    const sessions = new Sessions(new Api(new FakeHost(fake.answer), 'here'));
    await sessions.load(false);
    expect(sessions.sessions.map(({ id }) => id)).toEqual(['s']);
    await sessions.end(sessions.tokens[0]!);
    expect(sessions.tokens).toEqual([]);
    expect(fake.accesses.map(({ id }) => id)).toEqual(['s']);
  });
});
