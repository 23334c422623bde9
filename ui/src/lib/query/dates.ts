/** Dates as they are written in a query: local time, as the operator reads it everywhere else. */

/** Minutes east of UTC, here and at a moment (now, unless said). */
export function minutesEast(at = Date.now() * 1000): number {
  return -new Date(at / 1000).getTimezoneOffset();
}

/**
 * `2026-11-26 14:30`, with seconds where it needs them. A query is read with today's offset from UTC, so a moment of another
 * season says its own.
 */
export function queryDate(at: number, east = minutesEast): string {
  const offset = east(at);
  const local = new Date(at / 1000 + offset * 60_000).toISOString();
  const [date = '', time = ''] = local.split('T');
  const seconds = time.slice(5, 8);
  const clock = time.slice(0, 5) + (seconds === ':00' ? '' : seconds);
  return `${date} ${clock}${offset === east() ? '' : zone(offset)}`;
}

/** `2026-11-26`: the local day of a moment. */
export function queryDay(at: number): string {
  return queryDate(at).slice(0, 10);
}

function zone(minutes: number): string {
  const sign = minutes < 0 ? '-' : '+';
  const size = Math.abs(minutes);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${sign}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}
