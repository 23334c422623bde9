/**
 * The one typed door to a collector's REST API, over the host seam.
 *
 * Failure modes: `ApiError` when the collector answered with an error (branch on `code`),
 * `HostUnreachable` / `HostRefused` when there was no usable answer.
 */
import { HostRefused, type Host, type HostRequest } from '../host';
import type {
  DeploymentDetail,
  DeploymentList,
  Found,
  Info,
  Located,
  Marks,
  Matches,
  Ordered,
  Query,
  Refusal,
  RowsPage,
} from './types';

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

export class Api {
  constructor(
    readonly host: Host,
    readonly connection: string,
  ) {}

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

  find(id: string, query: Query, from: number, direction: 'next' | 'previous'): Promise<Found> {
    return this.get(withQuery(at(id, '/find'), { ...query, from, direction }));
  }

  matches(id: string, query: Query): Promise<Matches> {
    return this.get(withQuery(at(id, '/matches'), { ...query }));
  }

  cancel(id: string): Promise<Ordered> {
    return this.call({ method: 'POST', path: at(id, '/cancel') });
  }

  download(id: string, suggestedName: string): Promise<string | null> {
    return this.host.download(this.connection, at(id, '/raw'), suggestedName);
  }

  private get<T>(path: string): Promise<T> {
    return this.call<T>({ method: 'GET', path });
  }

  private async call<T>(request: HostRequest): Promise<T> {
    const answer = await this.host.request(this.connection, request);
    if (answer.status === 401 || answer.status === 403) {
      throw new HostRefused(
        errorOf(answer.body)?.message ?? 'the collector does not accept this access token',
      );
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
    return JSON.parse(answer.body) as T;
  }
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
