/**
 * Logs next to each other on one clock: the one that the operator moves leads, the others follow to the same moment.
 *
 * Only what the operator does makes a log the leader, so that following never leads back.
 */
import { SvelteMap } from 'svelte/reactivity';
import type { Api } from '../api/client';
import type { LiveConnection } from '../connection/connection.svelte';
import { hasEnded } from '../live/attention';
import { Side, type Zero } from './side.svelte';

export class Together {
  readonly sides = new SvelteMap<string, Side>();
  leader = $state<string | null>(null);

  constructor(
    private readonly api: Api,
    private readonly connection: LiveConnection,
  ) {}

  /** Opens what is new and closes what has gone. */
  show(runs: readonly string[]): void {
    for (const [id, side] of this.sides) {
      if (runs.includes(id)) continue;
      side.close();
      this.sides.delete(id);
      if (this.leader === id) this.leader = null;
    }
    for (const id of runs) {
      if (this.sides.has(id)) continue;
      // it outlives the effect that may have asked for it
      $effect.root(() => {
        this.sides.set(id, new Side(this.api, this.connection, id));
      });
    }
  }

  lead(id: string): void {
    this.leader = id;
  }

  /** Moves the others to where the leader is. */
  align(zero: Zero): void {
    const leader = this.leader === null ? undefined : this.sides.get(this.leader);
    if (!leader || leader.at === null) return;
    const moment = leader.relative(leader.at, zero);
    for (const side of this.sides.values()) {
      if (side === leader) continue;
      const live = side.summary !== null && !hasEnded(side.summary);
      if (zero === 'time' && leader.viewer.following && live) side.viewer.follow();
      else side.goTo(moment, zero);
    }
  }

  close(): void {
    for (const side of this.sides.values()) side.close();
    this.sides.clear();
  }
}
