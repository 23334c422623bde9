/**
 * Web addresses in a row: those in its text, and those behind words that its tool made a link. What comes from a console may be
 * hostile, so an address is only ever shown and copied as the URL standard reads it: its host in ASCII (a look-alike letter shows
 * as `xn--…`), everything else escaped. Pure.
 */
import type { RowLink } from '../api/types';
import type { Range } from './ansi';

export interface WebLink extends Range {
  /** The whole address, in ASCII. */
  address: string;
  /** Where it leads: host and port, without the name and password that may stand before them. */
  host: string;
  /** The words name an address on another host. */
  disguised?: boolean;
}

/** A row with more is a list of addresses; the first ones are enough to click. */
const MOST_LINKS = 40;
/** What no address goes on behind: blanks, quotes, brackets of prose, and the signs that stand for control characters. */
const ADDRESS = /https?:\/\/[^\s<>"'`|\\^{}\u2400-\u2421\ufffd]+/gi;
const TRAILING = /[.,;:!?…»”’]$/;
const BRACKETS: Record<string, string> = { ')': '(', ']': '[' };

/** Reads `text` as `visibleControls` made it, so that nothing in it reorders what is seen. */
export function findLinks(text: string): WebLink[] {
  if (!text.includes('://')) return [];
  const links: WebLink[] = [];
  for (const match of text.matchAll(ADDRESS)) {
    if (links.length >= MOST_LINKS) break;
    const found = trimmed(match[0]);
    const url = webAddress(found);
    if (!url) continue;
    links.push({
      start: match.index,
      end: match.index + found.length,
      address: url.href,
      host: url.host,
    });
  }
  return links;
}

/** All links of a row, in order. Where a tool says that words lead somewhere, that counts, whatever they say themselves. */
export function linksIn(text: string, made: readonly RowLink[] = []): WebLink[] {
  const said = findLinks(text);
  const links: WebLink[] = [];
  for (const [start, end, address] of made.slice(0, MOST_LINKS)) {
    const url = webAddress(address);
    if (!url) continue;
    const disguised = said.some((named) => overlap(named, { start, end }) && named.host !== url.host);
    links.push({ start, end, address: url.href, host: url.host, disguised });
  }
  const left = said.filter((named) => !links.some((link) => overlap(named, link)));
  return [...links, ...left].sort((a, b) => a.start - b.start);
}

function overlap(a: Range, b: Range): boolean {
  return a.start < b.end && b.start < a.end;
}

function webAddress(text: string): URL | null {
  try {
    const url = new URL(text);
    return (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname !== '' ? url : null;
  } catch {
    return null;
  }
}

/** Without the full stop of a sentence, and without a closing bracket that was opened before the address. */
function trimmed(address: string): string {
  let text = address;
  for (;;) {
    const last = text.at(-1) ?? '';
    const opening = BRACKETS[last];
    const closes = opening !== undefined && text.split(last).length > text.split(opening).length;
    if (!closes && !TRAILING.test(text)) return text;
    text = text.slice(0, -1);
  }
}
