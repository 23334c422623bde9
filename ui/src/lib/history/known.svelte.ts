/** Consoles and templates that the pickers offer: of the runs that are shown now, and of the latest that are stored. */
import type { Api } from '../api/client';
import type { DeploymentSummary } from '../api/types';
import type { Fleet } from '../live/fleet.svelte';

const LATEST = 500;

export class KnownRuns {
  private stored = $state.raw<readonly DeploymentSummary[]>([]);
  private asked = false;

  /** Newest first. */
  readonly runs = $derived.by(() => {
    const byId = new Map(this.stored.map((run) => [run.id, run]));
    for (const run of this.fleet.deployments) byId.set(run.id, run);
    return [...byId.values()].sort((a, b) => b.started_at - a.started_at);
  });
  readonly consoles = $derived(names(this.runs.map((run) => run.name)));
  readonly templates = $derived(names(this.runs.map((run) => run.template)));

  constructor(
    private readonly api: Api,
    private readonly fleet: Fleet,
  ) {}

  /** Once is enough: what starts from now on comes with the fleet. */
  async load(): Promise<void> {
    if (this.asked) return;
    this.asked = true;
    try {
      this.stored = (await this.api.deployments({ limit: LATEST })).deployments;
    } catch {
      // the pickers offer what the fleet knows, and any name can be typed
      this.asked = false;
    }
  }
}

/** "Bay 2" before "Bay 12". */
function names(all: readonly string[]): string[] {
  return [...new Set(all.filter((name) => name !== ''))].sort((a, b) =>
    a.localeCompare(b, 'en', { numeric: true }),
  );
}
