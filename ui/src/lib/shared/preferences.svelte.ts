/** What this operator prefers on this machine; kept in local storage, defaults when it is unreadable. */

export type Theme = 'system' | 'dark' | 'light';
export type TimeMode = 'absolute' | 'start' | 'phase';

interface Stored {
  theme: Theme;
  timeMode: TimeMode;
  singleKeys: boolean;
  dismissed: string[];
  recentSearches: string[];
}

const KEY = 'deckport.preferences';
/** Old dismissals fall off the end; a deployment that old is not shown as needing anyone anyway. */
const DISMISSED_KEPT = 500;
const RECENT_KEPT = 12;

export class Preferences {
  theme = $state<Theme>('system');
  timeMode = $state<TimeMode>('start');
  /** Single-letter shortcuts can be turned off (WCAG 2.1.4). */
  singleKeys = $state(true);
  dismissed = $state.raw<ReadonlySet<string>>(new Set());
  /** What was searched for on this machine, newest first. */
  recentSearches = $state.raw<readonly string[]>([]);

  constructor(private readonly storage: Storage) {
    let stored: Partial<Stored> = {};
    try {
      stored = JSON.parse(storage.getItem(KEY) ?? '{}') as Partial<Stored>;
    } catch {
      // unreadable preferences are replaced at the next change
    }
    if (stored.theme === 'dark' || stored.theme === 'light') this.theme = stored.theme;
    if (stored.timeMode === 'absolute' || stored.timeMode === 'phase') this.timeMode = stored.timeMode;
    if (stored.singleKeys === false) this.singleKeys = false;
    if (Array.isArray(stored.dismissed)) this.dismissed = new Set(stored.dismissed);
    if (Array.isArray(stored.recentSearches)) {
      this.recentSearches = stored.recentSearches.filter((query) => typeof query === 'string');
    }
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    this.save();
  }

  setTimeMode(mode: TimeMode): void {
    this.timeMode = mode;
    this.save();
  }

  setSingleKeys(on: boolean): void {
    this.singleKeys = on;
    this.save();
  }

  dismiss(id: string): void {
    this.dismissed = new Set([...this.dismissed, id].slice(-DISMISSED_KEPT));
    this.save();
  }

  restore(id: string): void {
    const next = new Set(this.dismissed);
    next.delete(id);
    this.dismissed = next;
    this.save();
  }

  rememberSearch(query: string): void {
    const others = this.recentSearches.filter((other) => other !== query);
    this.recentSearches = [query, ...others].slice(0, RECENT_KEPT);
    this.save();
  }

  forgetSearches(): void {
    this.recentSearches = [];
    this.save();
  }

  private save(): void {
    const stored: Stored = {
      theme: this.theme,
      timeMode: this.timeMode,
      singleKeys: this.singleKeys,
      dismissed: [...this.dismissed],
      recentSearches: [...this.recentSearches],
    };
    try {
      this.storage.setItem(KEY, JSON.stringify(stored));
    } catch {
      // a full or forbidden storage costs only the memory of this choice
    }
  }
}
