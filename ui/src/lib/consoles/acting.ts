/** Telling several consoles the same thing, and one sentence about how that went. */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { Console } from '../api/types';
import { HostRefused } from '../host';

/** What a row or a bar asks the screen to do; the screen asks back where that is due. */
export interface Acts {
  deploy(consoles: readonly Console[]): void;
  renew(consoles: readonly Console[]): void;
  remove(consoles: readonly Console[]): void;
  add(console: Console): void;
}

/** A browser has six connections to one collector; the rest of the page needs some too. */
const AT_ONCE = 4;

export interface Answered {
  console: Console;
  accepted: boolean;
  /** Its own words, or why it could not be asked. */
  message: string;
}

/**
 * Asks all of them, a few at a time; the answers stand in the order of the consoles. Rejects when nobody would show who sits there,
 * without asking for it once more for each of the others.
 */
export async function each(
  consoles: readonly Console[],
  ask: (console: Console) => Promise<{ accepted: boolean; message: string }>,
): Promise<Answered[]> {
  const answers: Answered[] = new Array(consoles.length);
  let next = 0;
  const worker = async () => {
    // Goal: every console is asked once. Ends when none is left.
    for (let at = next++; at < consoles.length; at = next++) {
      const console = consoles[at]!;
      try {
        answers[at] = { console, ...(await ask(console)) };
      } catch (cause) {
        if (cause instanceof HostRefused && cause.code === 'proof_needed') {
          next = consoles.length;
          throw cause;
        }
        answers[at] = { console, accepted: false, message: messageOf(cause) };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, consoles.length) }, worker));
  return answers;
}

export function revokeEach(api: Api, consoles: readonly Console[]): Promise<Answered[]> {
  return each(consoles, async (console) => {
    await api.revoke(console.id);
    return { accepted: true, message: '' };
  });
}
