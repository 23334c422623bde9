/** What is kept, as it is typed and as the collector takes it. Pure. */
import type { RetentionPolicy } from '../api/types';

export interface Fields {
  age: string;
  failedAge: string;
  size: string;
}
export type Wrong = { [field in keyof Fields]?: 'number' | 'order' };
export type Read = { kind: 'policy'; policy: RetentionPolicy } | { kind: 'wrong'; wrong: Wrong };

const GIGABYTE = 1e9;

export function fieldsOf(policy: RetentionPolicy): Fields {
  const text = (value: number | null): string => (value === null ? '' : String(value));
  return {
    age: text(policy.max_age_days),
    failedAge: text(policy.failed_age_days),
    size: policy.max_bytes === null ? '' : String(Math.round((policy.max_bytes / GIGABYTE) * 10) / 10),
  };
}

/** Empty does not limit. Days are whole; gigabytes may have one decimal. */
export function readFields(fields: Fields): Read {
  const wrong: Wrong = {};
  const number = (field: keyof Fields, pattern: RegExp): number | null => {
    const text = fields[field].trim().replace(/[, ]/g, '');
    if (text === '') return null;
    const value = Number(text);
    if (!pattern.test(text) || value <= 0 || !Number.isFinite(value)) wrong[field] = 'number';
    return value;
  };
  const age = number('age', /^\d{1,6}$/);
  const failedAge = number('failedAge', /^\d{1,6}$/);
  const size = number('size', /^\d{1,6}(\.\d)?$/);
  // failures are what one comes back to
  if (!wrong.age && !wrong.failedAge && failedAge !== null && (age === null || failedAge < age)) {
    wrong.failedAge = 'order';
  }
  if (Object.keys(wrong).length > 0) return { kind: 'wrong', wrong };
  return {
    kind: 'policy',
    policy: {
      max_age_days: age,
      max_bytes: size === null ? null : Math.round(size * GIGABYTE),
      failed_age_days: failedAge,
    },
  };
}

export function samePolicy(a: RetentionPolicy, b: RetentionPolicy): boolean {
  return (
    a.max_age_days === b.max_age_days &&
    a.max_bytes === b.max_bytes &&
    a.failed_age_days === b.failed_age_days
  );
}
