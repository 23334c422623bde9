/**
 * The one live socket to a collector, and everything subscribed over it.
 *
 * States: connecting → live → reconnecting → live …; `refused` is terminal until `retry()` is
 * called, because the same credentials will be refused again. After every reconnect each
 * subscription is sent again and starts with a fresh snapshot, so a subscriber never has to know
 * that the link was lost. A link that is open but silent is noticed by ping and closed.
 */
import { HostRefused, type Host, type LiveHandlers, type LiveSocket } from '../host';
import type { Refusal } from '../api/types';

export type ConnectionState =
  | { kind: 'connecting' }
  | { kind: 'live'; since: number }
  | { kind: 'reconnecting'; since: number; attempt: number; retryAt: number }
  /** `code`: in the API's words, or the shell's (`other_key`); may be empty. */
  | { kind: 'refused'; message: string; code: string };

export interface Handlers<Snapshot, Delta> {
  snapshot(data: Snapshot): void;
  delta(data: Delta): void;
  ended?(reason: string): void;
  error?(error: Refusal): void;
}

export interface Subscription {
  /** Sends a message about this subscription (`window`, `credit`) and merges `keep` into what a reconnect sends. */
  tell(type: string, body: Record<string, unknown>, keep?: Record<string, unknown>): void;
  close(): void;
}

interface Entry {
  id: number;
  request: Record<string, unknown>;
  handlers: Handlers<unknown, unknown>;
}

interface ServerMessage {
  type: string;
  id?: number | null;
  data?: unknown;
  reason?: string;
  error?: Refusal;
  server_epoch?: string;
}

/** Where in the collector one looks; it may be given up. */
export interface Place {
  /** As a request's query says it; empty for wherever one is at home. */
  readonly query: string;
  /** One is not let in there. True: another one was chosen, and is worth a try. */
  leave(): boolean;
}

const HOME: Place = { query: '', leave: () => false };
/** No role there, or no such place. */
const NOT_THERE = new Set(['forbidden', 'not_found']);

const FIRST_RETRY_MS = 300;
const LAST_RETRY_MS = 10_000;
const PING_EVERY_MS = 15_000;
const PONG_WITHIN_MS = 10_000;

/** Doubling with a cap, and a little spread so that many viewers do not come back at one instant. */
export function backOff(attempt: number, random: number): number {
  const base = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 10));
  return Math.round(base * (0.8 + 0.4 * random));
}

export class LiveConnection {
  state = $state.raw<ConnectionState>({ kind: 'connecting' });
  /** Changes when the collector was restored from a backup: row numbers known before are void. */
  serverEpoch = $state<string | null>(null);

  private socket: LiveSocket | null = null;
  private readonly entries = new Map<number, Entry>();
  private nextId = 1;
  private attempt = 0;
  private lostAt = 0;
  /** Raised by every (re)connect, so that a late event of an older socket is ignored. */
  private generation = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private pingTimer: ReturnType<typeof setInterval> | undefined;
  private pongTimer: ReturnType<typeof setTimeout> | undefined;
  private stopped = false;

  constructor(
    private readonly host: Host,
    readonly connection: string,
    private readonly place: Place = HOME,
  ) {}

  start(): void {
    window.addEventListener('online', this.wake);
    document.addEventListener('visibilitychange', this.wake);
    if (this.host.credentials?.there() === false) this.refuse('', 'unauthenticated');
    else void this.open();
  }

  stop(): void {
    this.stopped = true;
    window.removeEventListener('online', this.wake);
    document.removeEventListener('visibilitychange', this.wake);
    this.generation++;
    this.clearTimers();
    this.socket?.close();
    this.socket = null;
  }

  /** Tries at once, also after a refusal (new credentials, say). */
  retry(): void {
    if (this.state.kind === 'live' || this.state.kind === 'connecting') return;
    if (this.state.kind === 'refused') {
      this.attempt = 0;
      this.state = { kind: 'connecting' };
    }
    void this.open();
  }

  /** The place is another one: what is subscribed is told anew from there. */
  reopen(): void {
    if (this.state.kind === 'refused') return;
    this.clearTimers();
    this.socket?.close();
    this.socket = null;
    this.attempt = 0;
    this.state = { kind: 'connecting' };
    void this.open();
  }

  subscribe<Snapshot, Delta>(
    request: Record<string, unknown>,
    handlers: Handlers<Snapshot, Delta>,
  ): Subscription {
    const id = this.nextId++;
    const entry: Entry = { id, request, handlers: handlers as Handlers<unknown, unknown> };
    this.entries.set(id, entry);
    this.send({ type: 'subscribe', id, ...request });
    return {
      tell: (type, body, keep) => {
        if (!this.entries.has(id)) return;
        if (keep) entry.request = { ...entry.request, ...keep };
        this.send({ type, id, ...body });
      },
      close: () => {
        if (this.entries.delete(id)) this.send({ type: 'unsubscribe', id });
      },
    };
  }

  private readonly wake = (): void => {
    if (this.state.kind === 'reconnecting' && document.visibilityState === 'visible') this.retry();
  };

  private send(message: Record<string, unknown>): void {
    if (this.state.kind === 'live') this.socket?.send(JSON.stringify(message));
  }

  private async open(): Promise<void> {
    if (this.stopped) return;
    clearTimeout(this.retryTimer);
    const generation = ++this.generation;
    let socket: LiveSocket;
    try {
      const handlers: LiveHandlers = {
        message: (text) => {
          if (generation === this.generation) this.receive(text);
        },
        closed: (why) => {
          if (generation !== this.generation) return;
          if (why.reason === 'refused') this.refuse(why.message, '');
          else this.lost();
        },
      };
      socket = await this.host.live(this.connection, handlers, this.place.query);
    } catch (cause) {
      if (generation !== this.generation) return;
      // leaving opens it anew
      if (cause instanceof HostRefused && NOT_THERE.has(cause.code) && this.place.leave()) return;
      if (cause instanceof HostRefused) this.refuse(cause.message, cause.code);
      else this.lost();
      return;
    }
    if (generation !== this.generation) {
      socket.close();
      return;
    }
    this.socket = socket;
    this.attempt = 0;
    this.state = { kind: 'live', since: Date.now() };
    for (const entry of this.entries.values()) {
      this.send({ type: 'subscribe', id: entry.id, ...entry.request });
    }
    this.pingTimer = setInterval(() => this.ping(), PING_EVERY_MS);
  }

  private ping(): void {
    this.send({ type: 'ping', nonce: Date.now() });
    clearTimeout(this.pongTimer);
    this.pongTimer = setTimeout(() => {
      this.socket?.close();
      this.lost();
    }, PONG_WITHIN_MS);
  }

  private receive(text: string): void {
    clearTimeout(this.pongTimer);
    let message: ServerMessage;
    try {
      message = JSON.parse(text) as ServerMessage;
    } catch {
      return;
    }
    if (message.type === 'hello') {
      this.serverEpoch = message.server_epoch ?? null;
      return;
    }
    const entry = typeof message.id === 'number' ? this.entries.get(message.id) : undefined;
    if (!entry) return;
    switch (message.type) {
      case 'snapshot':
        entry.handlers.snapshot(message.data);
        break;
      case 'delta':
        entry.handlers.delta(message.data);
        break;
      case 'ended':
        this.entries.delete(entry.id);
        entry.handlers.ended?.(message.reason ?? '');
        break;
      case 'error':
        if (message.error) entry.handlers.error?.(message.error);
        break;
      default:
        // A newer collector may say more than this UI knows.
        break;
    }
  }

  private lost(): void {
    this.clearTimers();
    this.generation++;
    this.socket = null;
    if (this.stopped) return;
    const wait = backOff(this.attempt, Math.random());
    this.attempt++;
    if (this.state.kind !== 'reconnecting') this.lostAt = Date.now();
    this.state = {
      kind: 'reconnecting',
      since: this.lostAt,
      attempt: this.attempt,
      retryAt: Date.now() + wait,
    };
    this.retryTimer = setTimeout(() => void this.open(), wait);
  }

  private refuse(message: string, code: string): void {
    this.clearTimers();
    this.generation++;
    this.socket = null;
    this.state = { kind: 'refused', message, code };
  }

  private clearTimers(): void {
    clearTimeout(this.retryTimer);
    clearInterval(this.pingTimer);
    clearTimeout(this.pongTimer);
  }
}
