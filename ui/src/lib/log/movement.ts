/** The keys that move in a log, wherever one is shown. */
import type { Viewer } from './viewer.svelte';

/** What a key does, or nothing when it is not one of these. Keys with Ctrl, Cmd or Alt never are. */
export function movement(
  viewer: Viewer,
  event: KeyboardEvent,
  singleKeys: boolean,
): (() => void) | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  const page = Math.max(1, Math.floor(viewer.height) - 2);
  const arrow = (by: number) => (event.shiftKey ? viewer.extendCursor(by) : viewer.moveCursor(by));
  const keys: Record<string, () => void> = {
    ArrowDown: () => arrow(1),
    ArrowUp: () => arrow(-1),
    Enter: () => viewer.revealHere(),
    PageDown: () => viewer.scrollBy(page),
    PageUp: () => viewer.scrollBy(-page),
    Home: () => viewer.scrollTo(0),
    End: () => viewer.follow(),
    Escape: () => {
      viewer.selection.clear();
      viewer.cursor = null;
    },
  };
  const letters: Record<string, () => void> = {
    j: () => viewer.moveCursor(1),
    k: () => viewer.moveCursor(-1),
    ' ': () => viewer.scrollBy(event.shiftKey ? -page : page),
    g: () => viewer.scrollTo(0),
    G: () => viewer.follow(),
    f: () => viewer.toggleFollow(),
  };
  return keys[event.key] ?? (singleKeys ? letters[event.key] : undefined);
}
