/** Passwords: one that nobody has to think up, and why one does not fit, in the collector's own measures. */

/** As the collector has it. */
export const SHORTEST = 10;
/** Lower case and digits that are not taken for one another; 32 of them, so that a byte gives one without favour. */
const LETTERS = '23456789abcdefghijkmnpqrstuvwxyz';
const GROUPS = 4;
const IN_GROUP = 4;

/** A short login may stand in what is made, by chance. */
const TRIES = 200;

/** Eighty random bits, to be read out and typed; without the login in it, where there is such a one. */
export function generated(login = ''): string {
  let made = random();
  for (let i = 0; i < TRIES && unfit(made, login) !== null; i++) made = random();
  return made;
}

function random(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(GROUPS * IN_GROUP));
  const letters = [...bytes].map((byte) => LETTERS[byte % LETTERS.length]).join('');
  return letters.match(new RegExp(`.{${IN_GROUP}}`, 'g'))!.join('-');
}

/** What the collector would say no to. */
export type Unfit = 'short' | 'login' | 'plain';

export function unfit(password: string, login: string): Unfit | null {
  if ([...password].length < SHORTEST) return 'short';
  const lower = password.toLowerCase();
  if (login !== '' && lower.includes(login.trim().toLowerCase())) return 'login';
  return new Set(lower).size < 5 ? 'plain' : null;
}
