/** The audit trail as the screen shows it: filtered, page by page, and what a verification said. */
import type { Api } from '../api/client';
import type { AuditEntry, AuditPage, AuditVerified } from '../api/types';
import { messageOf } from '../api/message';
import { t } from '../shared/strings';

/** What the list is narrowed to; empty does not narrow. Days are local, `2026-11-26`. */
export interface AuditFilter {
  actor: string;
  action: string;
  outcome: string;
  text: string;
  from: string;
  to: string;
}

export const NO_FILTER: AuditFilter = { actor: '', action: '', outcome: '', text: '', from: '', to: '' };
const FIELDS = Object.keys(NO_FILTER) as (keyof AuditFilter)[];

/** From the part of a link behind the `?`. */
export function parseFilter(query: string): AuditFilter {
  const given = new URLSearchParams(query);
  const filter = { ...NO_FILTER };
  for (const field of FIELDS) filter[field] = given.get(field) ?? '';
  return filter;
}

export function filterQuery(filter: AuditFilter): string {
  const given = FIELDS.filter((field) => filter[field] !== '');
  return new URLSearchParams(given.map((field) => [field, filter[field]])).toString();
}

export function narrows(filter: AuditFilter): boolean {
  return FIELDS.some((field) => filter[field].trim() !== '');
}

/** The beginning of a local day, so many days on, in microseconds; null for what is no day. */
export function dayStart(day: string, days = 0): number | null {
  const parts = /^(\d{4})-(\d{2})-(\d{2})$/.exec(day);
  if (!parts) return null;
  const date = new Date(Number(parts[1]), Number(parts[2]) - 1, Number(parts[3]) + days);
  return date.getTime() * 1000;
}

/** As the collector is asked. */
export function asked(filter: AuditFilter): Record<string, string | number | null> {
  return {
    actor: filter.actor,
    action: filter.action,
    outcome: filter.outcome,
    text: filter.text.trim(),
    from: dayStart(filter.from),
    to: dayStart(filter.to, 1),
  };
}

/** What an action is called; a newer collector may know more of them. */
export function actionName(action: string): string {
  const words = action.replaceAll('_', ' ');
  return t.audit.actions[action] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** Ids are told apart by their end: those made in the same hour begin alike. */
export function shortId(id: string): string {
  return /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(id) ? `…${id.slice(-8)}` : id;
}

export type TrailState =
  | { kind: 'loading' }
  | { kind: 'here'; entries: readonly AuditEntry[]; page: AuditPage; more: boolean }
  | { kind: 'failed'; message: string };

export type VerifyState =
  | { kind: 'none' }
  | { kind: 'running' }
  | { kind: 'here'; answer: AuditVerified }
  | { kind: 'failed'; message: string };

export class Trail {
  state = $state.raw<TrailState>({ kind: 'loading' });
  verified = $state.raw<VerifyState>({ kind: 'none' });
  /** A newer question makes the answer to an older one worthless. */
  #asked = 0;

  constructor(private readonly api: Api) {}

  async load(filter: AuditFilter): Promise<void> {
    const mine = ++this.#asked;
    try {
      const page = await this.api.audit(asked(filter));
      if (mine === this.#asked) this.state = { kind: 'here', entries: page.entries, page, more: false };
    } catch (cause) {
      if (mine === this.#asked) this.state = { kind: 'failed', message: messageOf(cause) };
    }
  }

  async older(filter: AuditFilter): Promise<void> {
    const { state } = this;
    if (state.kind !== 'here' || state.page.next === null || state.more) return;
    const mine = this.#asked;
    this.state = { ...state, more: true };
    try {
      const page = await this.api.audit({ ...asked(filter), before: state.page.next });
      if (mine !== this.#asked) return;
      this.state = { kind: 'here', entries: [...state.entries, ...page.entries], page, more: false };
    } catch (cause) {
      if (mine !== this.#asked) return;
      this.state = state;
      throw cause;
    }
  }

  async verify(): Promise<void> {
    if (this.verified.kind === 'running') return;
    this.verified = { kind: 'running' };
    try {
      this.verified = { kind: 'here', answer: await this.api.verifyAudit() };
    } catch (cause) {
      this.verified = { kind: 'failed', message: messageOf(cause) };
    }
  }
}
