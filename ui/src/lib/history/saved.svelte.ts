/** Searches that are kept on the collector, for everyone who uses it. */
import type { Api } from '../api/client';
import { messageOf } from '../api/message';
import type { SavedSearch, SavedSearchFields } from '../api/types';

export type SavedState = { kind: 'loading' } | { kind: 'here' } | { kind: 'failed'; message: string };

export class SavedSearches {
  state = $state.raw<SavedState>({ kind: 'loading' });
  list = $state.raw<readonly SavedSearch[]>([]);

  constructor(private readonly api: Api) {}

  async load(): Promise<void> {
    try {
      this.take(await this.api.searches());
      this.state = { kind: 'here' };
    } catch (cause) {
      this.state = { kind: 'failed', message: messageOf(cause) };
    }
  }

  /** Keeps a new search; one that was deleted comes back this way too, with a new id. */
  async keep(fields: SavedSearchFields): Promise<void> {
    const kept = await this.api.saveSearch(fields);
    this.take([...this.list.filter((one) => one.id !== kept.id), kept]);
  }

  async change(id: string, fields: SavedSearchFields): Promise<void> {
    const changed = await this.api.changeSearch(id, fields);
    this.take(this.list.map((one) => (one.id === id ? changed : one)));
  }

  async delete(id: string): Promise<void> {
    await this.api.deleteSearch(id);
    this.take(this.list.filter((one) => one.id !== id));
  }

  byQuery(query: string): SavedSearch | undefined {
    return this.list.find((one) => one.query === query.trim());
  }

  private take(list: readonly SavedSearch[]): void {
    this.list = [...list].sort((a, b) => a.name.localeCompare(b.name));
  }
}
