/** One of the logs that stand next to each other, and how it is moved to a moment. */
import type { Api } from '../api/client';
import type { LiveConnection } from '../connection/connection.svelte';
import { OpenDeployment } from '../deployment/deployment.svelte';
import { hasEnded } from '../live/attention';
import { MarksOf } from '../log/marks.svelte';
import { Viewer } from '../log/viewer.svelte';
import { rowAt, TimeIndex } from './clock';

/** What moments are measured from: the collector's clock, or each run's own start. */
export type Zero = 'time' | 'start';

export class Side {
  readonly deployment: OpenDeployment;
  readonly viewer: Viewer;
  readonly minimap: MarksOf;

  readonly detail = $derived.by(() =>
    this.deployment.state.kind === 'here' ? this.deployment.state.detail : null,
  );
  readonly summary = $derived(this.detail?.summary ?? null);
  /** The moment at the top of this log, by the collector's clock; null while its row is on its way. */
  readonly at = $derived.by<number | null>(() => {
    void this.viewer.slots;
    const row = this.viewer.rowNow(this.viewer.topRow);
    return row ? row.at - this.aheadUs : null;
  });

  private readonly index = new TimeIndex();
  private wanted: number | null = null;
  private searching = false;
  private closed = false;
  opened = $state(false);

  constructor(
    private readonly api: Api,
    connection: LiveConnection,
    readonly id: string,
  ) {
    this.deployment = new OpenDeployment(connection, id);
    this.viewer = new Viewer(api, connection, id);
    this.minimap = new MarksOf(api, id);
  }

  /** How far the console's clock is ahead of the collector's. */
  get aheadUs(): number {
    return this.detail?.clock_offset_us ?? 0;
  }

  /** Begins at the failing line, or at the end. */
  open(): void {
    const { summary } = this;
    if (this.opened || !summary) return;
    this.opened = true;
    this.learn();
    this.viewer.setPhases(summary.phases);
    const failing = hasEnded(summary) ? (summary.failure?.row ?? null) : null;
    this.viewer.open(failing === null ? 'tail' : { row: failing }, summary.rows, !hasEnded(summary));
  }

  /** A moment relative to a zero. */
  relative(at: number, zero: Zero): number {
    return zero === 'time' ? at : at + this.aheadUs - (this.summary?.started_at ?? 0);
  }

  /** Shows what stood last at a moment: at once where it is guessed to be, then exactly. */
  goTo(moment: number, zero: Zero): void {
    const { summary, viewer } = this;
    if (!summary || !this.opened) return;
    const own = zero === 'time' ? moment + this.aheadUs : moment + summary.started_at;
    this.wanted = own;
    this.place(this.index.guess(own, viewer.total));
    if (!this.searching) void this.find();
  }

  close(): void {
    this.closed = true;
    this.deployment.close();
    this.minimap.close();
    this.viewer.close();
  }

  private async find(): Promise<void> {
    this.searching = true;
    try {
      while (this.wanted !== null && !this.closed) {
        const own = this.wanted;
        const row = await rowAt(this.index, own, this.viewer.total, async (from, count) => {
          const page = await this.api.rows(this.id, from, count);
          return page.rows;
        });
        if (own !== this.wanted) continue;
        this.wanted = null;
        if (!this.closed) this.place(row);
      }
    } catch {
      // the log stays where it was guessed to be; its own rows say when they cannot be loaded
      this.wanted = null;
    } finally {
      this.searching = false;
    }
  }

  private place(row: number): void {
    const { viewer } = this;
    const top = viewer.display.positionOf(row);
    if (Math.floor(viewer.top) !== top) viewer.scrollTo(top);
  }

  /** What the summary says of times is a first index of the log. */
  private learn(): void {
    const { summary } = this;
    if (!summary) return;
    this.index.learn(0, summary.started_at);
    for (const phase of summary.phases) {
      if (phase.state === 'pending') continue;
      this.index.learn(phase.first_row, phase.started_at);
      if (phase.finished_at !== null && phase.last_row !== null) {
        this.index.learn(phase.last_row, phase.finished_at);
      }
    }
  }
}
