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

/** `[start, end, address]`: UTF-16 offsets into the row's text, and where a tool says that these words lead. */
export type RowLink = [start: number, end: number, address: string];

/** OpenAPI cannot say "a list of three"; the rest of the row is as generated. */
export type Row = Omit<Schemas['Row'], 'spans' | 'links'> & { spans: Span[]; links?: RowLink[] };
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
  /** Minutes east of UTC, for dates in the search language. */
  tz?: number;
  level?: 'warning' | 'error';
  phase?: number;
}

export type DeploymentState = Schemas['State'];

/** `[from_row, rows_matched]`: where in a log matches are. */
export type MatchBucket = [from: number, matched: number];
export type FoundMatches = Omit<Matches, 'buckets'> & { buckets: MatchBucket[] };

/** `ranges` are UTF-16 offsets of what matched in the row's text. */
export type SearchHit = Omit<Schemas['SearchHit'], 'row' | 'ranges'> & {
  row: Row;
  ranges: [from: number, to: number][];
};
export type Histogram = Schemas['Histogram'];
export type SearchProgress = Schemas['SearchProgress'];
export type SearchPage = Omit<Schemas['SearchPage'], 'hits'> & { hits: SearchHit[] };
export type SearchSnapshot = Schemas['SearchSnapshot'];
/** Buckets are those that changed, with absolute values. */
export type SearchDelta = Omit<Schemas['SearchDelta'], 'hits' | 'buckets'> & {
  hits: SearchHit[];
  buckets: [index: number, matched: number, errors: number][];
};
export type ParsedQuery = Schemas['ParsedQuery'];
export type QueryPart = Schemas['QueryPart'];
export type QueryProblem = Schemas['QueryProblem'];

export type SavedSearch = Schemas['SavedSearch'];
export type SavedSearches = Schemas['SavedSearches'];
export type SavedSearchFields = Required<Schemas['SavedSearchFields']>;

export type RunRef = Schemas['RunRef'];
export type Hunk = Schemas['Hunk'];
export type PhasePair = Schemas['PhasePair'];
export type Comparison = Schemas['Compared'];
export type Confirmation = Schemas['Confirmation'];

export type Signature = Schemas['Signature'];
export type SignatureList = Schemas['SignatureList'];

export type AuditEntry = Omit<Schemas['AuditEntry'], 'detail'> & { detail: Record<string, unknown> };
export type AuditPage = Omit<Schemas['AuditPage'], 'entries'> & { entries: AuditEntry[] };
export type AuditVerified = Schemas['AuditVerified'];

/** Null does not limit. */
export type RetentionPolicy = Required<Schemas['RetentionPolicy']>;
export type Retention = Omit<Schemas['Retention'], 'policy'> & { policy: RetentionPolicy };
export type RetentionPreview = Schemas['RetentionPreview'];
export type Imported = Schemas['Imported'];

export type Console = Schemas['Console'];
export type ConsoleStanding = Schemas['ConsoleStanding'];
export type Consoles = Schemas['Consoles'];
/** The schema's defaults stand for what an older agent does not say. */
export type Health = Schemas['Health'];
export type OrderWord = Schemas['OrderWord'];
export type OrderAnswer = Schemas['OrderAnswer'];
/** A code that was given out, without the code. */
export type Invitation = Schemas['Invitation'];
export type Invitations = Schemas['Invitations'];
export type Invite = Schemas['Invite'];
/** The one answer that has the code. */
export type NewInvitation = Schemas['NewInvitation'];
export type JoinState = Schemas['JoinState'];
export type Templates = Schemas['Templates'];

/** From the one that may least. */
export type Role = Schemas['Role'];
/** An operator. */
export type Person = Schemas['Person'];
export type People = Schemas['People'];
export type OperatorFields = Schemas['OperatorFields'];
export type Me = Schemas['Me'];
/** A session, or a program's token. */
export type Access = Schemas['Access'];
export type Sessions = Schemas['Sessions'];
export type NewToken = Schemas['NewToken'];
/** The one answer that has the token. */
export type GivenToken = Schemas['GivenToken'];
export type Ways = Schemas['Ways'];
export type SecondFactor = Schemas['SecondFactor'];

/** Where one may do something; a venue with what one may do there. */
export type Venues = Schemas['Venues'];
export type Venue = Schemas['VenueSeen'];
export type Organisation = Schemas['Organisation'];
export type Organisations = Schemas['Organisations'];
