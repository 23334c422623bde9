/** All deployments that matter now, kept by the `fleet` subscription: a snapshot, then changes. */
import type { DeploymentSummary, FleetDelta, FleetSnapshot } from '../api/types';
import type { LiveConnection, Subscription } from '../connection/connection.svelte';

export class Fleet {
  known = $state(false);
  private byId = $state.raw<ReadonlyMap<string, DeploymentSummary>>(new Map());
  /** Newest first. */
  readonly deployments = $derived(
    [...this.byId.values()].sort((a, b) => b.started_at - a.started_at || (a.id < b.id ? 1 : -1)),
  );
  private subscription: Subscription | null = null;

  constructor(private readonly connection: LiveConnection) {}

  start(): void {
    this.subscription = this.connection.subscribe<FleetSnapshot, FleetDelta>(
      { topic: 'fleet' },
      {
        snapshot: (data) => {
          this.byId = new Map(data.deployments.map((deployment) => [deployment.id, deployment]));
          this.known = true;
        },
        delta: (data) => {
          const next = new Map(this.byId);
          for (const id of data.removed ?? []) next.delete(id);
          for (const deployment of data.changed ?? []) next.set(deployment.id, deployment);
          this.byId = next;
        },
      },
    );
  }

  stop(): void {
    this.subscription?.close();
  }

  /** What is there is of another place than what will be told. */
  forget(): void {
    this.byId = new Map();
    this.known = false;
  }

  get(id: string): DeploymentSummary | undefined {
    return this.byId.get(id);
  }
}
