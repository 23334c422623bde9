/**
 * The state of one open log: where the operator looks, which rows are here, what is on its way.
 *
 * Positions are in rows, not pixels: WebKitGTK clamps an element's height near 33.5 million pixels,
 * so no element is ever as tall as the log. `top` is the (fractional) position at the viewport's
 * upper edge. Everything arriving is gathered and applied once per animation frame; the collector's
 * window deltas are paid for with credits only after such a frame, so a hidden or slow page slows
 * its own stream down and holds no more than `Pages` allows.
 *
 * Follow rule: the tail is followed until the operator moves up; then nothing on screen moves,
 * whatever arrives, until they are at the end again.
 */
import type { Api } from '../api/client';
import type { Found, FoundMatches, Phase, Query, Row, WindowDelta, WindowSnapshot } from '../api/types';
import type { LiveConnection, Subscription } from '../connection/connection.svelte';
import { t } from '../shared/strings';
import { FilteredDisplay, FoldedDisplay, type Display, type Item, type Stretch } from './display';
import { nearest } from './found';
import { NodesInTurn } from './nodes';
import { Pages } from './pages';
import { Search } from './search.svelte';
import { Selection } from './selection.svelte';

export const ROW_PX = 20;
const WINDOW_ROWS = 300;
const CREDITS = 16;
/** Paid for together: each message costs the webview more than its bytes. */
const PAY_AT = CREDITS / 4;
const LOADS_AT_ONCE = 4;
/** Rows that one question asks for, those ahead not counted. */
const MOST_ROWS = 250;
/** The same where most of what lies between them is not shown. */
const MOST_SPARSE_ROWS = 100;
/** Rows that are asked for along with those on screen. */
const AHEAD_ROWS = 30;
/** The same behind a leap, where every row is one more to wait for; the live window brings what is around. */
const AROUND_ROWS = 8;
const JUMP_WAIT_MS = 100;
const LOAD_AGAIN_MS = 1000;
const MOVE_PAUSE_MS = 60;
/** The same behind a leap: whoever leaps again first has no need of what was around. */
const REST_MS = 250;
/** Rows between the viewport's top and a row that was jumped to, as a share of the viewport. */
const JUMP_AT = 1 / 3;

export interface Slot {
  position: number;
  /** Which of the screen's nodes shows it. */
  node: number;
  item: Item;
  row: Row | undefined;
}

/** Rows that were asked for, both included. */
interface Loading {
  from: number;
  to: number;
  done: Promise<void>;
}

export class Viewer {
  total = $state(0);
  top = $state(0);
  /** Height of the viewport in rows, fractional. */
  height = $state(30);
  following = $state(false);
  cursor = $state<number | null>(null);
  phases = $state.raw<readonly Phase[]>([]);
  folded = $state.raw<ReadonlySet<number>>(new Set());
  revealed = $state.raw<readonly Stretch[]>([]);
  loadFailed = $state(false);
  /** False until the first snapshot told how long the log is. */
  known = $state(false);
  /** What the operator should be told about the last jump ("wrapped to the first match"). */
  said = $state('');

  readonly search: Search;
  readonly selection = new Selection();
  private readonly pages = new Pages();
  private readonly nodes = new NodesInTurn();
  private version = $state(0);
  private seenTotal = $state(0);

  readonly display = $derived.by<Display>(() => {
    const filter = this.search.filter;
    if (filter) return new FilteredDisplay(this.total, filter.rows, this.revealed, this.search.context);
    const stretches: Stretch[] = [];
    for (const phase of this.phases) {
      if (this.folded.has(phase.index)) stretches.push(this.bodyOf(phase));
    }
    return new FoldedDisplay(this.total, stretches);
  });
  readonly maxTop = $derived(Math.max(0, this.display.length - this.height));
  readonly unseen = $derived(this.following ? 0 : Math.max(0, this.total - this.seenTotal));
  /** How many rows are on screen at most, one of them in parts. */
  readonly pool = $derived(Math.ceil(this.height) + 1);
  readonly slots = $derived.by<Slot[]>(() => {
    void this.version;
    const out: Slot[] = [];
    const first = Math.floor(this.top);
    this.nodes.show(first, this.pool);
    for (let position = first; position < first + this.pool; position++) {
      const item = this.display.at(position);
      if (!item) break;
      const row = item.kind === 'row' ? this.pages.get(item.row) : undefined;
      out.push({ position, node: this.nodes.of(position), item, row });
    }
    return out;
  });
  readonly complete = $derived(this.slots.every((slot) => slot.item.kind === 'hidden' || slot.row));
  readonly topRow = $derived(rowOf(this.slots[0]?.item));

  private subscription: Subscription | null = null;
  private owedCredits = 0;
  private nextTotal = 0;
  private frame: number | null = null;
  private moveTimer: ReturnType<typeof setTimeout> | undefined;
  /** What the timer waits for. */
  private moving = { from: -1, leap: false };
  private sentWindow = { from: -1, follow: false };
  private readonly loading: Loading[] = [];
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private closed = false;
  /** The match that the collector is asked for, until it has answered or the operator is elsewhere. */
  private seeking: { asked: string; ending: AbortController } | null = null;
  private pendingJump: number | null = null;
  /** The row that was jumped to and has not come yet. */
  private awaited: number | null = null;
  private jumpTimer: ReturnType<typeof setTimeout> | undefined;
  private epoch: string | null = null;

  constructor(
    private readonly api: Api,
    private readonly connection: LiveConnection,
    readonly id: string,
  ) {
    this.search = new Search(api, id, () => this.stopSeeking());
  }

  /** Begins at the tail, or at a row. `total` is what the summary said, to paint before the snapshot. */
  open(at: { row: number } | 'tail', total: number, follow: boolean): void {
    performance.clearMarks('log-open');
    performance.mark('log-open');
    this.total = this.nextTotal = this.seenTotal = total;
    this.known = total > 0;
    this.following = at === 'tail' && follow;
    if (at === 'tail') this.top = this.maxTop;
    else {
      this.pendingJump = Math.max(0, Math.min(this.total - 1, at.row));
      this.showAt(this.pendingJump);
    }
    const from = at === 'tail' ? Math.max(0, total - WINDOW_ROWS) : this.windowFrom();
    const request = {
      topic: 'window',
      deployment_id: this.id,
      from,
      count: WINDOW_ROWS,
      follow: this.following,
      credits: CREDITS,
    };
    this.sentWindow = { from, follow: this.following };
    this.askFirst();
    this.subscription = this.connection.subscribe<WindowSnapshot, WindowDelta>(request, {
      snapshot: (data) => {
        if (this.epoch !== null && this.epoch !== this.connection.serverEpoch) {
          this.pages.clear();
          this.search.forget();
        }
        this.epoch = this.connection.serverEpoch;
        this.owedCredits = 0;
        this.known = true;
        this.nextTotal = data.total_rows;
        this.take(data.total_rows, data.rows);
      },
      delta: (data) => {
        this.owedCredits++;
        this.take(data.total_rows, data.rows);
      },
    });
    this.schedule();
  }

  /** The first question goes before the screen stands, and so before its height is known: it is no higher than the window. */
  private askFirst(): void {
    if (this.total === 0) return;
    const most = Math.ceil(innerHeight / ROW_PX) + AROUND_ROWS;
    const from = this.pendingJump === null ? this.total - most : this.pendingJump - Math.ceil(most * JUMP_AT);
    void this.load(Math.max(0, from), Math.min(this.total, from + most) - 1);
  }

  close(): void {
    this.closed = true;
    this.stopSeeking();
    this.subscription?.close();
    this.search.close();
    clearTimeout(this.moveTimer);
    clearTimeout(this.retryTimer);
    clearTimeout(this.jumpTimer);
    if (this.frame !== null) cancelAnimationFrame(this.frame);
  }

  resize(heightPx: number): void {
    const height = Math.max(1, heightPx / ROW_PX);
    if (height === this.height) return;
    const at = this.cursor === null ? null : this.display.positionOf(this.cursor);
    const seen = at !== null && at >= this.top - 1 && at < this.top + this.height;
    const atEnd = this.total > 0 && this.top >= this.maxTop - 1e-6;
    this.height = height;
    // nobody has seen yet where it is
    if (this.pendingJump !== null && this.awaited === null) {
      this.placeAt(this.pendingJump);
      return;
    }
    this.top = this.following || atEnd ? this.maxTop : Math.min(this.top, this.maxTop);
    // a card that opens above must not push the current row out of sight
    if (seen && at + 1 > this.top + height) this.top = Math.min(this.maxTop, at + 1 - height * (1 - JUMP_AT));
    this.schedule();
  }

  /** Moves the view; moving up leaves the tail, reaching the end follows it again. */
  scrollTo(top: number): void {
    this.stopSeeking();
    this.awaited = null;
    this.pendingJump = null;
    const next = Math.max(0, Math.min(this.maxTop, top));
    if (next < this.top - 1e-6) this.leaveTail();
    else if (next >= this.maxTop - 1e-6 && !this.search.filter) this.following = true;
    this.top = next;
    this.schedule();
  }

  scrollBy(rows: number): void {
    if (rows > 0 && this.following) return;
    this.scrollTo(this.top + rows);
  }

  follow(): void {
    this.stopSeeking();
    this.awaited = null;
    this.pendingJump = null;
    this.following = true;
    this.cursor = null;
    this.top = this.maxTop;
    this.schedule();
  }

  toggleFollow(): void {
    if (this.following) this.hold();
    else this.follow();
  }

  /** The operator points at a row: it stays where it is, whatever arrives. */
  hold(): void {
    if (!this.following) return;
    this.leaveTail();
    this.schedule();
  }

  /**
   * Shows a row a third down the viewport, opening whatever hides it, and makes it the current one.
   * When its rows are not here the view moves once they are, or after `JUMP_WAIT_MS`: what stands on
   * screen until then is better than an empty page, and is painted once less.
   */
  jumpTo(row: number): void {
    const target = Math.max(0, Math.min(this.total - 1, row));
    performance.clearMarks('jump');
    performance.clearMarks('row-painted');
    performance.mark('jump', { detail: { row: target } });
    this.stopSeeking();
    this.pendingJump = target;
    this.leaveTail();
    this.cursor = target;
    if (this.pages.get(target)) {
      this.placeAt(target);
      return;
    }
    this.awaited = target;
    clearTimeout(this.jumpTimer);
    const place = (): void => {
      if (!this.closed && this.awaited === target) this.placeAt(target);
    };
    this.jumpTimer = setTimeout(place, JUMP_WAIT_MS);
    const from = Math.max(0, target - Math.ceil(this.height * JUMP_AT) - 1);
    const to = Math.min(this.total - 1, from + Math.ceil(this.height) + AROUND_ROWS);
    void this.load(from, to).then(place);
  }

  /** The log is known to have so many rows. */
  reaches(total: number): void {
    this.nextTotal = Math.max(this.nextTotal, total);
    this.total = Math.max(this.total, total);
  }

  /** Goes to a record: one request brings its row and those around it. False when the record is not there. */
  async jumpToSeq(seq: number): Promise<boolean> {
    const page = await this.api.rowsAround(this.id, seq, Math.ceil(this.height) + AROUND_ROWS);
    if (this.closed || page.row === undefined || page.row === null) return false;
    this.take(page.total_rows, page.rows);
    this.reaches(page.total_rows);
    this.jumpTo(page.row);
    return true;
  }

  private placeAt(target: number): void {
    this.awaited = null;
    clearTimeout(this.jumpTimer);
    this.showAt(target);
    this.loadMissing();
    this.schedule();
  }

  private showAt(target: number): void {
    this.reveal(target);
    this.cursor = target;
    const wanted = Math.floor(this.display.positionOf(target) - this.height * JUMP_AT);
    this.top = Math.max(0, Math.min(this.maxTop, wanted));
  }

  /** Moves the current row by display positions, keeping it in view. */
  moveCursor(by: number): void {
    const { display } = this;
    if (display.length === 0) return;
    let position: number;
    if (this.cursor === null) {
      position = this.following || by < 0 ? display.length - 1 : Math.ceil(this.top);
      if (!this.following && by < 0)
        position = Math.min(display.length - 1, Math.floor(this.top + this.height - 1));
    } else {
      position = display.positionOf(this.cursor) + by;
    }
    position = Math.max(0, Math.min(display.length - 1, position));
    const step = by < 0 ? -1 : 1;
    while (display.at(position)?.kind === 'hidden') position += step;
    const item = display.at(position);
    if (!item || item.kind !== 'row') return;
    this.stopSeeking();
    this.pendingJump = null;
    this.leaveTail();
    this.cursor = item.row;
    if (position < this.top) this.top = position;
    else if (position + 1 > this.top + this.height)
      this.top = Math.min(this.maxTop, position + 1 - this.height);
    this.schedule();
  }

  /** Moves the current row, and selects whole lines from where that began. */
  extendCursor(by: number): void {
    const { selection, cursor } = this;
    const from = selection.focus?.row === cursor ? selection.anchor?.row : cursor;
    this.moveCursor(by);
    if (this.cursor !== null) selection.selectRows(from ?? this.cursor, this.cursor);
  }

  setPhases(phases: readonly Phase[]): void {
    this.phases = phases;
  }

  fold(index: number): void {
    const next = new Set(this.folded);
    if (!next.delete(index)) next.add(index);
    this.refold(next, this.phases.find((phase) => phase.index === index)?.first_row);
  }

  foldAll(on: boolean): void {
    this.refold(new Set(on ? this.phases.map((phase) => phase.index) : []));
  }

  /** Shows up to `most` of the rows that a filter hides in a stretch, from both of its ends. `anchor` stays in place. */
  revealStretch(from: number, to: number, anchor = from > 0 ? from - 1 : to, most = 10): void {
    this.leaveTail();
    const stretches =
      to - from <= most * 2
        ? [{ from, to }]
        : [
            { from, to: from + most },
            { from: to - most, to },
          ];
    const before = this.display.positionOf(anchor) - this.top;
    this.revealed = [...this.revealed, ...stretches];
    this.top = Math.max(0, Math.min(this.maxTop, this.display.positionOf(anchor) - before));
    this.schedule();
  }

  /** Shows rows that a filter hides beside the current row: below it, or else above. */
  revealHere(): void {
    if (this.cursor === null) return;
    const at = this.display.positionOf(this.cursor);
    // a filter that came later may hide the current row itself
    for (const position of [at, at + 1, at - 1]) {
      const item = this.display.at(position);
      if (item?.kind !== 'hidden') continue;
      this.revealStretch(item.from, item.to, this.cursor);
      return;
    }
  }

  /** The filter changed: keep looking at the same row, or the nearest that is shown. */
  refiltered(keep: number | null): void {
    this.revealed = [];
    if (this.following) this.top = this.maxTop;
    else if (keep !== null) {
      this.top = Math.max(0, Math.min(this.maxTop, this.display.positionOf(keep) - this.height * JUMP_AT));
    }
    this.schedule();
  }

  phaseAt(row: number): Phase | null {
    let found: Phase | null = null;
    for (const phase of this.phases) {
      if (phase.state !== 'pending' && phase.first_row <= row) found = phase;
    }
    return found;
  }

  rowNow(row: number): Row | undefined {
    return this.pages.get(row);
  }

  /**
   * Goes to the next or previous row the collector finds, and says when it went around the end. The collector is asked where `known`,
   * all that this query found, does not tell.
   */
  async findFrom(
    query: Query,
    direction: 'next' | 'previous',
    none: string,
    known: FoundMatches | null = null,
  ): Promise<void> {
    this.said = '';
    const here = this.cursor ?? (this.following ? this.total : this.topRow);
    const from = direction === 'next' ? here + (this.cursor === null && !this.following ? 0 : 1) : here - 1;
    const wrapFrom = from < 0 ? this.total - 1 : from >= this.total ? 0 : from;
    const near = known && nearest(known, wrapFrom, direction);
    const found = near ?? (await this.seek(query, wrapFrom, direction));
    if (found === null) return;
    if (found.row === null) {
      this.said = none;
      return;
    }
    const wrapped = found.wrapped || wrapFrom !== from;
    this.said = wrapped ? (direction === 'next' ? t.log.wrappedTop : t.log.wrappedEnd) : '';
    this.reaches(found.row + 1);
    this.jumpTo(found.row);
  }

  /** What the collector finds; null when that is not wanted any more, or is being asked already, as by a key that is held down. */
  private async seek(query: Query, from: number, direction: 'next' | 'previous'): Promise<Found | null> {
    const asked = JSON.stringify([direction, query]);
    if (this.seeking?.asked === asked) return null;
    this.stopSeeking();
    const seeking = (this.seeking = { asked, ending: new AbortController() });
    const { signal } = seeking.ending;
    try {
      const found = await this.api.find(this.id, query, from, direction, signal);
      return signal.aborted ? null : found;
    } catch (cause) {
      if (signal.aborted) return null;
      throw cause;
    } finally {
      if (this.seeking === seeking) this.seeking = null;
    }
  }

  private stopSeeking(): void {
    this.seeking?.ending.abort();
    this.seeking = null;
  }

  /** Reads rows for copying without disturbing what is held for viewing. */
  async *read(from: number, to: number): AsyncGenerator<Row[]> {
    let row = from;
    while (row <= to) {
      const page = await this.api.rows(this.id, row, Math.min(1000, to - row + 1));
      if (page.rows.length === 0) return;
      yield page.rows;
      row = page.rows.at(-1)!.row + 1;
    }
  }

  /** Called by the component after it painted; measures a jump once its rows are really there. */
  painted(): void {
    if (this.pendingJump === null || this.awaited !== null || !this.complete || this.slots.length === 0)
      return;
    const row = this.pendingJump;
    this.pendingJump = null;
    requestAnimationFrame(() =>
      setTimeout(() => {
        performance.clearMarks('row-painted');
        performance.mark('row-painted', { detail: { row } });
      }, 0),
    );
  }

  /** The rows a folded phase hides: all but its header. */
  bodyOf(phase: Phase): Stretch {
    const next = this.phases.find((other) => other.first_row > phase.first_row && other.state !== 'pending');
    // the last row of a phase that still runs is told later than the rows themselves
    const last = phase.finished_at === null ? null : phase.last_row;
    const end = last !== null ? last + 1 : next ? next.first_row : this.total;
    return { from: phase.first_row + 1, to: end };
  }

  /** Folds and unfolds around a row that stays in place: the header that was used, if it can be seen. */
  private refold(next: ReadonlySet<number>, header?: number): void {
    const used = header !== undefined && this.onScreen(header);
    const row = used
      ? header
      : this.cursor !== null && this.onScreen(this.cursor)
        ? this.cursor
        : this.topRow;
    const before = this.display.positionOf(row) - this.top;
    this.folded = next;
    const top = Math.max(0, Math.min(this.maxTop, this.display.positionOf(row) - before));
    // what is unfolded under a header pushes the end down; what stands above must not go up for it
    if (used && top < this.maxTop) this.leaveTail();
    this.top = this.following ? this.maxTop : top;
    this.schedule();
  }

  private onScreen(row: number): boolean {
    const at = this.display.positionOf(row);
    return !this.display.isHidden(row) && at > this.top - 1 && at < this.top + this.height;
  }

  private reveal(row: number): void {
    if (!this.display.isHidden(row)) return;
    if (this.search.filter) {
      this.revealed = [...this.revealed, { from: row - 3, to: row + 4 }];
      return;
    }
    const next = new Set(this.folded);
    for (const phase of this.phases) {
      const body = this.bodyOf(phase);
      if (row >= body.from && row < body.to) next.delete(phase.index);
    }
    this.folded = next;
  }

  private leaveTail(): void {
    if (!this.following) return;
    this.following = false;
    this.seenTotal = this.total;
  }

  private take(total: number, rows: readonly Row[]): void {
    // a page over HTTP may have told of more rows than a delta that was sent before it
    this.nextTotal = Math.max(total, this.nextTotal);
    this.pages.put(rows);
    this.schedule();
  }

  private schedule(): void {
    if (this.frame !== null || this.closed) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.apply();
    });
  }

  private apply(): void {
    if (this.total !== this.nextTotal) {
      this.total = this.nextTotal;
      this.search.grew(this.total);
    }
    if (this.following) {
      this.top = this.maxTop;
      this.seenTotal = this.total;
    } else if (this.top > this.maxTop) {
      this.top = this.maxTop;
    }
    this.version++;
    if (this.owedCredits >= PAY_AT) {
      this.subscription?.tell('credit', { credits: this.owedCredits });
      this.owedCredits = 0;
    }
    this.moveWindow();
    this.loadMissing();
  }

  private windowFrom(): number {
    const middle = this.topRow + Math.floor(this.height / 2);
    return Math.max(0, middle - WINDOW_ROWS / 2);
  }

  /** Keeps the live window over what is on screen, so that open rows there keep changing, and what is around them is here. */
  private moveWindow(): void {
    if (!this.subscription) return;
    const { following, sentWindow, moving } = this;
    const tail = Math.max(0, this.total - WINDOW_ROWS);
    const from = following ? tail : this.windowFrom();
    const by = Math.abs(from - (sentWindow.follow ? tail : sentWindow.from));
    if (following === sentWindow.follow && (following || by <= WINDOW_ROWS / 6)) return;
    const leap = !following && by > WINDOW_ROWS;
    const again = leap !== moving.leap || (leap && Math.abs(from - moving.from) > WINDOW_ROWS);
    if (this.moveTimer !== undefined && !again) return;
    clearTimeout(this.moveTimer);
    this.moving = { from, leap };
    this.moveTimer = setTimeout(
      () => {
        this.moveTimer = undefined;
        const follow = this.following;
        const now = follow ? Math.max(0, this.total - WINDOW_ROWS) : this.windowFrom();
        this.sentWindow = { from: now, follow };
        const window = { from: now, count: WINDOW_ROWS, follow };
        this.subscription?.tell('window', window, window);
      },
      leap ? REST_MS : MOVE_PAUSE_MS,
    );
  }

  /** Asks for the rows on screen that are neither here nor on their way, and for little more, so that they are painted soon. */
  private loadMissing(): void {
    const sparse = this.search.filter !== null;
    const wide = sparse ? MOST_SPARSE_ROWS : MOST_ROWS;
    const apart = sparse ? wide : AHEAD_ROWS;
    let asked: { from: number; to: number } | null = null;
    for (const slot of this.slots) {
      if (slot.item.kind !== 'row') continue;
      const row = slot.item.row;
      this.pages.touch(row);
      const stale = slot.row?.open === true && row < this.total - 1 && sparse;
      if ((slot.row && !stale) || this.onItsWay(row)) continue;
      if (asked && row - asked.to <= apart && row - asked.from < wide) {
        asked.to = row;
        continue;
      }
      if (asked) void this.load(asked.from, asked.to);
      asked = { from: row, to: row };
    }
    if (!asked) return;
    void this.load(asked.from, sparse ? asked.to : Math.min(this.total - 1, asked.to + AHEAD_ROWS));
  }

  private onItsWay(row: number): boolean {
    return this.loading.some(({ from, to }) => row >= from && row <= to);
  }

  /** Both rows are included. */
  private load(from: number, to: number): Promise<void> {
    const same = this.loading.find((other) => other.from <= from && to <= other.to);
    if (same) return same.done;
    if (this.loading.length >= LOADS_AT_ONCE || this.retryTimer !== undefined) return Promise.resolve();
    const one = { from, to, done: this.ask(from, to).finally(() => this.loaded(one)) };
    this.loading.push(one);
    return one.done;
  }

  private loaded(one: Loading): void {
    this.loading.splice(this.loading.indexOf(one), 1);
    this.schedule();
  }

  private async ask(from: number, to: number): Promise<void> {
    try {
      const page = await this.api.rows(this.id, from, to - from + 1);
      if (this.closed) return;
      if (page.rows.length === 0) throw new Error('no rows where rows were promised');
      this.loadFailed = false;
      this.pages.put(page.rows);
      // Who follows is told where the end is by the window, which brings its rows along: else the screen would chase an
      // end that each answer puts further away.
      if (!this.following) this.nextTotal = Math.max(this.nextTotal, page.total_rows);
    } catch {
      if (this.closed) return;
      this.loadFailed = true;
      this.retryTimer = setTimeout(() => {
        this.retryTimer = undefined;
        this.schedule();
      }, LOAD_AGAIN_MS);
    }
  }
}

function rowOf(item: Item | undefined): number {
  if (!item) return 0;
  return item.kind === 'row' ? item.row : item.from;
}
