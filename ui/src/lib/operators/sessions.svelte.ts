/** Sessions and programs' tokens that are open: one's own, or everybody's. */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { Access } from '../api/types';

export class Sessions {
  state = $state.raw<{ kind: 'loading' | 'here' } | { kind: 'failed'; message: string }>({ kind: 'loading' });
  private list = $state.raw<readonly Access[]>([]);
  readonly sessions = $derived(this.list.filter((one) => one.kind === 'session'));
  readonly tokens = $derived(this.list.filter((one) => one.kind === 'token'));
  /** Raised by each question, so that a late answer to an older one is not believed. */
  private generation = 0;

  constructor(private readonly api: Api) {}

  async load(all: boolean): Promise<void> {
    const generation = ++this.generation;
    try {
      const list = await this.api.sessions(all);
      if (generation !== this.generation) return;
      this.list = list;
      this.state = { kind: 'here' };
    } catch (cause) {
      if (generation === this.generation) this.state = { kind: 'failed', message: messageOf(cause) };
    }
  }

  /** Rejects when it is still open. */
  async end(access: Access): Promise<void> {
    await this.api.endSession(access.id);
    this.list = this.list.filter((one) => one.id !== access.id);
  }

  given(access: Access): void {
    this.list = [access, ...this.list];
  }
}
