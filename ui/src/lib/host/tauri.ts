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
} from './types';

/** What the shell sends on a live channel: the socket's messages, then exactly one `closed`. */
type LiveMessage =
  { type: 'text'; text: string } | { type: 'binary'; base64: string } | { type: 'closed'; reason: string };

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

/** The shell stops reading the socket at 512 unacknowledged messages; this stays well below. */
const ACK_EVERY = 32;

/** Codes after which the same credentials will be refused again. */
const REFUSED = new Set(['unauthorized', 'forbidden', 'unknown_connection']);

function failure(cause: unknown): Error {
  const shell = (typeof cause === 'object' && cause !== null ? cause : {}) as ShellError;
  const message = shell.message ?? String(cause);
  return REFUSED.has(shell.code ?? '') ? new HostRefused(message) : new HostUnreachable(message, { cause });
}

function on<T>(event: string, call: (payload: T) => void): Promise<() => void> {
  return listen<T>(event, (received) => call(received.payload));
}

export class TauriHost implements Host {
  readonly kind = 'desktop';
  readonly desktop: Desktop = {
    about: () => invoke<About>('about'),
    openFolder: (which) => invoke<void>('open_folder', { which }),
    preferences: () => invoke<DesktopPreferences>('preferences_get'),
    setPreferences: (preferences) => invoke<DesktopPreferences>('preferences_set', { preferences }),
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

  async request(connection: string, request: HostRequest): Promise<HostResponse> {
    let answer: ShellResponse;
    try {
      answer = await invoke<ShellResponse>('request', {
        connection,
        method: request.method,
        path: request.path,
        headers: request.headers ?? {},
        body: request.body ?? null,
      });
    } catch (cause) {
      throw failure(cause);
    }
    return { status: answer.status, headers: answer.headers, body: answer.base64 ? '' : answer.body };
  }

  async live(connection: string, handlers: LiveHandlers): Promise<LiveSocket> {
    const channel = new Channel<LiveMessage>();
    let live: number | null = null;
    let handled = 0;
    channel.onmessage = (message) => {
      if (message.type === 'closed') {
        handlers.closed({ reason: 'lost', message: message.reason });
        return;
      }
      if (message.type === 'text') handlers.message(message.text);
      handled++;
      if (live !== null && handled >= ACK_EVERY) {
        void invoke('live_ack', { live, count: handled }).catch(() => undefined);
        handled = 0;
      }
    };
    try {
      live = await invoke<number>('live_open', { connection, channel });
    } catch (cause) {
      throw failure(cause);
    }
    const opened = live;
    return {
      // A send that fails means that the socket is gone; its `closed` message says so.
      send: (text) => void invoke('live_send', { live: opened, text }).catch(() => undefined),
      close: () => void invoke('live_close', { live: opened }).catch(() => undefined),
    };
  }

  async download(connection: string, path: string, suggestedName: string): Promise<string | null> {
    try {
      const saved = await invoke<{ path: string | null }>('save_download', {
        connection,
        path,
        suggestedName,
      });
      return saved.path;
    } catch (cause) {
      throw failure(cause);
    }
  }
}
