/** How numbers, sizes, durations and times read. Pure; the locale is English until there are more. */

const integer = new Intl.NumberFormat('en-US');

export function count(value: number): string {
  return integer.format(value);
}

export function plural(value: number, one: string, many: string): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `9,870`, then `123 k`, `4.1 M`, `2.0 G`: counts that are only told to give a size. */
export function roughly(value: number): string {
  if (value < 100_000) return count(value);
  const units = ['k', 'M', 'G'];
  let scaled = value / 1000;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let scaled = value;
  let unit = -1;
  do {
    scaled /= 1000;
    unit++;
  } while (scaled >= 999.5 && unit < units.length - 1);
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

/** `0:04`, `12:31`, `2:03:09`. Never negative. */
export function duration(us: number): string {
  const seconds = Math.max(0, Math.floor(us / 1_000_000));
  const h = Math.floor(seconds / 3600);
  const m = Math.floor((seconds % 3600) / 60);
  const s = seconds % 60;
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** How long something took: `0.4 s` while short, then as `duration`. */
export function took(us: number): string {
  return us >= 0 && us < 9_950_000 ? `${(us / 1e6).toFixed(1)} s` : duration(us);
}

/** `just now`, `40 s ago`, `12 min ago`, `3 h ago`, then the date. */
export function ago(at: number, now: number): string {
  const seconds = Math.max(0, Math.floor((now - at) / 1_000_000));
  if (seconds < 5) return 'just now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return day(at, now);
}

/** About how long: `40 s`, `12 min`, `3 h`, `6 d`; whole units, rounded down. */
export function span(us: number): string {
  const seconds = Math.max(0, Math.floor(us / 1_000_000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** `18:42:07`, local time. */
export function clockTime(at: number): string {
  const date = new Date(at / 1000);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

/** `18:42:07.204`, local time. */
export function clockTimeMillis(at: number): string {
  return `${clockTime(at)}.${String(Math.floor(at / 1000) % 1000).padStart(3, '0')}`;
}

const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

/** `12 Nov 2026`. */
export function date(at: number): string {
  return dayFormat.format(new Date(at / 1000));
}

/** `today`, `yesterday`, or `12 Nov 2026`. */
export function day(at: number, now: number): string {
  const midnight = new Date(now / 1000);
  midnight.setHours(0, 0, 0, 0);
  const start = midnight.getTime() * 1000;
  if (at >= start) return 'today';
  if (at >= start - 86_400_000_000) return 'yesterday';
  return date(at);
}

export function dayTime(at: number, now: number): string {
  return `${day(at, now)} ${clockTime(at)}`;
}

/** `14:30` within a day or so, `26 Nov` within months, else with the year: what stands under an axis of that length. */
export function axisTime(at: number, spanUs: number): string {
  if (spanUs <= 36 * 3600 * 1e6) return clockTime(at).slice(0, spanUs < 600e6 ? 8 : 5);
  const text = dayFormat.format(new Date(at / 1000));
  return spanUs < 300 * 86_400e6 ? text.replace(/ \d{4}$/, '') : text;
}

/** Offset from a start, `+1:52.204`; earlier than the start reads `−0:00.310`. */
export function offset(us: number): string {
  const sign = us < 0 ? '−' : '+';
  const ms = Math.floor(Math.abs(us) / 1000);
  return `${sign}${duration(ms * 1000)}.${String(ms % 1000).padStart(3, '0')}`;
}

export function percent(fraction: number): string {
  return `${Math.floor(Math.min(1, Math.max(0, fraction)) * 100)} %`;
}

/** What a program says, as a sentence: a capital first, a full stop at its end. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return trimmed;
  return trimmed[0]!.toUpperCase() + trimmed.slice(1) + (/[.!?…]$/.test(trimmed) ? '' : '.');
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
