/**
 * Before what counts, the collector wants to see anew who sits there. Whatever asked for it waits for one dialog, and is then asked
 * again; whoever closes the dialog has done nothing.
 */
import type { Api } from '../api/client';
import { HostRefused, type Login } from '../host';
import { t } from '../shared/strings';

interface Waiting {
  proved: () => void;
  refused: (why: Error) => void;
}

export class Proving {
  open = $state(false);
  private waiting: Waiting[] = [];

  constructor(private readonly api: Api) {}

  /** Resolves once it was shown; rejects when somebody would rather not. */
  ask(): Promise<void> {
    return new Promise((proved, refused) => {
      this.waiting.push({ proved, refused });
      this.open = true;
    });
  }

  /** Rejects with what the collector says. */
  by(typed: Login): Promise<void> {
    const { password, code } = typed;
    return this.api.prove(code === undefined ? { password } : { password, code });
  }

  proved(): void {
    const waiting = this.take();
    this.open = false;
    for (const one of waiting) one.proved();
  }

  /** Closed, or gone with the screen. */
  dropped(): void {
    const waiting = this.take();
    this.open = false;
    for (const one of waiting) one.refused(new HostRefused(t.proof.dropped, 'proof_needed'));
  }

  private take(): Waiting[] {
    return this.waiting.splice(0);
  }
}
