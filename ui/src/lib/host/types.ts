/**
 * The seam between the UI and whatever carries its bytes to a collector.
 *
 * Two implementations exist: `tauri.ts` (the desktop shell dials and holds the credentials) and
 * `browser.ts` (fetch and WebSocket with a token that was logged in for, or came in the URL's fragment). Nothing else in the UI
 * knows which one it runs on, and no other file imports `@tauri-apps/*`.
 */

export interface Connection {
  id: string;
  name: string;
  kind: 'local' | 'remote';
  /** `ready` when the other side can be dialled; the shell's own words when it cannot. */
  state: 'starting' | 'ready' | 'waiting' | 'stopped' | (string & {});
  sentence: string | null;
  /** Of a collector elsewhere that the shell dials: its address, with the pin. */
  listen?: string | null;
  /** As whom the operator logs in there. */
  login?: string | null;
}

/** What is typed to log in. */
export interface Login {
  login: string;
  password: string;
  /** The six digits of the authenticator app, where they were asked for. */
  code?: string;
}

/** What answers at an address, to be compared with what its own screen shows. */
export interface Looked {
  /** With the pin. */
  address: string;
  /** The pin, shortened. */
  short: string;
}

/** Collectors elsewhere that this app is connected to. Each rejects with `HostRefused` and its code, or with `HostUnreachable`. */
export interface Remotes {
  /** Looks for a few seconds for collectors that make themselves known on the network. */
  discover(): Promise<Proposed[]>;
  look(address: string): Promise<Looked>;
  /** Resolves to the connection's id. An empty name: as the collector calls itself. */
  add(address: string, name: string, login: Login): Promise<string>;
  remove(connection: string): Promise<void>;
}

/** Where the page itself holds what it is let in with. */
export interface Credentials {
  /** False: asking would be in vain. */
  there(): boolean;
  use(token: string): void;
  forget(): void;
}

export interface HostRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Path with query, starting with `/api/`. */
  path: string;
  headers?: Record<string, string>;
  body?: string;
  /** Aborted when nobody waits for the answer any more: the promise rejects with its reason, and the collector need not go on. */
  signal?: AbortSignal | undefined;
}

export interface HostResponse {
  status: number;
  headers: Record<string, string>;
  body: string;
}

export interface Closed {
  /** `refused` means trying again with the same credentials cannot help. */
  reason: 'lost' | 'refused' | 'closed';
  message: string;
}

/** One open live socket. Handlers are set before the first message can arrive. */
export interface LiveSocket {
  send(text: string): void;
  close(): void;
}

export interface LiveHandlers {
  message(text: string): void;
  closed(why: Closed): void;
}

/** What the operator may set in the desktop app; unknown keys are kept as they came. */
export interface DesktopPreferences {
  notify_failure: boolean;
  notify_silence: boolean;
  notify_finish: boolean;
  paused_until_at: number | null;
  autostart: boolean;
  /** The collector in the app listens on the network, not only on this computer. */
  listen_on_network: boolean;
  /** With that, at this address of the computer's. */
  listen_address: string;
  listen_port: number;
}

/** A collector that makes itself known on the network. All of it is its own word: the key is still to be compared. */
export interface Proposed {
  name: string;
  machine: string;
  /** With the pin that it announced. */
  address: string;
  pin: string;
  /** The pin, shortened, to be compared with what its own screen shows. */
  short: string;
  /** The connection to it, if there is one already. */
  connection: string | null;
}

export interface About {
  version: string;
  data_dir: string;
  log_dir: string;
  autostart_available: boolean;
  /** Where the app was told to listen when it was started, whatever the preferences say. */
  told_to_listen: string | null;
  /** What holds the operator's logins at other collectors. */
  logins: { kind: 'keyring' | 'file'; sentence: string };
}

/** What only an installed app can do. */
export interface Desktop {
  readonly remotes: Remotes;
  about(): Promise<About>;
  openFolder(which: 'data' | 'logs'): Promise<void>;
  preferences(): Promise<DesktopPreferences>;
  /** Rejects with the shell's reason, and then nothing was changed. */
  setPreferences(change: Partial<DesktopPreferences>): Promise<DesktopPreferences>;
  onPreferences(changed: (preferences: DesktopPreferences) => void): Promise<() => void>;
  onConnections(changed: (connections: Connection[]) => void): Promise<() => void>;
  /**
   * Calls back with a route such as `/deployments/ID?seq=7` when a notification, the tray or a link
   * asks for it; also with the one that started the app.
   */
  onNavigate(go: (path: string) => void): Promise<() => void>;
  onQuitting(say: (sentence: string) => void): Promise<() => void>;
}

/** Logging in by the word of a provider, where the page itself can be sent there and back. */
export interface ProviderLogin {
  /** What the provider is called; null where only passwords count. */
  name(): Promise<string | null>;
  /** Leaves this page for the provider's; `anew`: it asks who it is, also whom it knows already. Rejects like `Host.enter`. */
  go(anew?: boolean): Promise<void>;
  /** Takes up what came of it when the page was just sent back, and rejects like `Host.enter`; false when it was not. */
  back(): Promise<boolean>;
}

export interface Host {
  readonly kind: 'desktop' | 'browser';
  connections(): Promise<Connection[]>;
  request(connection: string, request: HostRequest): Promise<HostResponse>;
  /**
   * Rejects with `HostRefused` when the collector does not accept the credentials. `place`: where in the collector, as a request's
   * query says it (`venue=ID`); empty for wherever one is at home.
   */
  live(connection: string, handlers: LiveHandlers, place: string): Promise<LiveSocket>;
  /** Saves what `path` answers as a file; resolves to where it went, or null when the operator backed out. */
  download(connection: string, path: string, suggestedName: string): Promise<string | null>;
  /** Posts a file as it is; there where the page itself can be given one. May take minutes. */
  upload?(connection: string, path: string, file: Blob): Promise<HostResponse>;
  /**
   * Has the operator choose a file, says its name, and posts it without the page ever holding it; there where `upload` is not.
   * Resolves to null when they chose none.
   */
  uploadChosen?(
    connection: string,
    path: string,
    chosen: (name: string) => void,
  ): Promise<HostResponse | null>;
  /** Opens a web address (http or https) outside this page; not there where the host cannot. */
  openAddress?(address: string): Promise<void>;
  /** Logs in. Rejects with `HostRefused` and the collector's code, or with `HostUnreachable`. */
  enter(connection: string, login: Login): Promise<void>;
  readonly credentials?: Credentials;
  readonly provider?: ProviderLogin;
  desktop?: Desktop;
}

/** The collector does not accept the credentials: asking again with the same ones cannot help. */
export class HostRefused extends Error {
  override name = 'HostRefused';
  constructor(
    message: string,
    /** In the API's words, where there is one. */
    readonly code = '',
    /** Seconds after which it is looked at again, where that was said. */
    readonly waitS: number | null = null,
  ) {
    super(message);
  }
}

/** The bytes did not get there or back: trying again may help. */
export class HostUnreachable extends Error {
  override name = 'HostUnreachable';
}
