/** How a connection is, from what the shell and the live socket say of it. Pure. */
import type { ConnectionState } from '../connection/connection.svelte';
import type { Connection } from '../host';
import type { Tone } from '../shared/StateMark.svelte';

export type Health = 'good' | 'connecting' | 'away' | 'login' | 'other-key';

/** The shell's code for a collector that answers with another key than the one that was compared. */
export const OTHER_KEY = 'other_key';

export function healthOf(connection: Connection, link: ConnectionState): Health {
  if (link.kind === 'refused') return link.code === OTHER_KEY ? 'other-key' : 'login';
  if (link.kind === 'live') return 'good';
  if (link.kind === 'connecting' || connection.state === 'starting') return 'connecting';
  return 'away';
}

const TONES: Record<Health, Tone> = {
  good: 'good',
  connecting: 'running',
  away: 'offline',
  login: 'attention',
  'other-key': 'failed',
};

export function toneOfHealth(health: Health): Tone {
  return TONES[health];
}
