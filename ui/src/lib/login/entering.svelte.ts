/**
 * One attempt after the other to be let in: name and password first, the second factor only where it is asked for.
 *
 * What was typed stays until it was good. Who guessed too often is told for how long to wait, and the wait is counted down.
 */
import { HostRefused, type Login } from '../host';
import { sentence } from '../shared/format';

export type EnteringState =
  | { kind: 'asking' }
  | { kind: 'busy' }
  | { kind: 'failed'; message: string }
  /** `until`: by this machine's clock, in milliseconds. */
  | { kind: 'locked'; message: string; until: number };

export class Entering {
  state = $state.raw<EnteringState>({ kind: 'asking' });
  login = $state('');
  password = $state('');
  code = $state('');
  /** The collector knows this operator by a second factor as well. */
  codeNeeded = $state(false);
  readonly complete = $derived(
    this.login.trim() !== '' && this.password !== '' && (!this.codeNeeded || /^\d{6}$/.test(this.digits)),
  );

  constructor(login = '') {
    this.login = login;
  }

  /** True when it was let in: then nothing of what was typed is kept. */
  async enter(by: (login: Login) => Promise<void>): Promise<boolean> {
    if (!this.complete || this.state.kind === 'busy' || this.isLocked(Date.now())) return false;
    this.state = { kind: 'busy' };
    const typed = { login: this.login.trim(), password: this.password };
    try {
      await by(this.codeNeeded ? { ...typed, code: this.digits } : typed);
    } catch (cause) {
      this.refused(cause);
      return false;
    }
    this.password = '';
    this.code = '';
    this.codeNeeded = false;
    this.state = { kind: 'asking' };
    return true;
  }

  isLocked(nowMs: number): boolean {
    return this.state.kind === 'locked' && nowMs < this.state.until;
  }

  /** Another name: whether that one has a second factor is not known. */
  someoneElse(): void {
    this.codeNeeded = false;
    this.code = '';
    this.state = { kind: 'asking' };
  }

  private get digits(): string {
    return this.code.replaceAll(/\s/g, '');
  }

  private refused(cause: unknown): void {
    const message = sentence(cause instanceof Error ? cause.message : String(cause));
    if (!(cause instanceof HostRefused)) this.state = { kind: 'failed', message };
    else if (cause.code === 'code_needed' && !this.codeNeeded) {
      this.codeNeeded = true;
      this.state = { kind: 'asking' };
    } else if (cause.waitS !== null) {
      this.state = { kind: 'locked', message, until: Date.now() + cause.waitS * 1000 };
    } else {
      // six digits are good once
      this.code = '';
      this.state = { kind: 'failed', message };
    }
  }
}
