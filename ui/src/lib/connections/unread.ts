/** What happened at a collector since somebody looked there. Pure; times are that collector's own, so no clocks are compared. */
import type { DeploymentSummary, Micros } from '../api/types';

export interface Unread {
  failed: number;
  finished: number;
}

export const NOTHING: Unread = { failed: 0, finished: 0 };

/** When the newest of them ended; 0 when none has. */
export function newestEnd(deployments: readonly DeploymentSummary[]): Micros {
  return deployments.reduce((newest, one) => Math.max(newest, one.finished_at ?? 0), 0);
}

/** What ended after `since`. */
export function unread(deployments: readonly DeploymentSummary[], since: Micros): Unread {
  const ended = deployments.filter((one) => (one.finished_at ?? 0) > since);
  const failed = ended.filter((one) => one.outcome === 'failed' || one.outcome === 'interrupted').length;
  return { failed, finished: ended.length - failed };
}
