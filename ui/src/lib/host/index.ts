/** Chooses the host this page runs on. */
import { adoptToken, BrowserHost } from './browser';
import { takeCode } from './provider';
import type { Host } from './types';

export * from './types';

export async function openHost(): Promise<Host> {
  if ('__TAURI_INTERNALS__' in window) {
    const { TauriHost } = await import('./tauri');
    return new TauriHost();
  }
  adoptToken(location, history, sessionStorage);
  const code = takeCode(location, history, sessionStorage);
  return new BrowserHost(location.origin, sessionStorage, code);
}
