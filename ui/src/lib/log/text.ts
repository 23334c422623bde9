/** Text of a hostile origin made safe to look at, and small words about rows. */
import type { Phase, Row } from '../api/types';
import type { TimeMode } from '../shared/preferences.svelte';
import { clockTimeMillis, offset } from '../shared/format';

/** What acts, hides or reorders; `protocol/src/rows/visible.rs` is the same for exports and terminals. */
const HIDES =
  /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/**
 * Control characters, direction overrides and what is not seen at all become visible signs of the same length, so that a
 * line cannot hide or reorder what it says and all offsets stay right.
 */
export function visibleControls(text: string): string {
  return text.replace(HIDES, (character) => {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '␡' : '�'.repeat(character.length);
  });
}

export function timeOf(row: Row, mode: TimeMode, startedAt: number, phases: readonly Phase[]): string {
  if (mode === 'absolute') return clockTimeMillis(row.at);
  if (mode === 'phase' && row.phase !== null) {
    const phase = phases.find((candidate) => candidate.index === row.phase);
    if (phase) return offset(row.at - phase.started_at);
  }
  return offset(row.at - startedAt);
}

/** Operators count lines from one; the wire counts rows from zero. */
export function lineNumber(row: number): number {
  return row + 1;
}
