/** A collector's address as people hand it on: typed, pasted with its pin, or as a `deckport://` link. Pure. */

export interface Pasted {
  /** What the shell looks at: `HOST:PORT`, a name, or the whole with its pin. */
  address: string;
  /** The key that the text promises. */
  pin: string | null;
}

/** Crockford's base 32: no letter that is taken for a digit or another letter. */
const LETTERS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const PIN = /^sha256\/\/[A-Za-z0-9+/]{43}=$/;

/** Null: there is nothing to look at. What else is wrong with it the shell says. */
export function pasted(text: string): Pasted | null {
  let address = text.trim();
  if (/^deckport:/i.test(address)) {
    let link: URL;
    try {
      link = new URL(address);
    } catch {
      return null;
    }
    if (link.host !== 'connect') return null;
    address = link.searchParams.get('to')?.trim() ?? '';
  }
  if (address === '' || /\s/.test(address)) return null;
  const pin = address.split('#', 2)[1] ?? '';
  return { address, pin: PIN.test(pin) ? pin : null };
}

export function pinOf(address: string): string | null {
  return pasted(address)?.pin ?? null;
}

/** `HOST:PORT`, without what stands around it. */
export function authorityOf(address: string): string {
  return address
    .replace(/^[a-z]+:\/\//i, '')
    .replace(/#.*$/, '')
    .replace(/\/$/, '');
}

/** What is handed on so that the other app opens with it. */
export function connectLink(address: string): string {
  return `deckport://connect?to=${encodeURIComponent(address)}`;
}

/** The pin as two people compare it: its first 60 bits in three groups, the same as the collector shows. */
export function pinShort(pin: string): string {
  const bytes = atob(pin.replace(/^sha256\/\//, ''));
  let bits = 0n;
  for (let i = 0; i < 8; i++) bits = (bits << 8n) | BigInt(bytes.charCodeAt(i));
  bits >>= 4n;
  const letter = (at: number) => LETTERS[Number((bits >> BigInt(55 - 5 * at)) & 31n)];
  const all = Array.from({ length: 12 }, (_, at) => letter(at)).join('');
  return `${all.slice(0, 4)}-${all.slice(4, 8)}-${all.slice(8)}`;
}
