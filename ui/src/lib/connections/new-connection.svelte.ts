/**
 * Adding a collector elsewhere: what was pasted, the key that answers, a comparison by eye, a login.
 *
 * Nothing but a greeting goes to the other side before somebody said that the key is the right one; where the pasted text names
 * another key than answers, there is no way on.
 */
import { HostRefused, type Login, type Looked, type Remotes } from '../host';
import { sentence } from '../shared/format';
import { t } from '../shared/strings';
import { authorityOf, pasted, pinOf, pinShort } from './address';

export type Step =
  | { kind: 'address'; failed: string | null }
  | { kind: 'looking' }
  /** `promised`: the pasted text names this very key. */
  | { kind: 'comparing'; looked: Looked; promised: boolean }
  | { kind: 'mismatch'; authority: string; promised: string; found: string }
  | { kind: 'entering'; looked: Looked };

export class NewConnection {
  step = $state.raw<Step>({ kind: 'address', failed: null });
  text = $state('');
  /** What it is called here; empty: as it calls itself. */
  name = $state('');

  constructor(
    private readonly remotes: Remotes,
    /** The name of a connection that is there already. */
    private readonly known: (authority: string) => string | undefined,
  ) {}

  begin(text = ''): void {
    this.text = text;
    this.name = '';
    this.step = { kind: 'address', failed: null };
  }

  async look(): Promise<void> {
    if (this.step.kind === 'looking') return;
    const wanted = pasted(this.text);
    if (wanted === null) return this.fail(t.connections.addressWrong);
    const there = this.known(authorityOf(wanted.address));
    if (there !== undefined) return this.fail(t.connections.have(there));
    this.step = { kind: 'looking' };
    let looked: Looked;
    try {
      looked = await this.remotes.look(wanted.address);
    } catch (cause) {
      return this.fail(reason(cause));
    }
    // the port may have been left out
    const now = this.known(authorityOf(looked.address));
    if (now !== undefined) return this.fail(t.connections.have(now));
    const found = pinOf(looked.address);
    if (wanted.pin === null || wanted.pin === found) {
      this.step = { kind: 'comparing', looked, promised: wanted.pin !== null };
    } else {
      const authority = authorityOf(looked.address);
      this.step = { kind: 'mismatch', authority, promised: pinShort(wanted.pin), found: looked.short };
    }
  }

  /** Somebody compared the codes. */
  same(): void {
    if (this.step.kind === 'comparing') this.step = { kind: 'entering', looked: this.step.looked };
  }

  /** Somebody compared them, and they are not. */
  differ(): void {
    if (this.step.kind === 'comparing') this.fail(t.connections.differed);
  }

  /** Resolves to the new connection's id. */
  async add(login: Login): Promise<string> {
    if (this.step.kind !== 'entering') throw new Error('the key was not compared');
    return this.remotes.add(this.step.looked.address, this.name.trim(), login);
  }

  back(): void {
    this.step = { kind: 'address', failed: null };
  }

  private fail(failed: string): void {
    this.step = { kind: 'address', failed };
  }
}

function reason(cause: unknown): string {
  const message = sentence(cause instanceof Error ? cause.message : String(cause));
  return cause instanceof HostRefused ? message : `${t.connections.lookFailed}: ${message}`;
}
