/** The few facts about a console worth a glance beside its log. */
import type { DeploymentDetail, SystemContext } from '../api/types';
import { bytes } from '../shared/format';
import { t } from '../shared/strings';

/** The first of some paths that holds something; arrays are entered at their first item. */
export function pick(context: SystemContext, ...paths: string[]): string | number | boolean | null {
  for (const path of paths) {
    let value: unknown = context;
    for (const key of path.split('.')) {
      if (Array.isArray(value)) value = value[0];
      value =
        typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
    }
    if (typeof value === 'string' && value.trim() !== '') return value.trim();
    if (typeof value === 'number' || typeof value === 'boolean') return value;
  }
  return null;
}

function joined(...parts: (string | null)[]): string | null {
  const some = parts.filter((part): part is string => part !== null && part !== '');
  return some.length === 0 ? null : some.join(' · ');
}

function size(value: string | number | boolean | null): string | null {
  return typeof value === 'number' ? bytes(value) : null;
}

function text(value: string | number | boolean | null): string | null {
  return value === null ? null : String(value);
}

function list(context: SystemContext, group: string, field: string): unknown[] {
  const held = context[group];
  const value = typeof held === 'object' && held !== null ? (held as Record<string, unknown>)[field] : null;
  return Array.isArray(value) ? value : [];
}

function kernelOf(context: SystemContext): string | null {
  const kernel = text(pick(context, 'system.kernel'));
  return kernel === null ? null : `kernel ${kernel}`;
}

function health(context: SystemContext): string | null {
  const passed = pick(context, 'disk_health.smart_passed');
  return passed === null ? null : passed === true ? 'SMART good' : 'SMART failing';
}

export function shortFacts(detail: DeploymentDetail): string[] {
  const { context } = detail;
  const facts: (string | null)[] = [];
  if (context) {
    const free = size(pick(context, 'filesystems.free_bytes'));
    const secure = pick(context, 'system.secure_boot.enabled');
    const speed = pick(context, 'links.speed_mbps');
    const pending = pick(context, 'packages.pending_updates');
    const broken = list(context, 'packages', 'broken').length;
    facts.push(
      detail.summary.hardware,
      joined(text(pick(context, 'system.vendor')), text(pick(context, 'system.model'))),
      joined(text(pick(context, 'gpus.name', 'gpus.model'))),
      joined(free === null ? null : `${free} free`, health(context)),
      secure === null ? null : `Secure Boot ${secure === true ? 'on' : 'off'}`,
      joined(text(pick(context, 'system.os')), null),
      joined(kernelOf(context)),
      typeof speed === 'number' ? `${speed >= 1000 ? `${speed / 1000} Gb/s` : `${speed} Mb/s`} link` : null,
      broken > 0 ? `${broken} broken packages` : null,
      typeof pending === 'number' && pending > 0 ? `${pending} updates pending` : null,
    );
  } else {
    facts.push(detail.summary.hardware);
  }
  if (detail.latency_us !== null && detail.latency_us !== undefined) {
    facts.push(t.deployment.latency((detail.latency_us / 1000).toFixed(1)));
  }
  if (detail.clock_offset_us !== null && Math.abs(detail.clock_offset_us ?? 0) > 2_000_000) {
    facts.push(t.deployment.clockOff(((detail.clock_offset_us ?? 0) / 1e6).toFixed(0)));
  }
  const masked = Object.values(detail.summary.masked).reduce((sum, count) => sum + count, 0);
  if (masked > 0) facts.push(t.deployment.masked(masked, detail.summary.masked_at_ingest));
  return [...new Set(facts.filter((fact): fact is string => fact !== null))];
}
