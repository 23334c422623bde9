/** What went wrong, in the collector's own sentence where there is one. */
import { HostRefused } from '../host';
import { t } from '../shared/strings';
import { ApiError } from './client';

export function messageOf(cause: unknown): string {
  return cause instanceof ApiError || cause instanceof HostRefused ? cause.message : t.log.noAnswer;
}
