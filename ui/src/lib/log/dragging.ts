/** Selecting by mouse: where it began, and scrolling while it goes beyond the edge. */
import { placeAt } from './pointer';
import { ROW_END, wordAt, type Place } from './selection.svelte';
import type { Viewer } from './viewer.svelte';

/** So many pixels beyond the edge scroll one row per frame. */
const EDGE_PX_PER_ROW = 40;

export class Dragging {
  private dragging = false;
  private edge = 0;
  private frame = 0;
  private pointer = { x: 0, y: 0 };

  constructor(
    private readonly viewer: Viewer,
    private readonly rows: () => HTMLElement | undefined,
  ) {}

  /** Makes the row under a click or a tap the current one. */
  point(place: Place): void {
    this.viewer.hold();
    this.viewer.selection.begin(place);
    this.viewer.cursor = place.row;
  }

  down(event: PointerEvent): void {
    const rows = this.rows();
    if (event.button !== 0 || event.pointerType === 'touch' || !rows) return;
    const target = event.target as HTMLElement;
    if (target.closest('button')) return;
    const place = placeAt(event.clientX, event.clientY, rows);
    if (!place) return;
    const { viewer } = this;
    rows.focus({ preventScroll: true });
    event.preventDefault();
    viewer.hold();
    if (target.closest('[data-number]')) {
      viewer.cursor = place.row;
      viewer.selection.select({ row: place.row, offset: 0 }, { row: place.row, offset: ROW_END });
    } else if (event.shiftKey && viewer.selection.anchor) viewer.selection.extend(place);
    else if (event.detail === 2) {
      const word = wordAt(viewer.rowNow(place.row)?.text ?? '', place.offset);
      viewer.selection.select({ row: place.row, offset: word.start }, { row: place.row, offset: word.end });
      return;
    } else if (event.detail >= 3) {
      viewer.selection.select({ row: place.row, offset: 0 }, { row: place.row, offset: ROW_END });
      return;
    } else this.point(place);
    this.dragging = true;
    rows.setPointerCapture(event.pointerId);
  }

  move(event: PointerEvent): void {
    const rows = this.rows();
    if (!this.dragging || !rows) return;
    this.pointer = { x: event.clientX, y: event.clientY };
    const box = rows.getBoundingClientRect();
    const before = this.edge;
    this.edge =
      event.clientY < box.top
        ? (event.clientY - box.top) / EDGE_PX_PER_ROW
        : event.clientY > box.bottom
          ? (event.clientY - box.bottom) / EDGE_PX_PER_ROW
          : 0;
    if (this.edge !== 0 && before === 0) this.frame = requestAnimationFrame(this.scrollAtEdge);
    this.extend();
  }

  up(): void {
    this.dragging = false;
    this.edge = 0;
    cancelAnimationFrame(this.frame);
  }

  private extend(): void {
    const rows = this.rows();
    const place = rows && placeAt(this.pointer.x, this.pointer.y, rows);
    if (place) this.viewer.selection.extend(place);
    // a drag beyond the edge may have come to the end, where the tail is followed again
    this.viewer.hold();
  }

  private readonly scrollAtEdge = (): void => {
    if (!this.dragging || this.edge === 0) return;
    this.viewer.scrollBy(this.edge);
    this.extend();
    this.frame = requestAnimationFrame(this.scrollAtEdge);
  };
}
