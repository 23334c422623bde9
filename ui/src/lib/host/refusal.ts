import { HostRefused, HostUnreachable, type HostResponse } from './types';

/** What the collector said no with; where it only could not, trying again may help. */
export function refusal(answer: HostResponse): Error {
  let said: { code?: string; message?: string } = {};
  try {
    said = (JSON.parse(answer.body) as { error?: typeof said }).error ?? {};
  } catch {
    // not in the collector's own words
  }
  const message = said.message ?? `the collector answered ${answer.status}`;
  if (answer.status >= 500) return new HostUnreachable(message);
  const wait = Number(answer.headers['retry-after'] ?? Number.NaN);
  return new HostRefused(message, said.code, Number.isFinite(wait) ? wait : null);
}
