/** Short confirmations, announced politely; one action at most ("Undo"). */
export interface Toast {
  id: number;
  text: string;
  tone: 'plain' | 'failed';
  action?: { label: string; run: () => void };
}

const SHOWN_MS = 6000;

export class Toasts {
  list = $state.raw<Toast[]>([]);
  private nextId = 1;

  show(text: string, options: { tone?: Toast['tone']; action?: Toast['action'] } = {}): void {
    const id = this.nextId++;
    this.list = [...this.list.slice(-2), { id, text, tone: options.tone ?? 'plain', action: options.action }];
    setTimeout(() => this.close(id), SHOWN_MS);
  }

  close(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}
