/**
 * The host inside the desktop shell: bytes go over Tauri's IPC, the shell dials the collector and
 * keeps every credential. This is the only file that imports `@tauri-apps/*`.
 */
import { Channel, invoke } from '@tauri-apps/api/core';
import { listen } from '@tauri-apps/api/event';
import {
  HostRefused,
  HostUnreachable,
  type About,
  type Connection,
  type Desktop,
  type DesktopPreferences,
  type Host,
  type HostRequest,
  type HostResponse,
  type LiveHandlers,
  type LiveSocket,
  type Login,
  type Looked,
  type Proposed,
} from './types';

interface ShellResponse {
  status: number;
  headers: Record<string, string>;
  body: string;
  base64: boolean;
}

/** How the shell says that a command failed: the same words as the API's errors. */
interface ShellError {
  code?: string;
  message?: string;
}

/** Stands before each message of an answer of `live_next`. */
const RECORD_SEPARATOR = '\x1e';
/**
 * Frames from one answer to the next question. While lines come one after the other, each frame costs a busy machine more than
 * the eye has of it; the first line after a pause is not kept waiting, because the question for it is there already.
 */
const FRAMES_BETWEEN = 2;
/** A hidden page has no frames. */
const HIDDEN_PAUSE_MS = 100;

/** Codes after which the same question will be refused again. */
const REFUSED = new Set([
  'unauthorized',
  'forbidden',
  'unknown_connection',
  'other_key',
  'login_refused',
  'code_needed',
  'proof_needed',
  'rate_exceeded',
  'bad_request',
]);

function failure(cause: unknown): Error {
  const shell = (typeof cause === 'object' && cause !== null ? cause : {}) as ShellError;
  const message = shell.message ?? String(cause);
  const code = shell.code ?? '';
  return REFUSED.has(code) ? new HostRefused(message, code) : new HostUnreachable(message, { cause });
}

/** A command whose failure is told as such. */
async function told<T>(command: string, args: Record<string, unknown>): Promise<T> {
  try {
    return await invoke<T>(command, args);
  } catch (cause) {
    throw failure(cause);
  }
}

function readable(answer: ShellResponse): HostResponse {
  return { status: answer.status, headers: answer.headers, body: answer.base64 ? '' : answer.body };
}

function nextFrame(): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      resolve();
    };
    const timer = setTimeout(done, HIDDEN_PAUSE_MS);
    const frame = requestAnimationFrame(done);
  });
}

function on<T>(event: string, call: (payload: T) => void): Promise<() => void> {
  return listen<T>(event, (received) => call(received.payload));
}

export class TauriHost implements Host {
  readonly kind = 'desktop';
  readonly desktop: Desktop = {
    remotes: {
      discover: () => told<Proposed[]>('remote_discover', {}),
      look: (address) => told<Looked>('remote_look', { address }),
      add: (address, name, login) => told<string>('remote_add', { address, name, login }),
      remove: (connection) => told('remote_remove', { connection }),
    },
    about: () => invoke<About>('about'),
    openFolder: (which) => invoke<void>('open_folder', { which }),
    preferences: () => invoke<DesktopPreferences>('preferences_get'),
    setPreferences: async (preferences) => {
      try {
        return await invoke<DesktopPreferences>('preferences_set', { preferences });
      } catch (cause) {
        // It is no collector's refusal: the shell's own words say all.
        throw new Error((cause as ShellError).message ?? String(cause), { cause });
      }
    },
    onPreferences: (changed) => on('preferences', changed),
    onConnections: (changed) => on('connections', changed),
    onNavigate: async (go) => {
      const off = await on('navigate', go);
      const pending = await invoke<string | null>('ready');
      if (pending) go(pending);
      return off;
    },
    onQuitting: (say) => on<{ sentence: string }>('quitting', (payload) => say(payload.sentence)),
  };

  connections(): Promise<Connection[]> {
    return invoke<Connection[]>('connections');
  }

  /** Of the answers that may be given up, the last. What a page before this one gave up has another number. */
  private numbered = crypto.getRandomValues(new Uint16Array(1))[0]! << 14;

  async request(connection: string, request: HostRequest): Promise<HostResponse> {
    const { signal } = request;
    signal?.throwIfAborted();
    const number = signal ? ++this.numbered : null;
    const answer = told<ShellResponse>('request', {
      connection,
      method: request.method,
      path: request.path,
      headers: request.headers ?? {},
      body: request.body ?? null,
      number,
    });
    if (!signal) return readable(await answer);
    const giveUp = (): void => void invoke('request_give_up', { number }).catch(() => undefined);
    signal.addEventListener('abort', giveUp, { once: true });
    try {
      const come = readable(await answer);
      signal.throwIfAborted();
      return come;
    } catch (cause) {
      signal.throwIfAborted();
      throw cause;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  enter(connection: string, login: Login): Promise<void> {
    return told('remote_enter', { connection, login });
  }

  async uploadChosen(
    connection: string,
    path: string,
    chosen: (name: string) => void,
  ): Promise<HostResponse | null> {
    const answer = await told<ShellResponse | null>('upload_chosen', {
      connection,
      path,
      chosen: new Channel<string>(chosen),
    });
    return answer && readable(answer);
  }

  async live(connection: string, handlers: LiveHandlers, place: string): Promise<LiveSocket> {
    const live = await told<number>('live_open', { connection, place });
    let closed = false;
    void this.receive(live, handlers, () => closed);
    return {
      // A send that fails means that the socket is gone; what is received says so.
      send: (text) => void invoke('live_send', { live, text }).catch(() => undefined),
      close: () => {
        closed = true;
        void invoke('live_close', { live }).catch(() => undefined);
      },
    };
  }

  /**
   * Fetches what has come. One answer holds all that was waiting, and each question costs the webview more than what it
   * brings: so there is a pause in between.
   */
  private async receive(live: number, handlers: LiveHandlers, closed: () => boolean): Promise<void> {
    const decoder = new TextDecoder();
    while (!closed()) {
      let answer: ArrayBuffer;
      try {
        answer = await invoke<ArrayBuffer>('live_next', { live });
      } catch (cause) {
        if (!closed()) handlers.closed({ reason: 'lost', message: failure(cause).message });
        return;
      }
      // Nothing stands before the first separator.
      for (const text of decoder.decode(answer).split(RECORD_SEPARATOR).slice(1)) {
        if (closed()) return;
        try {
          handlers.message(text);
        } catch (cause) {
          // One message that the page stumbles over is no reason to hear no more.
          reportError(cause);
        }
      }
      for (let frame = 0; frame < FRAMES_BETWEEN; frame++) await nextFrame();
    }
  }

  async download(connection: string, path: string, suggestedName: string): Promise<string | null> {
    const saved = await told<{ path: string | null }>('save_download', { connection, path, suggestedName });
    return saved.path;
  }
}
