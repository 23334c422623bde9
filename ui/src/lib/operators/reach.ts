/** What somebody may do, and where, in words. Pure. */
import type { Person, Venue } from '../api/types';
import { t } from '../shared/strings';
import { atLeast } from './roles';

const word = (role: string) => t.roles.names[role] ?? role;

/** One line for the role in all venues and one for each in which they may do more. Without venues just the role. */
export function reach({ role, everywhere, venues }: Person, known: readonly Venue[]): string[] {
  if (known.length === 0) return [word(role)];
  const single = Object.entries(venues)
    .filter(([, more]) => everywhere === null || !atLeast(everywhere, more))
    .map(([id, more]) => ({ more, name: known.find((one) => one.id === id)?.name }))
    .sort((a, b) => (a.name ?? '').localeCompare(b.name ?? '', 'en', { numeric: true }))
    .map(({ more, name }) => t.venues.reach(word(more), name ?? t.venues.unknownVenue));
  return everywhere === null ? single : [t.venues.reachAll(word(everywhere)), ...single];
}
