/** What is of several venues, as it was chosen to be shown. Pure. */
import type { Venue } from '../api/types';
import type { View } from './venues.svelte';

export interface Part<T> {
  /** Null: they are mixed. */
  venue: Venue | null;
  items: readonly T[];
}

/** `isIn` tells whose something is. Venues where nothing is are left out; those that `first` picks come first. */
export function parts<T>(
  items: readonly T[],
  view: View,
  venues: readonly Venue[],
  isIn: (item: T, venue: Venue) => boolean,
  first: (item: T) => boolean,
): Part<T>[] {
  if (view.kind === 'mixed') return [{ venue: null, items }];
  if (view.kind === 'only') {
    const venue = venues.find(({ id }) => id === view.venue);
    return [{ venue: null, items: venue ? items.filter((item) => isIn(item, venue)) : items }];
  }
  const all = venues.map((venue) => ({ venue, items: items.filter((item) => isIn(item, venue)) }));
  const urgent = (part: Part<T>) => Number(part.items.some(first));
  return all.filter((part) => part.items.length > 0).sort((a, b) => urgent(b) - urgent(a));
}
