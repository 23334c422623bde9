import { describe, expect, it, vi } from 'vitest';
import { HostRefused, HostUnreachable, type Login } from '../host';
import { Entering } from './entering.svelte';

function typed(refusals: Error[] = []) {
  const entering = new Entering('ada');
  entering.password = 'three blind mice';
  const logins: Login[] = [];
  const by = async (login: Login) => {
    logins.push(login);
    const refusal = refusals.shift();
    if (refusal) throw refusal;
  };
  return { entering, logins, by };
}

describe('logging in', () => {
  it('asks for nothing before name and password are there', async () => {
    const entering = new Entering();
    expect(entering.complete).toBe(false);
    const by = vi.fn();
    expect(await entering.enter(by)).toBe(false);
    expect(by).not.toHaveBeenCalled();
  });

  it('keeps nothing of what was typed once it was good', async () => {
    const { entering, logins, by } = typed();
    expect(await entering.enter(by)).toBe(true);
    expect(logins).toEqual([{ login: 'ada', password: 'three blind mice' }]);
    expect([entering.password, entering.code, entering.state.kind]).toEqual(['', '', 'asking']);
  });

  it('says what was wrong, as a sentence', async () => {
    const { entering, by } = typed([new HostRefused('the password is wrong', 'login_refused')]);
    expect(await entering.enter(by)).toBe(false);
    expect(entering.state).toEqual({ kind: 'failed', message: 'The password is wrong.' });
    expect(entering.password).not.toBe('');
  });

  it('asks for the second factor only when the collector does, and six digits once', async () => {
    const { entering, logins, by } = typed([
      new HostRefused('the six digits are needed', 'code_needed'),
      new HostRefused('the six digits are wrong', 'login_refused'),
    ]);
    await entering.enter(by);
    expect(entering.codeNeeded).toBe(true);
    expect(entering.complete).toBe(false);
    entering.code = '123 456';
    expect(entering.complete).toBe(true);
    await entering.enter(by);
    expect(logins[1]?.code).toBe('123456');
    expect(entering.state.kind).toBe('failed');
    expect(entering.code).toBe('');
    entering.code = '654321';
    expect(await entering.enter(by)).toBe(true);
  });

  it('another name has no second factor that is known of', async () => {
    const { entering, by } = typed([new HostRefused('needed', 'code_needed')]);
    await entering.enter(by);
    entering.someoneElse();
    expect(entering.codeNeeded).toBe(false);
  });

  it('waits as long as it was told', async () => {
    vi.useFakeTimers();
    const { entering, logins, by } = typed([new HostRefused('too many logins failed', 'rate_exceeded', 15)]);
    await entering.enter(by);
    expect(entering.isLocked(Date.now())).toBe(true);
    expect(await entering.enter(by)).toBe(false);
    expect(logins).toHaveLength(1);
    vi.advanceTimersByTime(15_000);
    expect(await entering.enter(by)).toBe(true);
    vi.useRealTimers();
  });

  it('says when nobody answers', async () => {
    const { entering, by } = typed([new HostUnreachable('the collector did not answer')]);
    await entering.enter(by);
    expect(entering.state).toEqual({ kind: 'failed', message: 'The collector did not answer.' });
  });
});
