/**
 * The viewer API's types under the names the rest of the UI uses. They come from `schema.d.ts`, which
 * `npm run generate` makes from the collector's own OpenAPI document (`openapi.json`).
 *
 * At run time a newer collector may send more than is declared here: every list of states ends in
 * a fallback where it is rendered. Times (`*_at`, `at`) are microseconds since the Unix epoch,
 * durations (`*_us`) microseconds.
 */
import type { components } from './schema';

type Schemas = components['schemas'];

export type Micros = number;
export type Level = Schemas['Level'];
export type Info = Schemas['Info'];
export type Phase = Schemas['Phase'];
export type DeploymentSummary = Schemas['DeploymentSummary'];
export type DeploymentList = Schemas['DeploymentList'];
export type DeploymentEvent = Schemas['EventEntry'];
export type FleetSnapshot = Schemas['FleetSnapshot'];
export type FleetDelta = Schemas['FleetDelta'];
export type DeploymentDelta = Schemas['DeploymentDelta'];
export type Found = Schemas['RowFound'];
export type Located = Schemas['Located'];
export type Marks = Schemas['Marks'];
export type Matches = Schemas['Matches'];
export type Ordered = Schemas['Ordered'];
export type Ticket = Schemas['Ticket'];
export type Refusal = Schemas['Refusal'];

/** Rendered as grouped facts; its exact shape belongs to the agent and may grow. */
export type SystemContext = Record<string, unknown>;

export type DeploymentDetail = Omit<Schemas['DeploymentDetail'], 'context'> & {
  context: SystemContext | null;
};

/** `[start, end, style]`: UTF-16 offsets into the row's text, style as space-separated tokens. */
export type Span = [start: number, end: number, style: string];

/** OpenAPI cannot say "a list of three"; the rest of the row is as generated. */
export type Row = Omit<Schemas['Row'], 'spans'> & { spans: Span[] };
export type RowsPage = Omit<Schemas['RowsPage'], 'rows'> & { rows: Row[] };
export type WindowSnapshot = Omit<Schemas['WindowSnapshot'], 'rows'> & { rows: Row[] };
export type WindowDelta = Omit<Schemas['WindowDelta'], 'rows'> & { rows: Row[] };

/** What the operator searches for; empty fields do not constrain. A level means "at least". */
export interface Query {
  q?: string;
  regex?: boolean;
  case?: boolean;
  /** `q` is in the search language. */
  lang?: boolean;
  level?: 'warning' | 'error';
  phase?: number;
}

// Hand-made until the collector's own document has them: everything from here to the end of this file.

export type DeploymentState = Schemas['State'];

/** `[from_row, rows_matched]`: where in a log matches are. */
export type MatchBucket = [from: number, matched: number];
export type FoundMatches = Matches & { buckets?: MatchBucket[] };

export interface SearchHit {
  deployment_id: string;
  console_id: string;
  console_name: string;
  template: string;
  state: DeploymentState;
  row: Row;
  phase_name: string | null;
  /** UTF-16 offsets of what matched in the row's text. */
  ranges: [from: number, to: number][];
}

export interface Histogram {
  from: Micros;
  width_us: Micros;
  matched: number[];
  /** Of the matched rows, those of level error. */
  errors: number[];
}

export interface SearchProgress {
  blocks: number;
  of_blocks: number;
  opened: number;
  rows: number;
  done: boolean;
  took_us: Micros;
}

export interface SearchPage {
  query: string;
  hits: SearchHit[];
  next: string | null;
  matched: number | null;
  capped: boolean;
  histogram: Histogram | null;
  progress: SearchProgress;
}

export interface SearchSnapshot {
  query: string;
  of_blocks: number;
  histogram_from: Micros;
  histogram_width_us: Micros;
  histogram_buckets: number;
}

export interface SearchDelta {
  /** To append: newest first. */
  hits: SearchHit[];
  /** So far, in all. */
  matched: number;
  /** Changed ones, absolute values. */
  buckets: [index: number, matched: number, errors: number][];
  progress: SearchProgress;
}

export type QueryPartKind =
  'word' | 'phrase' | 'exact' | 'regex' | 'field' | 'value' | 'operator' | 'bracket' | (string & {});
/** Offsets in UTF-16 code units of the query. */
export interface QueryPart {
  from: number;
  to: number;
  kind: QueryPartKind;
}
export interface QueryProblem {
  message: string;
  from: number;
  to: number;
}
export interface ParsedQuery {
  ok: boolean;
  parts: QueryPart[];
  problem: QueryProblem | null;
}

export interface SavedSearchFields {
  name: string;
  query: string;
  alert: boolean;
}
export interface SavedSearch extends SavedSearchFields {
  id: string;
  created_at: Micros;
  updated_at: Micros;
  last_match_at: Micros | null;
  matches_today: number;
}

export interface RunRef {
  deployment_id: string;
  console_name: string;
  template: string;
  hardware: string | null;
  started_at: Micros;
  finished_at: Micros | null;
  state: DeploymentState;
  rows: number;
}
export type DifferenceKind = 'changed' | 'only_here' | 'missing_here';
/** Row numbers, half open. */
export interface Hunk {
  kind: DifferenceKind;
  this_from: number;
  this_to: number;
  other_from: number;
  other_to: number;
  this_lines: string[];
  other_lines: string[];
}
export interface PhasePair {
  name: string;
  this_us: Micros | null;
  other_us: Micros | null;
  this_state: string | null;
  other_state: string | null;
}
export interface Comparison {
  this: RunRef;
  other: RunRef;
  how: 'last_good_same_hardware' | 'last_good' | 'chosen' | (string & {});
  first_difference: {
    this_row: number | null;
    other_row: number | null;
    kind: DifferenceKind;
    text: string;
    other_text: string | null;
  } | null;
  phases: PhasePair[];
  hunks: Hunk[];
  same_rows: number;
  /** Rows that differ in nothing but times, ids and hashes. */
  ignored: number;
}

export interface SignatureRun {
  deployment_id: string;
  console_name: string;
  at: Micros;
  row: number | null;
}
export interface Signature {
  id: string;
  title: string;
  version: number;
  count: number;
  consoles: string[];
  templates: string[];
  first_seen_at: Micros;
  last_seen_at: Micros;
  new: boolean;
  /** Newest first, at most fifty. */
  runs: SignatureRun[];
  fixed_by: { deployment_id: string; console_name: string; at: Micros; difference: string } | null;
}

/** Null does not limit. */
export interface RetentionPolicy {
  max_age_days: number | null;
  max_bytes: number | null;
  failed_age_days: number | null;
}
export interface Retention {
  policy: RetentionPolicy;
  stored_bytes: number;
  deployments: number;
  oldest_at: Micros | null;
}
/** What a policy would remove. */
export interface RetentionPreview {
  deployments: number;
  bytes: number;
  rows: number;
  oldest: DeploymentSummary[];
}
