/**
 * From the agent's system context to facts: a few short ones to glance at, and all of them in groups
 * to search. The context's shape belongs to the agent and may grow, so nothing here requires a
 * field; what is unknown is shown as it came.
 */
import type { SystemContext } from '../api/types';
import { bytes, duration } from '../shared/format';

export interface Fact {
  group: string;
  name: string;
  value: string;
}

/** Deeper or larger than this is not a fact any more. */
const MOST_FACTS = 2000;
const DEEPEST = 8;

export function words(key: string): string {
  const spaced = key
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .replaceAll('_', ' ')
    .trim();
  const short: Record<string, string> = {
    cpu: 'CPU',
    gpu: 'GPU',
    gpus: 'GPUs',
    mhz: 'MHz',
    mbps: 'Mb/s',
    os: 'OS',
    usb: 'USB',
    nfc: 'NFC',
    dns: 'DNS',
    id: 'ID',
    mac: 'MAC',
    ip: 'IP',
    us: 'µs',
    ms: 'ms',
    smart: 'SMART',
  };
  const named = spaced
    .split(' ')
    .map((word) => short[word.toLowerCase()] ?? word)
    .join(' ');
  return named.charAt(0).toUpperCase() + named.slice(1);
}

/** `free_bytes` is "Free": the value already says that it is a size. */
function named(key: string): string {
  return words(key.replace(/_(bytes|seconds|us|percent)$/, '')) || words(key);
}

function show(key: string, value: unknown): string {
  if (value === null || value === undefined) return 'unknown';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'number') {
    if (key.endsWith('bytes')) return bytes(value);
    if (key.endsWith('_seconds')) return value < 60 ? `${value} s` : duration(value * 1e6);
    if (key.endsWith('_us')) return `${(value / 1000).toFixed(1)} ms`;
    if (key.endsWith('_percent')) return `${value} %`;
    return String(value);
  }
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

/** `path` holds words ready to be shown; `key` is the field's own name, which tells its unit. */
export function factsOf(context: SystemContext): Fact[] {
  const facts: Fact[] = [];
  const walk = (group: string, path: string[], key: string, value: unknown, depth: number): void => {
    if (facts.length >= MOST_FACTS) return;
    const name = path.join(' · ') || group;
    if (Array.isArray(value)) {
      if (value.every((item) => item === null || typeof item !== 'object')) {
        const shown = value.length === 0 ? 'none' : value.map((item) => show(key, item)).join(', ');
        facts.push({ group, name, value: shown });
        return;
      }
      value.forEach((item, index) =>
        walk(group, [...path, nameOf(item) ?? String(index + 1)], key, item, depth + 1),
      );
      return;
    }
    if (typeof value === 'object' && value !== null && depth < DEEPEST) {
      for (const [inner, held] of Object.entries(value)) {
        walk(group, [...path, named(inner)], inner, held, depth + 1);
      }
      return;
    }
    facts.push({ group, name, value: show(key, value) });
  };
  for (const [key, value] of Object.entries(context)) {
    if (typeof value === 'object' && value !== null) walk(words(key), [], key, value, 1);
    else walk('General', [named(key)], key, value, 1);
  }
  return facts;
}

function nameOf(item: unknown): string | null {
  if (typeof item !== 'object' || item === null) return null;
  const record = item as Record<string, unknown>;
  for (const key of ['name', 'place', 'device', 'mount', 'mount_point', 'model', 'path', 'address', 'id']) {
    const value = record[key];
    if (typeof value === 'string' && value !== '') return value;
  }
  return null;
}

export function grouped(facts: readonly Fact[], find: string): { group: string; facts: Fact[] }[] {
  const terms = find.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map<string, Fact[]>();
  for (const fact of facts) {
    const text = `${fact.group} ${fact.name} ${fact.value}`.toLowerCase();
    if (!terms.every((term) => text.includes(term))) continue;
    const group = groups.get(fact.group);
    if (group) group.push(fact);
    else groups.set(fact.group, [fact]);
  }
  return [...groups].map(([group, found]) => ({ group, facts: found }));
}
