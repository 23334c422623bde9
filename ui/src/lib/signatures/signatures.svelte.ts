/** Failures that say the same, counted together. */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { Signature } from '../api/types';

export type SignaturesState =
  { kind: 'loading' } | { kind: 'here'; list: readonly Signature[] } | { kind: 'failed'; message: string };

export class Signatures {
  state = $state.raw<SignaturesState>({ kind: 'loading' });

  constructor(private readonly api: Api) {}

  async load(): Promise<void> {
    try {
      const list = await this.api.signatures();
      this.state = { kind: 'here', list: [...list].sort((a, b) => b.last_seen_at - a.last_seen_at) };
    } catch (cause) {
      if (this.state.kind !== 'here') this.state = { kind: 'failed', message: messageOf(cause) };
    }
  }
}

/** The one that a run failed with. */
export function signatureOf(list: readonly Signature[], run: string): Signature | null {
  return list.find((signature) => signature.runs.some((one) => one.deployment_id === run)) ?? null;
}

/** By every word, anywhere in what it says and where it was seen. */
export function filtered(list: readonly Signature[], find: string): readonly Signature[] {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return list;
  return list.filter((signature) => {
    const text = [signature.title, ...signature.consoles, ...signature.templates].join(' ').toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

export interface TitlePart {
  text: string;
  varies: boolean;
}

/** A title's own words, and the places where it varies (`<*>`). */
export function titleParts(title: string): TitlePart[] {
  return title
    .split(/(<\*>)/)
    .filter((text) => text !== '')
    .map((text) => ({ text, varies: text === '<*>' }));
}

/** A query that finds its lines: the longest stretches of words that do not vary, at most three. */
export function queryFor(title: string): string {
  const fixed = title
    .split('<*>')
    .map((text) => text.replace(/["\\]/g, ' ').trim())
    .filter((text) => text.length > 2);
  const longest = [...fixed].sort((a, b) => b.length - a.length).slice(0, 3);
  return fixed
    .filter((text) => longest.includes(text))
    .map((text) => `"${text.replace(/\s+/g, ' ')}"`)
    .join(' ');
}
