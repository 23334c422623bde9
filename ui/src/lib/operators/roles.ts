/** Roles, from the one that may least. A role of a newer collector counts as the one that may least. Pure. */
import type { Role } from '../api/types';

export const ROLES: readonly Role[] = ['viewer', 'operator', 'tournament_director', 'admin'];

export function atLeast(role: Role, wanted: Role): boolean {
  return Math.max(0, ROLES.indexOf(role)) >= ROLES.indexOf(wanted);
}

/** Those that somebody may hand on. */
export function upTo(role: Role): readonly Role[] {
  return ROLES.filter((one) => atLeast(role, one));
}
