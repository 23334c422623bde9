/** How a console stands and does, as the operator reads it. Pure, so that every case has a test. */
import type { Console, Health, Invitation, JoinState, Micros } from '../api/types';
import type { Tone } from '../shared/StateMark.svelte';
import { t } from '../shared/strings';

/** Locked consoles need someone; removed ones are only remembered. */
export type Group = 'locked' | 'here' | 'removed';

/** Less than half a second is what a measured clock is uncertain by; a second shows in logs. */
const CLOCK_MATTERS_US = 1_000_000;
/** A certificate is renewed at half of its seven days; with a day left something keeps the console from it. */
const CERTIFICATE_MATTERS_US = 24 * 3600 * 1e6;
const FULL = 0.9;

export function groupOf(console: Console): Group {
  if (console.standing === 'locked') return 'locked';
  return console.standing === 'revoked' ? 'removed' : 'here';
}

export function standingTone(standing: string): Tone {
  switch (standing) {
    case 'enrolled':
      return 'good';
    case 'locked':
      return 'failed';
    case 'revoked':
      return 'offline';
    default:
      return 'pending';
  }
}

export function standingWord(standing: string): string {
  return t.consoles.standing[standing] ?? standing;
}

/** What the consoles of a fleet do together; removed ones are not of it any more. */
export function counted(consoles: readonly Console[]): { here: number; linked: number; locked: number } {
  const there = consoles.filter((console) => groupOf(console) !== 'removed');
  return {
    here: there.length,
    linked: there.filter((console) => console.linked_since !== null).length,
    locked: there.filter((console) => groupOf(console) === 'locked').length,
  };
}

const byName = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

/** Bay 2 before Bay 12. */
export function compareNames(a: Console, b: Console): number {
  return byName.compare(a.name, b.name) || (a.id < b.id ? -1 : 1);
}

/** Every word typed is somewhere in what the row says. */
export function matching(consoles: readonly Console[], typed: string): Console[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  return consoles.filter((console) => {
    const { name, venue, template, agent_version: version, standing } = console;
    const link = console.linked_since === null ? t.consoles.away : t.consoles.linked;
    const said = [name, venue, template, version, standingWord(standing), link].join(' ').toLowerCase();
    return words.every((word) => said.includes(word));
  });
}

export interface Share {
  /** Of the whole, 0 to 1. */
  used: number;
  used_bytes: number;
  bytes: number;
  full: boolean;
}

function share(whole: number | undefined, free: number | undefined): Share | null {
  if (!whole || free === undefined) return null;
  const used_bytes = Math.max(0, whole - free);
  const used = Math.min(1, used_bytes / whole);
  return { used, used_bytes, bytes: whole, full: used >= FULL };
}

export function memoryOf(health: Health): Share | null {
  return share(health.memory_bytes, health.memory_available_bytes);
}

export function diskOf(health: Health): Share | null {
  return share(health.disk_bytes, health.disk_free_bytes);
}

/** How far its clock is off, when that matters: positive is ahead. */
export function clockOff(health: Health | null): Micros | null {
  const ahead = health?.clock_ahead_us ?? 0;
  return Math.abs(ahead) > CLOCK_MATTERS_US ? ahead : null;
}

export type Certificate =
  { kind: 'none' } | { kind: 'good' | 'ending'; leftUs: number } | { kind: 'ended'; at: Micros };

/** A certificate only matters while its console may use it. */
export function certificateOf(console: Console, now: Micros): Certificate {
  const { certificate_ends_at: ends } = console;
  if (ends === null || console.standing !== 'enrolled') return { kind: 'none' };
  const leftUs = ends - now;
  if (leftUs <= 0) return { kind: 'ended', at: ends };
  return { kind: leftUs < CERTIFICATE_MATTERS_US ? 'ending' : 'good', leftUs };
}

/** Orders reach only consoles that are linked, and only those that were added. */
export function takesOrders(console: Console): boolean {
  return console.standing === 'enrolled' && console.linked_since !== null;
}

/** What never was added or is removed already has nothing that could be taken from it. */
export function canBeRemoved(console: Console): boolean {
  return console.standing === 'enrolled' || console.standing === 'locked';
}

export function codeTone(state: string): Tone {
  switch (state) {
    case 'open':
      return 'running';
    case 'used':
      return 'good';
    default:
      return 'offline';
  }
}

/** A code ends by itself between two looks at the collector. */
export function codeState(code: Invitation, now: Micros): JoinState {
  return code.state === 'open' && code.expires_at <= now ? 'expired' : code.state;
}
