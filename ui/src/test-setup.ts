import '@testing-library/jest-dom/vitest';
import { configure } from '@testing-library/svelte';

// Conditions are waited for with a deadline that a busy machine can keep.
configure({ asyncUtilTimeout: 15_000 });

// jsdom has no layout: elements have no size, nothing to observe and nothing to scroll to.
globalThis.ResizeObserver ??= class {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
};
Element.prototype.scrollIntoView ??= () => undefined;
Element.prototype.animate ??= () =>
  ({ cancel: () => undefined, finished: Promise.resolve() }) as unknown as Animation;
// The viewer asks for its height; a screen of thirty rows.
Object.defineProperty(HTMLElement.prototype, 'clientHeight', { configurable: true, get: () => 600 });
