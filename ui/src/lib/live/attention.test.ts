import { describe, expect, it } from 'vitest';
import type { DeploymentSummary } from '../api/types';
import { NOW, phase, summary } from '../../test/fixtures';
import {
  isBareExit,
  phaseFraction,
  phaseWeights,
  reasonFor,
  sectionOf,
  slowPhase,
  toneOf,
} from './attention';

const none = new Set<string>();
const failed = (agoUs: number) => summary({ state: 'failed', outcome: 'failed', finished_at: NOW - agoUs });

describe('who needs the operator', () => {
  it('a recent failure, until it is dismissed or old', () => {
    expect(sectionOf(failed(60e6), NOW, none)).toBe('needs-you');
    expect(sectionOf(failed(60e6), NOW, new Set([failed(0).id]))).toBe('finished');
    expect(sectionOf(failed(13 * 3600e6), NOW, none)).toBe('finished');
  });

  it('a console that went away or silent, but not one that is merely behind', () => {
    const presence = (kind: 'offline' | 'silent' | 'behind') =>
      summary({ presence: { kind, since_at: NOW, waiting_records: 7 } });
    expect(reasonFor(presence('offline'), NOW, none)).toBe('offline');
    expect(reasonFor(presence('silent'), NOW, none)).toBe('silent');
    expect(reasonFor(presence('behind'), NOW, none)).toBeNull();
    expect(toneOf(presence('offline'))).toBe('offline');
  });

  it('states of a newer collector disturb nothing', () => {
    const presence = { kind: 'teleported', since_at: NOW, waiting_records: null };
    const strange = summary({ state: 'replicating', presence } as unknown as Partial<DeploymentSummary>);
    expect(sectionOf(strange, NOW, none)).toBe('running');
    expect(toneOf(strange)).toBe('running');
  });
});

describe('phases', () => {
  it('are slow only well beyond their usual time', () => {
    const at = (usual: number) =>
      slowPhase(summary({ phases: [phase({ usual_us: usual })], current_phase: 0 }), NOW);
    expect(at(55e6)).toBeNull();
    expect(at(30e6)).toEqual({ usual: 30e6, now: 60e6 });
  });

  it('never claim progress that nobody knows', () => {
    expect(phaseFraction(phase(), NOW)).toBeNull();
    expect(phaseFraction(phase({ progress: 0.4 }), NOW)).toBe(0.4);
    expect(phaseFraction(phase({ usual_us: 10e6 }), NOW)).toBe(0.95);
    expect(phaseFraction(phase({ state: 'pending' }), NOW)).toBe(0);
    expect(phaseFraction(phase({ state: 'succeeded' }), NOW)).toBe(1);
  });

  it('all stay visible in the bar', () => {
    const weights = phaseWeights([phase({ usual_us: 1 }), phase({ usual_us: 1e9 }), phase()]);
    expect(Math.min(...weights)).toBeGreaterThanOrEqual(0.4);
    expect(Math.max(...weights)).toBeLessThanOrEqual(4);
  });
});

it('tells an exit code from a reason', () => {
  for (const bare of ['', 'exit 100', 'exit code 1', 'SIGKILL', 'killed by SIGTERM', 'signal 9']) {
    expect(isBareExit(bare), bare).toBe(true);
  }
  expect(isBareExit('exit 100: package cannot be installed')).toBe(false);
  expect(isBareExit('modprobe: ERROR')).toBe(false);
});
