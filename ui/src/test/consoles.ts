/** A collector's consoles and codes, as far as the screens about them need it. */
import type { Console, Invitation, Invite, NewInvitation } from '../lib/api/types';
import { nowUs } from './app';
import type { Answer } from './fixtures';

export function aConsole(fields: Partial<Console> = {}): Console {
  return {
    id: '0193bbbb-0000-7000-8000-0000000000c1',
    name: 'Bay 1',
    venue: 'Hall A',
    standing: 'enrolled',
    template: 'arcade',
    first_seen_at: nowUs() - 86_400e6,
    last_seen_at: nowUs(),
    certificate_ends_at: nowUs() + 6.5 * 86_400e6,
    linked_since: nowUs() - 3 * 3600e6 - 1e6,
    agent_version: '0.1.0',
    health: {
      load: 0.42,
      memory_bytes: 16e9,
      memory_available_bytes: 12e9,
      disk_bytes: 500e9,
      disk_free_bytes: 100e9,
      uptime_s: 3600,
      kept_runs: 0,
      clock_ahead_us: 1000,
    },
    ...fields,
  };
}

export function aCode(fields: Partial<Invitation> = {}): Invitation {
  return {
    id: 'code-1',
    venue: 'Hall A',
    template: 'arcade',
    state: 'open',
    uses: 0,
    most_uses: 1,
    created_at: nowUs(),
    expires_at: nowUs() + 900e6,
    ...fields,
  };
}

export const PIN = 'sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';

export function aLine(authority: string) {
  const get = `curl -fsSk --proto =https --tlsv1.3 --pinnedpubkey ${PIN}`;
  const url = `https://${authority}/deploy/console`;
  return {
    authority,
    line: `${get} ${url} | bash`,
    careful: `${get} -o deckport.sh ${url}\nless deckport.sh\nbash deckport.sh`,
  };
}

export class FakeConsoles {
  list: Console[] = [];
  codes: Invitation[] = [];
  templates = ['arcade', 'console'];
  authorities = ['192.168.1.20:7443'];
  onlyHere = false;
  lifetimeUs = 900e6;
  /** What was asked for, in order: `POST /api/v1/join-tokens {"template":…}`. */
  done: string[] = [];
  /** Answers instead of the usual, where it answers anything. */
  instead: Answer | null = null;

  readonly answer: Answer = (request) => {
    const special = this.instead?.(request);
    if (special && special.status !== 0) return special;
    const { method, path } = request;
    if (method !== 'GET') this.done.push(`${method} ${path}${request.body ? ` ${request.body}` : ''}`);
    if (path === '/api/v1/consoles') return { body: { consoles: this.list } };
    if (path === '/api/v1/templates') return { body: { templates: this.templates } };
    if (path === '/api/v1/join-tokens') {
      if (method === 'POST') return { status: 201, body: this.invite(JSON.parse(request.body!) as Invite) };
      return { body: { invitations: this.codes } };
    }
    const code = /^\/api\/v1\/join-tokens\/(.+)$/.exec(path)?.[1];
    if (code) {
      this.codes = this.codes.map((one) => (one.id === code ? { ...one, state: 'revoked' } : one));
      return { status: 204, body: '' };
    }
    const [, id, what] = /^\/api\/v1\/consoles\/([^/]+)\/(revoke|order)$/.exec(path) ?? [];
    if (what === 'revoke') {
      this.change(id!, { standing: 'revoked', linked_since: null, health: null });
      return { status: 204, body: '' };
    }
    if (what === 'order') return { body: { accepted: true, message: 'the deployment was started' } };
    return { status: 404, body: {} };
  };

  change(id: string, fields: Partial<Console>): void {
    this.list = this.list.map((one) => (one.id === id ? { ...one, ...fields } : one));
  }

  /** A console comes in with the newest code. */
  join(console: Console): void {
    this.list = [...this.list.filter((one) => one.id !== console.id), console];
    const [newest, ...older] = this.codes;
    if (!newest) throw new Error('no code was made');
    const uses = newest.uses + 1;
    this.codes = [{ ...newest, uses, state: uses === newest.most_uses ? 'used' : 'open' }, ...older];
  }

  private invite(asked: Invite): NewInvitation {
    const invitation = aCode({
      id: `code-${this.codes.length + 1}`,
      template: asked.template,
      most_uses: asked.uses ?? 1,
      expires_at: nowUs() + this.lifetimeUs,
    });
    this.codes = [invitation, ...this.codes];
    return {
      invitation,
      code: `7K2M-9QXA-T4V${this.codes.length}`,
      lines: this.authorities.map(aLine),
      pin: PIN,
      pin_short: 'WERC-8GMR-ZGE1',
      only_here: this.onlyHere,
    };
  }
}
