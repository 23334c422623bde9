/** The minimap's errors and warnings, asked for again while the log grows. */
import type { Api } from '../api/client';
import type { Marks } from '../api/types';

const EVERY_MS = 2500;
const BUCKETS = 400;

export class MarksOf {
  marks = $state.raw<Marks | null>(null);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private total = -1;

  constructor(
    private readonly api: Api,
    private readonly id: string,
  ) {}

  /** The log has so many rows now. */
  grew(total: number): void {
    if (this.timer !== undefined || total === this.total || total === 0) return;
    this.timer = setTimeout(
      async () => {
        try {
          this.total = total;
          this.marks = await this.api.marks(this.id, BUCKETS);
        } catch {
          // the minimap waits for the next growth; the log itself says when lines cannot be loaded
        } finally {
          this.timer = undefined;
        }
      },
      this.marks === null ? 0 : EVERY_MS,
    );
  }

  close(): void {
    clearTimeout(this.timer);
  }
}
