/** One deployment as the collector knows it, kept by the `deployment` subscription. */
import type { Refusal, DeploymentDelta, DeploymentDetail } from '../api/types';
import type { LiveConnection, Subscription } from '../connection/connection.svelte';

export type Loaded =
  { kind: 'loading' } | { kind: 'here'; detail: DeploymentDetail } | { kind: 'missing'; error: Refusal };

/** As many events as the collector itself sends at the start. */
const EVENTS_KEPT = 500;

export class OpenDeployment {
  state = $state.raw<Loaded>({ kind: 'loading' });
  private readonly subscription: Subscription;

  constructor(connection: LiveConnection, id: string) {
    this.subscription = connection.subscribe<DeploymentDetail, DeploymentDelta>(
      { topic: 'deployment', deployment_id: id },
      {
        snapshot: (detail) => (this.state = { kind: 'here', detail }),
        delta: (delta) => {
          if (this.state.kind !== 'here') return;
          const { detail } = this.state;
          this.state = {
            kind: 'here',
            detail: {
              ...detail,
              summary: delta.summary ?? detail.summary,
              events: [...detail.events, ...(delta.events ?? [])].slice(-EVENTS_KEPT),
            },
          };
        },
        error: (error) => {
          if (this.state.kind !== 'here') this.state = { kind: 'missing', error };
        },
      },
    );
  }

  close(): void {
    this.subscription.close();
  }
}
