/**
 * Adding consoles: from the wish for a code to the consoles that came in with it.
 *
 * The code is known only from the one answer that made it, so it is kept here, not in the dialog: a dialog that is closed by
 * accident is opened again with the same code while it is good. It is never stored.
 */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { Console, Micros, NewInvitation, Venue } from '../api/types';
import { atLeast } from '../operators/roles';
import type { Venues } from '../venues/venues.svelte';
import type { Consoles } from './consoles.svelte';
import { before, joinedSince, type Before } from './joined';
import { codeState } from './standing';

/** `back`: the code that was shown before, which may still be good. */
export type Making =
  | { kind: 'asking'; back: NewInvitation | null }
  | { kind: 'making'; from: 'choices' | 'code'; back: NewInvitation | null }
  | { kind: 'failed'; message: string; back: NewInvitation | null }
  | { kind: 'made'; made: NewInvitation };

export type Templates =
  { kind: 'loading' } | { kind: 'here'; names: string[] } | { kind: 'failed'; message: string };

/** What a code lets in at most, as the collector has it. */
export const MOST_USES = 500;
/** Seconds; the first is what the collector takes unless told otherwise. */
export const LIFETIMES = [900, 3600, 8 * 3600, 86_400] as const;

export class Adding {
  state = $state.raw<Making>({ kind: 'asking', back: null });
  templates = $state.raw<Templates>({ kind: 'loading' });
  template = $state('');
  /** The id of the venue that they come into; null: the only one, or not chosen yet. */
  venue = $state<string | null>(null);
  uses = $state<number | null>(1);
  ttl = $state<number>(LIFETIMES[0]);
  /** When the first code was made since this began, by the collector's clock. */
  since = $state<Micros>(0);

  /** Who is quick makes a code before the templates are here. */
  private loading: Promise<void> | null = null;
  private known = $state.raw<Before | null>(null);
  /** All that were made since this began. */
  private ids = $state.raw<readonly string[]>([]);

  /** Those that came in since this began, in that order. */
  readonly joined = $derived.by((): Console[] => {
    if (this.known === null) return [];
    const mine = this.consoles.codes.filter((code) => this.ids.includes(code.id));
    const uses = mine.reduce((sum, code) => sum + code.uses, 0);
    return joinedSince(this.known, this.consoles.list, uses);
  });
  /** The newest code that was made here, whose code itself is known. */
  readonly made = $derived(this.state.kind === 'made' ? this.state.made : this.state.back);
  /** The same as it stands now at the collector. */
  readonly code = $derived.by(() => {
    const invitation = this.made?.invitation;
    return this.consoles.codes.find((code) => code.id === invitation?.id) ?? invitation ?? null;
  });
  readonly usesValid = $derived(
    this.uses !== null && Number.isInteger(this.uses) && this.uses >= 1 && this.uses <= MOST_USES,
  );

  constructor(
    private readonly api: Api,
    private readonly consoles: Consoles,
    private readonly venues: Venues,
  ) {}

  /** Where a code may be for; none where that is no question. The one that the newest code was for comes first. */
  get choices(): Venue[] {
    if (!this.venues.mixed) return [];
    const newest = this.consoles.codes[0]?.venue;
    const able = this.venues.list.filter(({ role }) => atLeast(role, 'operator'));
    return [...able].sort((a, b) => Number(b.name === newest) - Number(a.name === newest));
  }

  /** Begins anew, unless a code that still lets somebody in is at hand and nothing else is wanted. */
  async begin(now: Micros, template?: string): Promise<void> {
    const { code, made } = this;
    if (made && code && codeState(code, now) === 'open' && (template ?? code.template) === code.template) {
      this.state = { kind: 'made', made };
      return;
    }
    this.state = { kind: 'asking', back: null };
    this.known = null;
    this.ids = [];
    this.uses = 1;
    this.venue = null;
    await Promise.all([this.loadTemplates(template), this.learn()]);
  }

  loadTemplates(wanted?: string): Promise<void> {
    this.loading = this.askTemplates(wanted);
    return this.loading;
  }

  private async askTemplates(wanted?: string): Promise<void> {
    this.templates = { kind: 'loading' };
    try {
      // the newest code says what is being set up these days
      const [names] = await Promise.all([this.api.templates(), this.consoles.load()]);
      this.templates = { kind: 'here', names };
      const usual = wanted ?? (this.template || this.consoles.codes[0]?.template);
      this.template = names.find((name) => name === usual) ?? names[0] ?? '';
    } catch (cause) {
      this.templates = { kind: 'failed', message: messageOf(cause) };
    }
  }

  /** For a venue, where there are several: for this one, or the one that the code before was for. */
  async make(into: string | null = this.venue): Promise<void> {
    if (this.state.kind === 'making' || !this.usesValid) return;
    this.venue = into;
    const { venue, uses, ttl, made: back } = this;
    this.state = { kind: 'making', from: this.state.kind === 'made' ? 'code' : 'choices', back };
    try {
      await Promise.all([this.loading, this.learn()]);
      const { template } = this;
      const made = await this.api.invite({ template, venue, uses, ttl_s: ttl });
      if (this.ids.length === 0) this.since = made.invitation.created_at;
      this.ids = [...this.ids, made.invitation.id];
      this.consoles.made(made.invitation);
      this.state = { kind: 'made', made };
    } catch (cause) {
      this.state = { kind: 'failed', message: messageOf(cause), back };
    }
  }

  /** To the choices for another code; what came in so far stays listed. */
  choose(): void {
    this.state = { kind: 'asking', back: this.made };
  }

  /** To the code that was shown before. */
  back(): void {
    if (this.made) this.state = { kind: 'made', made: this.made };
  }

  /** Rejects when the code could not be taken back: it still lets consoles in. */
  async takeBack(): Promise<void> {
    if (this.state.kind !== 'made') return;
    const { id } = this.state.made.invitation;
    await this.api.takeBack(id);
    this.consoles.tookBack(id);
  }

  /** Who is here before anybody comes in. */
  private async learn(): Promise<void> {
    if (this.known !== null) return;
    await this.consoles.load();
    if (this.consoles.known) this.known ??= before(this.consoles.list);
  }
}
