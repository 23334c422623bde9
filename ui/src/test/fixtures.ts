/** Builders and a headless host for unit tests. Browser tests run against the real collector. */
import type { DeploymentSummary, Phase, Row, SearchHit } from '../lib/api/types';
import type {
  Connection,
  Host,
  HostRequest,
  HostResponse,
  LiveHandlers,
  LiveSocket,
  Login,
} from '../lib/host';

export const NOW = 1_763_900_000_000_000;

export function phase(fields: Partial<Phase> = {}): Phase {
  return {
    index: 0,
    name: 'Install packages',
    state: 'running',
    first_row: 0,
    last_row: null,
    first_seq: 1,
    started_at: NOW - 60e6,
    finished_at: null,
    rows: 10,
    warnings: 0,
    errors: 0,
    usual_us: null,
    progress: null,
    step: null,
    ...fields,
  };
}

export function summary(fields: Partial<DeploymentSummary> = {}): DeploymentSummary {
  return {
    id: '0193bbbb-0000-7000-8000-000000000001',
    console_id: '0193bbbb-0000-7000-8000-0000000000c1',
    name: 'Bay 1',
    template: 'Autumn Cup',
    command: 'bash install.sh',
    state: 'running',
    outcome: null,
    presence: { kind: 'live', since_at: NOW - 60e6, waiting_records: null },
    started_at: NOW - 60e6,
    finished_at: null,
    updated_at: NOW,
    phases: [],
    current_phase: null,
    progress: null,
    eta: null,
    last_line: null,
    rows: 0,
    bytes: 0,
    warnings: 0,
    errors: 0,
    acked_seq: 0,
    gaps: 0,
    missing_bytes: 0,
    failure: null,
    hardware: null,
    quarantined: null,
    masked: {},
    masked_at_ingest: 0,
    ...fields,
  };
}

export function row(number: number, fields: Partial<Row> = {}): Row {
  return {
    row: number,
    seq: number + 1,
    at: NOW + number * 1000,
    boot_us: number * 1000,
    kind: 'line',
    level: 'info',
    phase: null,
    step: null,
    text: `line ${number}`,
    spans: [],
    truncated: false,
    open: false,
    bytes: 10,
    ...fields,
  };
}

export function hit(run: string, number: number, fields: Partial<SearchHit> = {}): SearchHit {
  return {
    deployment_id: run,
    console_id: `console of ${run}`,
    console_name: `Bay ${run}`,
    template: 'Autumn Cup',
    state: 'succeeded',
    row: row(number),
    phase_name: null,
    ranges: [[0, 4]],
    ...fields,
  };
}

export type Answer = (request: HostRequest) => { status?: number; body: unknown };

/** A host whose requests are answered by a function and whose sockets the test drives. */
export class FakeHost implements Host {
  readonly kind: Host['kind'] = 'browser';
  requests: HostRequest[] = [];
  sockets: { sent: Record<string, unknown>[]; handlers: LiveHandlers; closed: boolean; place: string }[] = [];
  refuse: Error | null = null;

  constructor(public answer: Answer = () => ({ status: 404, body: {} })) {}

  async connections(): Promise<Connection[]> {
    return [{ id: 'here', name: 'test', kind: 'remote', state: 'ready', sentence: null }];
  }

  async request(_connection: string, request: HostRequest): Promise<HostResponse> {
    this.requests.push(request);
    const { status = 200, body } = this.answer(request);
    // an answer takes a while, and may be given up meanwhile
    await Promise.resolve();
    request.signal?.throwIfAborted();
    return { status, headers: {}, body: JSON.stringify(body) };
  }

  /** What logging in says no with, the next first. */
  refusals: Error[] = [];
  logins: Login[] = [];

  async enter(_connection: string, login: Login): Promise<void> {
    this.logins.push(login);
    const refusal = this.refusals.shift();
    if (refusal) throw refusal;
  }

  async live(_connection: string, handlers: LiveHandlers, place = ''): Promise<LiveSocket> {
    if (this.refuse) throw this.refuse;
    const socket = { sent: [] as Record<string, unknown>[], handlers, closed: false, place };
    this.sockets.push(socket);
    return {
      send: (text) => void socket.sent.push(JSON.parse(text) as Record<string, unknown>),
      close: () => (socket.closed = true),
    };
  }

  async download(): Promise<string | null> {
    return null;
  }

  get socket() {
    const last = this.sockets.at(-1);
    if (!last) throw new Error('no socket was opened');
    return last;
  }

  say(message: Record<string, unknown>): void {
    this.socket.handlers.message(JSON.stringify(message));
  }

  /** The id of the newest subscription to a topic. */
  idOf(topic: string): number {
    const found = this.socket.sent.findLast((m) => m['type'] === 'subscribe' && m['topic'] === topic);
    if (!found) throw new Error(`nothing subscribed to ${topic}`);
    return found['id'] as number;
  }
}
