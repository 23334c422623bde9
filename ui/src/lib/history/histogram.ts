/** The geometry of matches over time, and the range that is chosen in it. Pure. */
import type { Histogram } from '../api/types';

export interface Bar {
  index: number;
  x: number;
  width: number;
  /** Heights in pixels; errors stand at the bottom of what matched. */
  matched: number;
  errors: number;
}

/** What is there is seen, also a single match beside ten thousand. */
const LEAST_PX = 2;
/** A stretch with few buckets has bars, not walls. */
const WIDEST_PX = 32;

export function bars(histogram: Histogram, width: number, height: number): Bar[] {
  const { matched, errors } = histogram;
  const most = Math.max(1, ...matched);
  const step = width / Math.max(1, matched.length);
  const wide = Math.max(1, Math.min(WIDEST_PX, step - (step >= 4 ? 1 : 0)));
  const out: Bar[] = [];
  matched.forEach((count, index) => {
    if (count === 0) return;
    const tall = Math.max(LEAST_PX, (count / most) * height);
    const bad = errors[index] ?? 0;
    out.push({
      index,
      x: index * step + (step > WIDEST_PX ? (step - wide) / 2 : 0),
      width: wide,
      matched: tall,
      errors: bad === 0 ? 0 : Math.max(LEAST_PX, (bad / count) * tall),
    });
  });
  return out;
}

export function bucketAt(x: number, width: number, buckets: number): number {
  if (width <= 0) return 0;
  return Math.max(0, Math.min(buckets - 1, Math.floor((x / width) * buckets)));
}

const SECOND_US = 1e6;
const MINUTE_US = 60e6;

/** From the start of one bucket to the end of another, widened to whole seconds, or to minutes where buckets are long. */
export function rangeOf(histogram: Histogram, a: number, b: number): { after: number; before: number } {
  const { from, width_us: width } = histogram;
  const grain = width >= 5 * MINUTE_US ? MINUTE_US : SECOND_US;
  const first = Math.min(a, b);
  const last = Math.max(a, b);
  return {
    after: Math.floor((from + first * width) / grain) * grain,
    before: Math.ceil((from + (last + 1) * width) / grain) * grain,
  };
}

export function sumOf(histogram: Histogram, a: number, b: number): { matched: number; errors: number } {
  let matched = 0;
  let errors = 0;
  for (let i = Math.min(a, b); i <= Math.max(a, b); i++) {
    matched += histogram.matched[i] ?? 0;
    errors += histogram.errors[i] ?? 0;
  }
  return { matched, errors };
}
