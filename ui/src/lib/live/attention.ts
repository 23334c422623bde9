/** Which deployments need the operator, and why. Pure, so that every case has a test. */
import type { DeploymentSummary, Micros, Phase } from '../api/types';
import type { Tone } from '../shared/StateMark.svelte';

export type Reason = 'failed' | 'interrupted' | 'offline' | 'silent';
export type Section = 'needs-you' | 'running' | 'finished';

/** A failure older than this is history, not a call to act. */
const FAILURE_MATTERS_US = 12 * 3600 * 1e6;
/** Slower than usual: half as long again, and by more than noise. */
const SLOW_FACTOR = 1.5;
const SLOW_AT_LEAST_US = 10 * 1e6;

export function hasEnded(deployment: DeploymentSummary): boolean {
  return deployment.outcome !== null || deployment.finished_at !== null;
}

export function currentPhase(deployment: DeploymentSummary): Phase | null {
  const { current_phase: index, phases } = deployment;
  return index === null ? null : (phases.find((phase) => phase.index === index) ?? null);
}

export function reasonFor(
  deployment: DeploymentSummary,
  now: Micros,
  dismissed: ReadonlySet<string>,
): Reason | null {
  if (hasEnded(deployment)) {
    const { outcome } = deployment;
    if (outcome !== 'failed' && outcome !== 'interrupted') return null;
    if (dismissed.has(deployment.id)) return null;
    const ended = deployment.finished_at ?? deployment.updated_at;
    if (now - ended > FAILURE_MATTERS_US) return null;
    return outcome === 'failed' ? 'failed' : 'interrupted';
  }
  if (deployment.presence.kind === 'offline') return 'offline';
  if (deployment.presence.kind === 'silent') return 'silent';
  return null;
}

export function sectionOf(
  deployment: DeploymentSummary,
  now: Micros,
  dismissed: ReadonlySet<string>,
): Section {
  if (reasonFor(deployment, now, dismissed)) return 'needs-you';
  return hasEnded(deployment) ? 'finished' : 'running';
}

/** How long the running phase has taken, when that is unusually long; null otherwise. */
export function slowPhase(deployment: DeploymentSummary, now: Micros): { usual: number; now: number } | null {
  if (hasEnded(deployment)) return null;
  const phase = currentPhase(deployment);
  if (!phase || phase.usual_us === null || phase.state !== 'running') return null;
  const taken = now - phase.started_at;
  const limit = Math.max(phase.usual_us * SLOW_FACTOR, phase.usual_us + SLOW_AT_LEAST_US);
  return taken > limit ? { usual: phase.usual_us, now: taken } : null;
}

export function toneOf(deployment: DeploymentSummary): Tone {
  switch (deployment.outcome) {
    case 'succeeded':
      return 'good';
    case 'failed':
    case 'interrupted':
      return 'failed';
    case 'cancelled':
      return 'offline';
    case null:
      break;
    default:
      return 'offline';
  }
  if (deployment.presence.kind === 'offline') return 'offline';
  if (deployment.presence.kind === 'silent') return 'attention';
  return 'running';
}

/** The same from the state alone, where nothing is known of the link. */
export function stateTone(state: string): Tone {
  switch (state) {
    case 'succeeded':
      return 'good';
    case 'failed':
    case 'interrupted':
      return 'failed';
    case 'cancelled':
      return 'offline';
    default:
      return 'running';
  }
}

export function phaseTone(phase: Phase): Tone {
  switch (phase.state) {
    case 'running':
      return 'running';
    case 'succeeded':
      return 'good';
    case 'warned':
      return 'attention';
    case 'failed':
    case 'interrupted':
      return 'failed';
    case 'skipped':
      return 'offline';
    default:
      return 'pending';
  }
}

/**
 * How much of a phase is done. Known progress first, else the share of its usual time (never quite
 * full), else null: it runs, and nobody can honestly say how far it is.
 */
export function phaseFraction(phase: Phase, now: Micros): number | null {
  if (phase.state === 'pending') return 0;
  if (phase.state !== 'running') {
    if (phase.state === 'failed' || phase.state === 'interrupted') {
      if (phase.progress !== null) return Math.max(0.04, phase.progress);
      if (phase.usual_us && phase.finished_at !== null) {
        return Math.min(1, Math.max(0.04, (phase.finished_at - phase.started_at) / phase.usual_us));
      }
    }
    return 1;
  }
  if (phase.progress !== null) return Math.min(1, Math.max(0, phase.progress));
  if (phase.usual_us) return Math.min(0.95, Math.max(0.02, (now - phase.started_at) / phase.usual_us));
  return null;
}

/** Relative widths of the phases in one bar: by usual time where known, bounded so none disappears. */
export function phaseWeights(phases: readonly Phase[]): number[] {
  const usual = phases.map((phase) => phase.usual_us);
  const known = usual.filter((value): value is number => value !== null && value > 0);
  if (known.length === 0) return phases.map(() => 1);
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  return usual.map((value) => Math.min(4, Math.max(0.4, (value ?? mean) / mean)));
}

/** Whether a failure's message only says how the process ended, and not what went wrong. */
export function isBareExit(message: string): boolean {
  return (
    message.trim() === '' ||
    /^(exit( code)? \d+|(killed by )?(signal \d+|SIG[A-Z0-9]+).*)$/i.test(message.trim())
  );
}
