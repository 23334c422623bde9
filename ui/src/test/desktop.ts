/** A host like the installed app's: several connections, and a shell that answers for them. */
import type { Connection, Desktop, HostRequest, HostResponse, Login, Looked } from '../lib/host';
import { FakeHost, type Answer } from './fixtures';

export const PIN_HERE = 'sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';
export const PIN_OTHER = 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=';

export function aConnection(fields: Partial<Connection> = {}): Connection {
  return {
    id: 'local',
    name: 'This computer',
    kind: 'local',
    state: 'ready',
    sentence: null,
    listen: 'https://127.0.0.1:7443',
    login: null,
    ...fields,
  };
}

export function aRemote(id: string, fields: Partial<Connection> = {}): Connection {
  return aConnection({
    id,
    name: `Hall ${id}`,
    kind: 'remote',
    listen: `https://${id}.example:7443#${PIN_HERE}`,
    login: 'ada',
    ...fields,
  });
}

const nothing = () => Promise.resolve(() => undefined);

/** Sockets are opened in the order of the connections. */
export class FakeDesktop extends FakeHost {
  override readonly kind = 'desktop';
  /** What the shell finds at an address. */
  looked: Looked | Error = { address: `https://hq.example:7443#${PIN_HERE}`, short: 'WERC-8GMR-ZGE1' };
  added: { address: string; name: string; login: Login }[] = [];
  removed: string[] = [];
  asked: { connection: string; path: string }[] = [];
  tell: (connections: Connection[]) => void = () => undefined;
  go: (path: string) => void = () => undefined;
  refused = new Map<string, Error>();

  readonly desktop: Desktop = {
    remotes: {
      discover: async () => [],
      look: async () => {
        if (this.looked instanceof Error) throw this.looked;
        return this.looked;
      },
      add: async (address, name, login) => {
        const refusal = this.refusals.shift();
        if (refusal) throw refusal;
        this.added.push({ address, name, login });
        this.described = [...this.described, aRemote('added', { name: name || 'Headquarters' })];
        this.tell(this.described);
        return 'added';
      },
      remove: async (connection) => {
        this.removed.push(connection);
        this.described = this.described.filter((one) => one.id !== connection);
        this.tell(this.described);
      },
    },
    about: () => Promise.reject(new Error('not asked')),
    openFolder: () => Promise.resolve(),
    preferences: () => Promise.reject(new Error('not asked')),
    setPreferences: () => Promise.reject(new Error('not asked')),
    onPreferences: nothing,
    onConnections: (tell) => {
      this.tell = tell;
      return nothing();
    },
    onNavigate: (go) => {
      this.go = go;
      return nothing();
    },
    onQuitting: nothing,
  };

  constructor(
    public described: Connection[],
    answer?: Answer,
  ) {
    super(answer);
  }

  override async connections(): Promise<Connection[]> {
    return this.described;
  }

  override async request(connection: string, request: HostRequest): Promise<HostResponse> {
    this.asked.push({ connection, path: request.path });
    return super.request(connection, request);
  }

  override async live(connection: string, handlers: Parameters<FakeHost['live']>[1], place = '') {
    const refusal = this.refused.get(connection);
    if (refusal) throw refusal;
    return super.live(connection, handlers, place);
  }
}
