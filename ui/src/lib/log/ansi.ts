/**
 * From a row's styles, search hits and selection to pieces of text with classes.
 *
 * Text stays text: pieces are rendered as text nodes and never as markup. The sixteen basic colours
 * are classes (so that each theme can make them readable); other colours are values that the
 * renderer sets through the CSSOM after they were checked here.
 */
import type { Span } from '../api/types';

export interface Piece {
  text: string;
  classes: string;
  color: string | null;
  background: string | null;
  /** Which of the links it belongs to. */
  link?: number;
}

export interface Range {
  start: number;
  end: number;
}

interface Style {
  classes: string;
  color: string | null;
  background: string | null;
}

const PLAIN: Style = { classes: '', color: null, background: null };
const FLAGS = new Set(['bold', 'dim', 'italic', 'underline', 'strike', 'reverse']);
const styles = new Map<string, Style>();
/** Rows repeat a few styles; a hostile log could invent many, so the cache is emptied when full. */
const STYLES_KEPT = 512;

/** The colour of an index of the 256-colour palette beyond the sixteen themed ones. */
export function paletteColor(index: number): string {
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return `rgb(${grey} ${grey} ${grey})`;
  }
  const cube = index - 16;
  const step = (value: number): number => (value === 0 ? 0 : 55 + value * 40);
  return `rgb(${step(Math.floor(cube / 36))} ${step(Math.floor(cube / 6) % 6)} ${step(cube % 6)})`;
}

export function parseStyle(tokens: string): Style {
  const known = styles.get(tokens);
  if (known) return known;
  const classes: string[] = [];
  let color: string | null = null;
  let background: string | null = null;
  for (const token of tokens.split(' ')) {
    if (FLAGS.has(token)) {
      classes.push(`a-${token}`);
      continue;
    }
    const match = /^(fg|bg)(?:(\d{1,3})|(#[0-9a-fA-F]{6}))$/.exec(token);
    if (!match) continue;
    const ground = match[1] === 'bg';
    if (match[2] !== undefined) {
      const index = Number(match[2]);
      if (index > 255) continue;
      if (index < 16) {
        classes.push(`a-${match[1]}${index}`);
        if (ground) background = null;
        else color = null;
        continue;
      }
      if (ground) background = paletteColor(index);
      else color = paletteColor(index);
    } else if (match[3] !== undefined) {
      if (ground) background = match[3];
      else color = match[3];
    }
  }
  const style = { classes: classes.join(' '), color, background };
  if (styles.size >= STYLES_KEPT) styles.clear();
  styles.set(tokens, style);
  return style;
}

/** Nothing but text. */
export function isPlain(piece: Piece): boolean {
  return !piece.classes && !piece.color && !piece.background && piece.link === undefined;
}

/** Cuts `text` wherever a span, a hit, a link or the selection begins or ends. Ranges outside the text are clipped. */
export function pieces(
  text: string,
  spans: readonly Span[],
  hits: readonly Range[],
  selection: Range | null,
  links: readonly Range[] = [],
): Piece[] {
  if (spans.length === 0 && hits.length === 0 && selection === null && links.length === 0) {
    return [{ text, classes: '', color: null, background: null }];
  }
  const cuts = new Set<number>([0, text.length]);
  const cut = (at: number): void => {
    cuts.add(Math.max(0, Math.min(text.length, at)));
  };
  for (const [start, end] of spans) {
    cut(start);
    cut(end);
  }
  for (const { start, end } of hits) {
    cut(start);
    cut(end);
  }
  for (const { start, end } of links) {
    cut(start);
    cut(end);
  }
  if (selection) {
    cut(selection.start);
    cut(selection.end);
  }
  const edges = [...cuts].sort((a, b) => a - b);
  const out: Piece[] = [];
  let span = 0;
  let hit = 0;
  let link = 0;
  for (let i = 0; i + 1 < edges.length; i++) {
    const start = edges[i]!;
    const end = edges[i + 1]!;
    while (span < spans.length && spans[span]![1] <= start) span++;
    while (hit < hits.length && hits[hit]!.end <= start) hit++;
    while (link < links.length && links[link]!.end <= start) link++;
    const current = spans[span];
    const style = current && current[0] <= start ? parseStyle(current[2]) : PLAIN;
    let classes = style.classes;
    const linked = links[link];
    const hitHere = hits[hit];
    if (hitHere && hitHere.start <= start) classes += ' hit';
    if (selection && selection.start <= start && end <= selection.end) classes += ' selected';
    out.push({
      text: text.slice(start, end),
      classes: classes.trim(),
      color: style.color,
      background: style.background,
      ...(linked && linked.start <= start ? { link } : {}),
    });
  }
  return out;
}

/** Where a query occurs in one row, bounded so that a hostile row cannot freeze the page. */
export function findHits(text: string, matcher: RegExp | null, most = 200): Range[] {
  if (!matcher) return [];
  const out: Range[] = [];
  matcher.lastIndex = 0;
  let match: RegExpExecArray | null;
  while (out.length < most && (match = matcher.exec(text)) !== null) {
    if (match[0].length === 0) {
      matcher.lastIndex++;
      continue;
    }
    out.push({ start: match.index, end: match.index + match[0].length });
  }
  return out;
}

/** Where several patterns occur, joined where they overlap. */
export function findAll(text: string, matchers: readonly RegExp[]): Range[] {
  if (matchers.length < 2) return findHits(text, matchers[0] ?? null);
  const found = matchers.flatMap((matcher) => findHits(text, matcher)).sort((a, b) => a.start - b.start);
  const out: Range[] = [];
  for (const range of found) {
    const last = out.at(-1);
    if (last && range.start < last.end) last.end = Math.max(last.end, range.end);
    else out.push({ ...range });
  }
  return out;
}

/**
 * The highlighter for a query. A pattern this engine cannot read highlights nothing: the collector,
 * not the highlighter, decides what matches.
 */
export function matcherFor(q: string, regex: boolean, matchCase: boolean): RegExp | null {
  if (q === '') return null;
  const source = regex ? q : q.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  try {
    return new RegExp(source, matchCase ? 'gu' : 'giu');
  } catch {
    return null;
  }
}
