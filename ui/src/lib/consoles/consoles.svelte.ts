/**
 * The consoles that this collector knows, and the codes that were given out for more.
 *
 * Both are asked for again and again while somebody looks: as often as the most curious of those who watch wants, never while
 * the page is hidden, and at once when it is shown again. What is known stays while the collector does not answer. Who may not
 * give out codes is not told of them.
 */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { Console, Invitation } from '../api/types';
import type { Me } from '../operators/me.svelte';

export type Asked = { kind: 'loading' } | { kind: 'here' } | { kind: 'failed'; message: string };

export class Consoles {
  /** How the last question went. */
  state = $state.raw<Asked>({ kind: 'loading' });
  /** False until they were told once: then `list` means something. */
  known = $state(false);
  list = $state.raw<readonly Console[]>([]);
  codes = $state.raw<readonly Invitation[]>([]);

  private readonly watchers = new Map<symbol, number>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking: Promise<void> | null = null;
  /** Raised by what is done here, so that an answer from before it is not believed. */
  private generation = 0;

  constructor(
    private readonly api: Api,
    private readonly me: Me,
  ) {}

  /** Asks now and then every `everyMs` until what is returned is called. */
  watch(everyMs: number): () => void {
    const key = Symbol('watcher');
    this.watchers.set(key, everyMs);
    if (this.watchers.size === 1) document.addEventListener('visibilitychange', this.shown);
    void this.load();
    return () => {
      this.watchers.delete(key);
      if (this.watchers.size > 0) return;
      document.removeEventListener('visibilitychange', this.shown);
      clearTimeout(this.timer);
    };
  }

  /** Asks now. Two questions at the same time are one. */
  load(): Promise<void> {
    this.asking ??= this.ask().finally(() => {
      this.asking = null;
      this.next();
    });
    return this.asking;
  }

  get(id: string): Console | undefined {
    return this.list.find((console) => console.id === id);
  }

  /** Shows a console as removed before the collector is asked again. */
  removed(id: string): void {
    this.generation++;
    this.list = this.list.map((console) =>
      console.id === id ? { ...console, standing: 'revoked', linked_since: null, health: null } : console,
    );
  }

  /** Shows a code that was just made before the collector is asked again. */
  made(code: Invitation): void {
    this.generation++;
    this.codes = [code, ...this.codes];
  }

  /** Shows a code as taken back before the collector is asked again. */
  tookBack(id: string): void {
    this.generation++;
    this.codes = this.codes.map((code) => (code.id === id ? { ...code, state: 'revoked' } : code));
  }

  private async ask(): Promise<void> {
    const { generation } = this;
    try {
      if (!this.me.known) await this.me.load();
      const codesToo = this.me.may('operator') ? this.api.invitations() : [];
      const [list, codes] = await Promise.all([this.api.consoles(), codesToo]);
      if (generation !== this.generation) return this.ask();
      this.list = list;
      this.codes = codes;
      this.known = true;
      this.state = { kind: 'here' };
    } catch (cause) {
      this.state = { kind: 'failed', message: messageOf(cause) };
    }
  }

  private next(): void {
    clearTimeout(this.timer);
    if (this.watchers.size === 0 || document.visibilityState === 'hidden') return;
    this.timer = setTimeout(() => void this.load(), Math.min(...this.watchers.values()));
  }

  private readonly shown = (): void => {
    if (document.visibilityState === 'visible') void this.load();
    else clearTimeout(this.timer);
  };
}
