/**
 * The one typed door to a collector's REST API, over the host seam.
 *
 * Failure modes: `ApiError` when the collector answered with an error (branch on `code`),
 * `HostUnreachable` / `HostRefused` when there was no usable answer.
 */
import { HostRefused, type Host, type HostRequest, type HostResponse } from '../host';
import { refusal } from '../host/refusal';
import type {
  Access,
  AuditPage,
  AuditVerified,
  Comparison,
  Confirmation,
  Console,
  Consoles,
  DeploymentDetail,
  DeploymentList,
  Found,
  FoundMatches,
  GivenToken,
  Imported,
  Info,
  Invitation,
  Invitations,
  Invite,
  Located,
  Marks,
  Me,
  NewInvitation,
  NewToken,
  OrderAnswer,
  Ordered,
  OrderWord,
  OperatorFields,
  Organisation,
  Organisations,
  ParsedQuery,
  People,
  Person,
  Query,
  Refusal,
  Retention,
  RetentionPolicy,
  RetentionPreview,
  RowsPage,
  SavedSearch,
  SavedSearches,
  SavedSearchFields,
  SearchPage,
  SecondFactor,
  Sessions,
  Signature,
  SignatureList,
  Templates,
  Venue,
  Venues,
  Ways,
} from './types';

export type ExportFormat = 'text' | 'jsonl' | 'raw' | 'html';
/** Row numbers, half open. */
export interface RowRange {
  from: number;
  to: number;
}

const IMPORT = '/api/v1/import';

export class ApiError extends Error {
  override name = 'ApiError';
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly retryable: boolean,
  ) {
    super(message);
  }
}

type QueryValue = string | number | boolean | null | undefined;

/** Appends only what is set, so that absent and empty mean the same to the collector. */
export function withQuery(path: string, query: Record<string, QueryValue>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === '' || value === false) continue;
    search.set(key, String(value));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

/** The path, meant in a place: `venue=ID`. */
function placed(path: string, place: string): string {
  return place === '' ? path : `${path}${path.includes('?') ? '&' : '?'}${place}`;
}

/** Has whoever sits there show that it is they; rejects when they would rather not. */
export interface Prover {
  ask(): Promise<void>;
}

export class Api {
  constructor(
    readonly host: Host,
    readonly connection: string,
    /** Where in the collector everything is seen and done: each request says it. */
    private readonly place: { readonly query: string } = { query: '' },
    /** Asked when the collector wants a fresh proof; what wanted it is then asked again, once. */
    private readonly prover: { now: Prover | null } = { now: null },
  ) {}

  /** Whom to ask for a fresh proof from now on; returns how to stop that. */
  provedBy(prover: Prover): () => void {
    this.prover.now = prover;
    return () => {
      if (this.prover.now === prover) this.prover.now = null;
    };
  }

  /** The same collector, seen from somewhere else in it. */
  elsewhere(query: string): Api {
    return new Api(this.host, this.connection, { query }, this.prover);
  }

  info(): Promise<Info> {
    return this.get('/api/v1/info');
  }

  deployments(query: { state?: string; limit?: number; before?: string } = {}): Promise<DeploymentList> {
    return this.get(withQuery('/api/v1/deployments', query));
  }

  deployment(id: string): Promise<DeploymentDetail> {
    return this.get(at(id, ''));
  }

  rows(id: string, from: number, count: number): Promise<RowsPage> {
    return this.get(withQuery(at(id, '/rows'), { from, count }));
  }

  /** Rows around a record, which stands a third down; `row` says where, if the record is there. */
  rowsAround(id: string, seq: number, count: number): Promise<RowsPage> {
    return this.get(withQuery(at(id, '/rows'), { seq, count }));
  }

  locate(id: string, seq: number): Promise<Located> {
    return this.get(withQuery(at(id, '/locate'), { seq }));
  }

  marks(id: string, buckets: number): Promise<Marks> {
    return this.get(withQuery(at(id, '/marks'), { buckets }));
  }

  find(
    id: string,
    query: Query,
    from: number,
    direction: 'next' | 'previous',
    signal?: AbortSignal,
  ): Promise<Found> {
    return this.get(withQuery(at(id, '/find'), { ...query, from, direction }), signal);
  }

  /**
   * With `buckets` the answer also says where in the log all matches are, beyond those it lists; `from` is the first row that is
   * looked at. Both this and `find` may take a second in a long log: an aborted `signal` ends them.
   */
  matches(
    id: string,
    query: Query,
    { buckets, from }: { buckets?: number | undefined; from?: number | undefined },
    signal?: AbortSignal,
  ): Promise<FoundMatches> {
    return this.get(withQuery(at(id, '/matches'), { ...query, buckets, from }), signal);
  }

  /** `before` is the `next` of the page before; `tz` minutes east of UTC for dates in the query. */
  search(query: { q: string; tz: number; limit?: number; before?: string }): Promise<SearchPage> {
    return this.get(withQuery('/api/v1/search', query));
  }

  /** How the collector reads a query; always an answer, also for a wrong one. */
  checkQuery(q: string, tz: number): Promise<ParsedQuery> {
    return this.get(withQuery('/api/v1/search/check', { q, tz }));
  }

  async searches(): Promise<SavedSearch[]> {
    return (await this.get<SavedSearches>('/api/v1/searches')).searches;
  }

  saveSearch(fields: SavedSearchFields): Promise<SavedSearch> {
    return this.send('POST', '/api/v1/searches', fields);
  }

  changeSearch(id: string, fields: SavedSearchFields): Promise<SavedSearch> {
    return this.send('PUT', `/api/v1/searches/${encodeURIComponent(id)}`, fields);
  }

  deleteSearch(id: string): Promise<void> {
    return this.call({ method: 'DELETE', path: `/api/v1/searches/${encodeURIComponent(id)}` });
  }

  comparison(id: string, other: string): Promise<Comparison> {
    return this.get(withQuery(at(id, '/comparison'), { with: other }));
  }

  async signatures(since?: number): Promise<Signature[]> {
    return (await this.get<SignatureList>(withQuery('/api/v1/signatures', { since }))).signatures;
  }

  signature(id: string): Promise<Signature> {
    return this.get(`/api/v1/signatures/${encodeURIComponent(id)}`);
  }

  retention(): Promise<Retention> {
    return this.get('/api/v1/retention');
  }

  setRetention(policy: RetentionPolicy): Promise<unknown> {
    return this.send('PUT', '/api/v1/retention', policy);
  }

  previewRetention(policy: RetentionPolicy): Promise<RetentionPreview> {
    return this.send('POST', '/api/v1/retention/preview', policy);
  }

  async consoles(): Promise<Console[]> {
    return (await this.get<Consoles>('/api/v1/consoles')).consoles;
  }

  /** Tells a linked console to do something; resolves to what it says to that. */
  order(console: string, order: OrderWord): Promise<OrderAnswer> {
    return this.send('POST', `/api/v1/consoles/${encodeURIComponent(console)}/order`, { order });
  }

  /** Shuts a console out at once. What it sent stays. */
  revoke(console: string): Promise<void> {
    return this.call({ method: 'POST', path: `/api/v1/consoles/${encodeURIComponent(console)}/revoke` });
  }

  /** What consoles can be added with, by name. */
  async templates(): Promise<string[]> {
    return (await this.get<Templates>('/api/v1/templates')).templates;
  }

  /** Codes that were given out, the newest first. */
  async invitations(): Promise<Invitation[]> {
    return (await this.get<Invitations>('/api/v1/join-tokens')).invitations;
  }

  /** Makes a code to add consoles with: this answer is the only one that has it. */
  invite(invite: Invite): Promise<NewInvitation> {
    return this.send('POST', '/api/v1/join-tokens', invite);
  }

  takeBack(invitation: string): Promise<void> {
    return this.call({ method: 'DELETE', path: `/api/v1/join-tokens/${encodeURIComponent(invitation)}` });
  }

  /** The newest entries first; `before` is the `next` of the page before. */
  audit(query: Record<string, QueryValue>): Promise<AuditPage> {
    return this.get(withQuery('/api/v1/audit', query));
  }

  /** Reads the whole trail; takes a while where it is long. */
  verifyAudit(): Promise<AuditVerified> {
    return this.get('/api/v1/audit/verify');
  }

  downloadAudit(query: Record<string, QueryValue>, format: 'csv' | 'jsonl'): Promise<string | null> {
    return this.save(withQuery('/api/v1/audit/export', { ...query, format }), `audit.${format}`);
  }

  /** Who asks, and what they may do. */
  me(): Promise<Me> {
    return this.get('/api/v1/me');
  }

  /** Shows that it is oneself who sits there. Rejects like `Host.enter`: with how long to wait, where that was said. */
  async prove(typed: Confirmation): Promise<void> {
    const headers = { 'content-type': 'application/json' };
    const request = {
      method: 'POST',
      path: '/api/v1/me/prove',
      headers,
      body: JSON.stringify(typed),
    } as const;
    const answer = await this.host.request(this.connection, request);
    if (answer.status >= 400) throw refusal(answer);
  }

  /** How one logs in here. */
  ways(): Promise<Ways> {
    return this.get('/api/v1/login');
  }

  /** Ends the session that this is asked with. */
  logOut(): Promise<void> {
    return this.call({ method: 'POST', path: '/api/v1/logout' });
  }

  /** Changes one's own password: one's other sessions end. */
  changePassword(old: string, wanted: string): Promise<void> {
    return this.send('PUT', '/api/v1/me/password', { old, new: wanted });
  }

  /** A secret for an authenticator app. Nothing is changed until it is confirmed. */
  beginSecondFactor(): Promise<SecondFactor> {
    return this.call({ method: 'POST', path: '/api/v1/me/second-factor' });
  }

  takeSecondFactor(secret: string, code: string, password: string): Promise<void> {
    return this.send('PUT', '/api/v1/me/second-factor', { secret, code, password });
  }

  dropSecondFactor(password: string): Promise<void> {
    return this.send('POST', '/api/v1/me/second-factor/remove', { password });
  }

  async operators(): Promise<Person[]> {
    return (await this.get<People>('/api/v1/operators')).operators;
  }

  addOperator(fields: OperatorFields): Promise<Person> {
    return this.send('POST', '/api/v1/operators', fields);
  }

  /** A new password, or shutting somebody out, ends their sessions at once. */
  changeOperator(id: string, fields: OperatorFields): Promise<Person> {
    return this.send('PUT', `/api/v1/operators/${encodeURIComponent(id)}`, fields);
  }

  /** Sessions and tokens that are open: one's own, or everybody's. */
  async sessions(all: boolean): Promise<Access[]> {
    return (await this.get<Sessions>(withQuery('/api/v1/sessions', { all }))).sessions;
  }

  endSession(id: string): Promise<void> {
    return this.call({ method: 'DELETE', path: `/api/v1/sessions/${encodeURIComponent(id)}` });
  }

  /** A token for a program: this answer is the only one that has it. */
  giveToken(token: NewToken): Promise<GivenToken> {
    return this.send('POST', '/api/v1/api-tokens', token);
  }

  /** Where one may do something, and what. */
  venues(): Promise<Venues> {
    return this.get('/api/v1/venues');
  }

  addVenue(name: string): Promise<Venue> {
    return this.send('POST', '/api/v1/venues', { name });
  }

  renameVenue(id: string, name: string): Promise<Venue> {
    return this.send('PUT', `/api/v1/venues/${encodeURIComponent(id)}`, { name });
  }

  /** For whoever has the collector itself. */
  async organisations(): Promise<Organisation[]> {
    return (await this.get<Organisations>('/api/v1/organisations')).organisations;
  }

  /** It has a first venue of the same name. */
  addOrganisation(name: string): Promise<Organisation> {
    return this.send('POST', '/api/v1/organisations', { name });
  }

  cancel(id: string): Promise<Ordered> {
    return this.call({ method: 'POST', path: at(id, '/cancel') });
  }

  download(id: string, suggestedName: string): Promise<string | null> {
    return this.save(at(id, '/raw'), suggestedName);
  }

  /** The whole log or a range of it as a file; `raw` is the bytes of these rows. */
  downloadAs(
    id: string,
    format: ExportFormat,
    range: RowRange | null,
    suggestedName: string,
  ): Promise<string | null> {
    return this.save(exportPath(id, format, range), suggestedName);
  }

  /** What `downloadAs` saves, as text; for the clipboard, so keep the range small. */
  async exported(id: string, format: ExportFormat, range: RowRange | null): Promise<string> {
    return (await this.ask({ method: 'GET', path: exportPath(id, format, range) })).body;
  }

  /** Everything of a run in one file, to be sent to whoever helps. */
  downloadBundle(id: string, suggestedName: string): Promise<string | null> {
    return this.save(at(id, '/bundle'), suggestedName);
  }

  /** Who asks for the file that is to be taken in: the page itself, or the host. */
  get filesComeFrom(): 'page' | 'host' | null {
    if (this.host.upload) return 'page';
    return this.host.uploadChosen ? 'host' : null;
  }

  /** Has the operator choose a run that `downloadBundle` saved, and takes it in; null when they chose none. */
  async importChosenRun(chosen: (name: string) => void): Promise<Imported | null> {
    if (!this.host.uploadChosen) throw new Error('this host asks for no files');
    const answer = await this.host.uploadChosen(this.connection, placed(IMPORT, this.place.query), chosen);
    return answer && (JSON.parse(accepted(answer).body) as Imported);
  }

  /** Takes a run in that `downloadBundle` saved, here or elsewhere. */
  async importRun(file: Blob): Promise<Imported> {
    if (!this.host.upload) throw new Error('this host carries no files');
    const answer = await this.host.upload(this.connection, placed(IMPORT, this.place.query), file);
    return JSON.parse(accepted(answer).body) as Imported;
  }

  private save(path: string, suggestedName: string): Promise<string | null> {
    return this.host.download(this.connection, placed(path, this.place.query), suggestedName);
  }

  private send<T>(method: 'POST' | 'PUT', path: string, body: object): Promise<T> {
    const headers = { 'content-type': 'application/json' };
    return this.call({ method, path, headers, body: JSON.stringify(body) });
  }

  private get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return this.call<T>({ method: 'GET', path, signal });
  }

  private async call<T>(request: HostRequest): Promise<T> {
    const answer = await this.ask(request);
    return (answer.body === '' ? undefined : JSON.parse(answer.body)) as T;
  }

  private async ask(request: HostRequest): Promise<HostResponse> {
    const placedRequest = { ...request, path: placed(request.path, this.place.query) };
    const answer = await this.host.request(this.connection, placedRequest);
    const wantsProof = answer.status === 403 && errorOf(answer.body)?.code === 'proof_needed';
    if (!wantsProof || !this.prover.now) return accepted(answer);
    await this.prover.now.ask();
    return accepted(await this.host.request(this.connection, placedRequest));
  }
}

/** The answer, unless it says no. */
function accepted(answer: HostResponse): HostResponse {
  if (answer.status === 401 || answer.status === 403) {
    const error = errorOf(answer.body);
    throw new HostRefused(error?.message ?? 'the collector does not let this be done', error?.code);
  }
  if (answer.status >= 400) {
    const error = errorOf(answer.body);
    throw new ApiError(
      answer.status,
      error?.code ?? `http_${answer.status}`,
      error?.message ?? `the collector answered ${answer.status}`,
      error?.retryable ?? answer.status >= 500,
    );
  }
  return answer;
}

function exportPath(id: string, format: ExportFormat, range: RowRange | null): string {
  const path = withQuery(at(id, '/export'), { format });
  // row 0 is a place to begin like any other
  return range === null ? path : `${path}&from=${range.from}&to=${range.to}`;
}

function at(id: string, rest: string): string {
  return `/api/v1/deployments/${encodeURIComponent(id)}${rest}`;
}

function errorOf(body: string): Refusal | null {
  try {
    return (JSON.parse(body) as { error?: Refusal }).error ?? null;
  } catch {
    return null;
  }
}
