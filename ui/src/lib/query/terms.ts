/**
 * Editing a query's text: what chips, pickers and the histogram do to it. Pure.
 *
 * The collector alone decides what a query means; this reads just enough of the language to find the terms that narrow the
 * whole query (they stand outside brackets, and no `or` stands beside them) and to write terms that read back as they were
 * meant. What it does not understand it leaves as it is.
 */

export interface Term {
  kind: 'term';
  from: number;
  to: number;
  field: string | null;
  /** Without quotes and escapes. */
  value: string;
  form: 'bare' | 'phrase' | 'exact' | 'regex' | 'regex-any-case';
  /** `field:=value` */
  equals: boolean;
  negated: boolean;
  depth: number;
  /** The closing quote is missing: what is being typed. */
  unclosed: '' | '"' | "'" | '/';
}

export type Token =
  | Term
  | { kind: 'operator'; word: 'and' | 'or' | 'not'; from: number; to: number; depth: number }
  | { kind: 'open'; from: number; to: number; depth: number; negated: boolean }
  | { kind: 'close'; from: number; to: number; depth: number; negated: boolean };

const FIELDS = new Set(
  'word level phase step console template venue release outcome deployment kind after before since'.split(
    ' ',
  ),
);
const TIME_FIELDS = ['after', 'before', 'since'];

/** A quoted stretch that begins at `at`: what it says and where it ends. */
function quoted(text: string, at: number): { value: string; to: number; closed: boolean } {
  const quote = text[at]!;
  let value = '';
  let i = at + 1;
  while (i < text.length && text[i] !== quote) {
    // in a regular expression only the slash is escaped for us; the rest is its own language
    if (text[i] === '\\' && i + 1 < text.length && (quote !== '/' || text[i + 1] === '/')) i++;
    else if (text[i] === '\\' && i + 1 < text.length) value += text[i++];
    value += text[i];
    i++;
  }
  const closed = i < text.length;
  return { value, to: closed ? i + 1 : i, closed };
}

export function lex(text: string): Token[] {
  const tokens: Token[] = [];
  let depth = 0;
  let at = 0;
  while (at < text.length) {
    if (/\s/.test(text[at]!)) {
      at++;
      continue;
    }
    const from = at;
    let negated = false;
    if (text[at] === '-' && at + 1 < text.length && !/[\s)]/.test(text[at + 1]!)) {
      negated = true;
      at++;
    }
    const sign = text[at]!;
    if (sign === '(' || sign === ')') {
      if (sign === ')') depth = Math.max(0, depth - 1);
      tokens.push({ kind: sign === '(' ? 'open' : 'close', from, to: at + 1, depth, negated });
      if (sign === '(') depth++;
      at++;
      continue;
    }
    const term: Term = {
      kind: 'term',
      from,
      to: from,
      field: null,
      value: '',
      form: 'bare',
      equals: false,
      negated,
      depth,
      unclosed: '',
    };
    const named = /^([A-Za-z]+):(=?)/.exec(text.slice(at));
    if (named && FIELDS.has(named[1]!.toLowerCase())) {
      term.field = named[1]!.toLowerCase();
      term.equals = named[2] === '=';
      at += named[0].length;
    }
    const begins = text[at];
    if (begins === '"' || begins === "'" || (begins === '/' && term.field === null)) {
      const held = quoted(text, at);
      term.value = held.value;
      term.form = begins === '"' ? 'phrase' : begins === "'" ? 'exact' : 'regex';
      at = held.to;
      if (!held.closed) term.unclosed = begins;
      else if (begins === '/' && text[at] === 'i') {
        term.form = 'regex-any-case';
        at++;
      }
    } else {
      const bare = /^[^\s()]*/.exec(text.slice(at))![0];
      term.value = bare;
      at += bare.length;
      const word = bare.toLowerCase();
      if (term.field === null && !negated && (word === 'and' || word === 'or' || word === 'not')) {
        tokens.push({ kind: 'operator', word, from, to: at, depth });
        continue;
      }
    }
    term.to = at;
    tokens.push(term);
  }
  return tokens;
}

/** The terms that every match must meet, as far as they stand plainly in the query. */
export function conditions(text: string): Term[] {
  return conditionsOf(lex(text));
}

function conditionsOf(tokens: readonly Token[]): Term[] {
  if (tokens.some((token) => token.kind === 'operator' && token.word === 'or' && token.depth === 0))
    return [];
  return tokens.filter((token, i): token is Term => {
    if (token.kind !== 'term' || token.depth > 0 || token.negated) return false;
    const before = tokens[i - 1];
    return !(before?.kind === 'operator' && before.word === 'not');
  });
}

/** The value of a field that narrows the whole query, or null. */
export function valueOf(text: string, field: string): string | null {
  return conditions(text).find((term) => term.field === field)?.value ?? null;
}

/** A term that reads back as `value`, quoted where it must be. */
export function writeTerm(field: string, value: string, equals = false): string {
  const bare = /^[\p{L}\p{N}_][\p{L}\p{N}_.:+\-]*$/u.test(value);
  const written = bare ? value : `"${value.replace(/[\\"]/g, '\\$&')}"`;
  return `${field}:${equals ? '=' : ''}${written}`;
}

/** Puts terms in the place of all that narrow the query by these fields; none takes those away. */
function put(text: string, fields: readonly string[], terms: readonly string[]): string {
  const tokens = lex(text);
  const last = tokens.at(-1);
  const closed = last?.kind === 'term' && last.unclosed !== '' ? text + last.unclosed : text;
  if (tokens.some((token) => token.kind === 'operator' && token.word === 'or' && token.depth === 0)) {
    return terms.length === 0 ? text : [`(${closed.trim()})`, ...terms].join(' ');
  }
  const old = new Set(
    conditionsOf(tokens).filter((term) => term.field !== null && fields.includes(term.field)),
  );
  const kept: string[] = [];
  const first = tokens.find((token) => token.kind === 'term' && old.has(token));
  tokens.forEach((token, i) => {
    if (token === first) kept.push(...terms);
    if (token.kind === 'term' && old.has(token)) return;
    // an `and` beside a term that goes has nothing to join any more
    if (token.kind === 'operator' && token.word === 'and' && terms.length === 0) {
      const beside = [tokens[i - 1], tokens[i + 1]];
      if (beside.some((other) => other?.kind === 'term' && old.has(other))) return;
    }
    const next = tokens[i + 1];
    const tight = next !== undefined && next.from === token.to;
    kept.push(closed.slice(token.from, i === tokens.length - 1 ? undefined : token.to) + (tight ? '\0' : ''));
  });
  if (!first) kept.push(...terms);
  return kept.join(' ').replaceAll('\0 ', '').replaceAll('\0', '').trim();
}

export function setField(text: string, field: string, value: string | null, equals = false): string {
  return put(text, [field], value === null ? [] : [writeTerm(field, value, equals)]);
}

export type TimeChoice =
  | { kind: 'all' }
  | { kind: 'since'; span: string }
  | { kind: 'range'; after: string | null; before: string | null };

export function timeOf(text: string): TimeChoice {
  const since = valueOf(text, 'since');
  const after = valueOf(text, 'after');
  const before = valueOf(text, 'before');
  if (after !== null || before !== null) return { kind: 'range', after, before };
  return since === null ? { kind: 'all' } : { kind: 'since', span: since };
}

export function setTime(text: string, time: TimeChoice): string {
  const terms: string[] = [];
  if (time.kind === 'since') terms.push(writeTerm('since', time.span));
  if (time.kind === 'range' && time.after !== null) terms.push(writeTerm('after', time.after));
  if (time.kind === 'range' && time.before !== null) terms.push(writeTerm('before', time.before));
  return put(text, TIME_FIELDS, terms);
}

/** One term taken away at a time, widest effect first: what to try when nothing was found. */
export function loosened(text: string): { without: string; query: string }[] {
  const terms = conditions(text);
  if (lex(text).filter((token) => token.kind === 'term').length < 2) return [];
  const out: { without: string; query: string }[] = [];
  const time = terms.filter((term) => term.field !== null && TIME_FIELDS.includes(term.field));
  const add = (without: string, query: string): void => {
    if (query !== '' && query !== text && !out.some((other) => other.query === query)) {
      out.push({ without, query });
    }
  };
  if (time.length > 0) {
    add(time.map((term) => text.slice(term.from, term.to)).join(' '), setTime(text, { kind: 'all' }));
  }
  for (const term of terms) {
    if (term.field === null || term.field === 'word' || TIME_FIELDS.includes(term.field)) continue;
    add(text.slice(term.from, term.to), setField(text, term.field, null));
  }
  return out;
}

/** Most patterns that one row is searched with; a longer query highlights its first words. */
const MOST_PATTERNS = 24;

/** What to highlight for a query: its words, where they are not denied. Patterns of another engine may be beyond this one. */
export function patternsOf(text: string): RegExp[] {
  const patterns: RegExp[] = [];
  const denied: boolean[] = [];
  let not = false;
  for (const token of lex(text)) {
    if (patterns.length >= MOST_PATTERNS) break;
    if (token.kind === 'operator') {
      if (token.word === 'not') not = !not;
      continue;
    }
    if (token.kind === 'close') {
      denied.pop();
      not = false;
      continue;
    }
    const isDenied = (denied.at(-1) ?? false) !== (token.negated !== not);
    not = false;
    if (token.kind === 'open') {
      denied.push(isDenied);
      continue;
    }
    if (isDenied || token.value === '' || (token.field !== null && token.field !== 'word')) continue;
    const literal = token.value.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const regex = token.form === 'regex' || token.form === 'regex-any-case';
    const source = regex
      ? token.value
      : token.field === 'word'
        ? `(?<![\\p{L}\\p{N}_])${literal}(?![\\p{L}\\p{N}_])`
        : literal;
    try {
      patterns.push(new RegExp(source, token.form === 'exact' || token.form === 'regex' ? 'gu' : 'giu'));
    } catch {
      // the collector's engine knows what this one does not; it finds, and nothing is highlighted
    }
  }
  return patterns;
}
