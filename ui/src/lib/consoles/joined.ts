/** Which consoles came in since the operator began to add some. Pure. */
import type { Console } from '../api/types';

interface Known {
  standing: string;
  certificate: number;
}

/** The consoles as they stood when it began. */
export type Before = ReadonlyMap<string, Known>;

const certificate = (console: Console) => console.certificate_ends_at ?? 0;

export function before(consoles: readonly Console[]): Before {
  return new Map(
    consoles.map((console) => [
      console.id,
      { standing: console.standing, certificate: certificate(console) },
    ]),
  );
}

/**
 * In the order in which they came. A console that was here already and is added again keeps its identity: where codes let in
 * more (`uses`) than are new, the rest is taken from those that have a new certificate.
 */
export function joinedSince(known: Before, consoles: readonly Console[], uses: number): Console[] {
  const added = consoles.filter((console) => console.standing === 'enrolled');
  const isNew = (console: Console) => known.get(console.id)?.standing !== 'enrolled';
  const came = added.filter(isNew);
  const again = added
    .filter((console) => !isNew(console) && certificate(console) > known.get(console.id)!.certificate)
    .sort((a, b) => certificate(b) - certificate(a))
    .slice(0, Math.max(0, uses - came.length));
  return [...came, ...again].sort((a, b) => certificate(a) - certificate(b));
}
