/** From a point on screen to a place in the log, and touch scrolling with a little momentum. */
import { ROW_END, type Place } from './selection.svelte';
import { ROW_PX, type Viewer } from './viewer.svelte';

interface CaretPosition {
  offsetNode: Node;
  offset: number;
}

interface CaretDocument {
  caretPositionFromPoint?: (x: number, y: number) => CaretPosition | null;
  caretRangeFromPoint?: (x: number, y: number) => Range | null;
}

/** The place under a point. Left of the text is its beginning, right of it its end. */
export function placeAt(x: number, y: number, rows: HTMLElement): Place | null {
  const box = rows.getBoundingClientRect();
  const at = Math.max(box.top + 1, Math.min(box.bottom - 2, y));
  let element: Element | null = null;
  for (const candidate of rows.querySelectorAll<HTMLElement>('[data-row]')) {
    const bounds = candidate.getBoundingClientRect();
    if (bounds.top <= at && at < bounds.bottom) element = candidate;
  }
  if (!(element instanceof HTMLElement)) return null;
  const row = Number(element.dataset['row']);
  const text = element.querySelector('[data-text]');
  if (!text) return { row, offset: 0 };
  const bounds = text.getBoundingClientRect();
  if (x <= bounds.left) return { row, offset: 0 };
  if (x >= bounds.right) return { row, offset: ROW_END };
  const page = document as unknown as CaretDocument;
  const position = page.caretPositionFromPoint?.(x, at);
  const range = position ? null : page.caretRangeFromPoint?.(x, at);
  const node = position?.offsetNode ?? range?.startContainer;
  const offset = position?.offset ?? range?.startOffset ?? 0;
  if (!node || !text.contains(node)) return { row, offset: ROW_END };
  return { row, offset: textOffset(text, node, offset) };
}

/** Offset within all of an element's text of an offset within one of its nodes. */
export function textOffset(root: Node, node: Node, offset: number): number {
  let before = 0;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let current = walker.nextNode(); current; current = walker.nextNode()) {
    if (current === node) return before + offset;
    if (node.nodeType !== Node.TEXT_NODE && node.contains(current) === false && before > 0) break;
    before += current.textContent?.length ?? 0;
  }
  return before;
}

const FRICTION = 0.94;
const STOP_AT_ROWS_PER_FRAME = 0.02;
/** A finger that moved less than this did not mean to scroll. */
const TAP_PX = 10;

/**
 * Vertical touch drags move the view; the browser keeps horizontal ones (`touch-action: pan-x`). A
 * tap tells the place where it began, because followed rows may have moved on until it ends.
 */
export function touchScroll(
  rows: HTMLElement,
  viewer: Pick<Viewer, 'scrollBy'>,
  ontap: (place: Place) => void,
): () => void {
  let began = { x: 0, y: 0 };
  let tapped: Place | null = null;
  let lastY = 0;
  let speed = 0;
  let active: number | null = null;
  let frame = 0;

  const down = (event: PointerEvent): void => {
    if (event.pointerType !== 'touch') return;
    cancelAnimationFrame(frame);
    // a finger that stops a glide, or presses a button, points at no row
    const points = Math.abs(speed) < STOP_AT_ROWS_PER_FRAME && !(event.target as Element).closest('button');
    tapped = points && active === null ? placeAt(event.clientX, event.clientY, rows) : null;
    began = { x: event.clientX, y: event.clientY };
    active = event.pointerId;
    lastY = event.clientY;
    speed = 0;
  };
  const move = (event: PointerEvent): void => {
    if (event.pointerId !== active) return;
    const by = (lastY - event.clientY) / ROW_PX;
    lastY = event.clientY;
    if (Math.hypot(event.clientX - began.x, event.clientY - began.y) >= TAP_PX) tapped = null;
    speed = speed * 0.4 + by * 0.6;
    viewer.scrollBy(by);
  };
  const glide = (): void => {
    speed *= FRICTION;
    if (Math.abs(speed) < STOP_AT_ROWS_PER_FRAME) return;
    viewer.scrollBy(speed);
    frame = requestAnimationFrame(glide);
  };
  const up = (event: PointerEvent): void => {
    if (event.pointerId !== active) return;
    active = null;
    if (event.type === 'pointerup' && !tapped) {
      frame = requestAnimationFrame(glide);
      return;
    }
    speed = 0;
    if (event.type === 'pointerup' && tapped) ontap(tapped);
  };
  rows.addEventListener('pointerdown', down);
  rows.addEventListener('pointermove', move);
  rows.addEventListener('pointerup', up);
  rows.addEventListener('pointercancel', up);
  return () => {
    cancelAnimationFrame(frame);
    rows.removeEventListener('pointerdown', down);
    rows.removeEventListener('pointermove', move);
    rows.removeEventListener('pointerup', up);
    rows.removeEventListener('pointercancel', up);
  };
}
