/** The commands that the empty state teaches, from what the collector says of itself. */
import type { Info } from '../api/types';

/** Quotes one argument for a POSIX shell. */
export function quote(argument: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}

function reach(info: Info): string {
  const url = info.listen ?? '';
  const file = info.token_file;
  return `--collector ${quote(url)}${file ? ` --token-file ${quote(file)}` : ''}`;
}

export function wrapCommand(info: Info, rest: string): string {
  return `deckport-agent wrap ${reach(info)} --name "$(hostname)" ${rest}`;
}

export function simulateCommand(info: Info): string {
  return `deckport-agent wrap ${reach(info)} --name 'Simulated console' -- deckport-agent simulate --rate 20`;
}
