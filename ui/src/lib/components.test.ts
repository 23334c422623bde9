import { render, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { info, nowUs, started, violations } from '../test/app';
import { aConsole, FakeConsoles } from '../test/consoles';
import { phase, row, summary, type Answer } from '../test/fixtures';
import type { DeploymentSummary } from './api/types';
import CancelButton from './deployment/CancelButton.svelte';
import { factsOf, grouped } from './deployment/context';
import PhaseTimeline from './deployment/PhaseTimeline.svelte';
import StatusLine from './log/StatusLine.svelte';

beforeEach(() => {
  localStorage.clear();
  location.hash = '#/live';
});

describe('the Live screen', () => {
  it('teaches how consoles are added when there is nothing yet, and how to see one without', async () => {
    const { page } = await started([]);
    const empty = await screen.findByTestId('empty-state');
    expect(within(empty).getByRole('button', { name: /^Add consoles/ })).toBeInTheDocument();
    expect(empty).toHaveTextContent(
      "deckport-agent wrap --collector http://127.0.0.1:7443 --token-file /data/token --name 'Simulated console'",
    );
    expect(empty).toHaveTextContent('--listen 0.0.0.0:7443');
    expect(await violations(page.container)).toEqual([]);
  });

  it('promises no command when consoles cannot reach this collector', async () => {
    await started([], undefined, { ...info, listen: null });
    expect(await screen.findByText(/does not listen for consoles/)).toBeInTheDocument();
    expect(screen.getByTestId('empty-state')).not.toHaveTextContent('deckport-agent wrap');
  });

  it('leads to Fleet while consoles are here and nothing was deployed', async () => {
    const fake = new FakeConsoles();
    fake.list = [aConsole(), aConsole({ id: 'two' })];
    await started([], fake.answer);
    expect(await screen.findByText(/2 consoles are here/)).toBeInTheDocument();
    expect(screen.getByRole('link', { name: 'Open Fleet' })).toHaveAttribute('href', '#/fleet');
  });

  it('puts failures first, and lets them be dismissed and brought back', async () => {
    const failed = summary({
      id: 'failed',
      name: 'Bay 12',
      state: 'failed',
      outcome: 'failed',
      finished_at: nowUs(),
      failure: { message: 'exit 100', row: 4, seq: 5, exit: null, phase: null },
    });
    const { page } = await started([summary({ id: 'running', started_at: nowUs() }), failed]);
    await waitFor(() => expect(screen.getAllByTestId('deployment-row')).toHaveLength(2));
    const order = () => screen.getAllByTestId('deployment-row').map((element) => element.dataset['id']);
    expect(order()).toEqual(['failed', 'running']);
    expect(await violations(page.container)).toEqual([]);

    const user = userEvent.setup();
    await user.click(screen.getByRole('button', { name: 'Dismiss: Bay 12' }));
    expect(order()).toEqual(['running', 'failed']);
    await user.click(screen.getByRole('button', { name: 'Undo' }));
    expect(order()).toEqual(['failed', 'running']);
  });

  it('shows changes as they come', async () => {
    const { host } = await started([summary({ id: 'one' })]);
    host.say({
      type: 'delta',
      id: host.idOf('fleet'),
      data: { changed: [summary({ id: 'two', name: 'Bay 2' })], removed: ['one'] },
    });
    await waitFor(() =>
      expect(screen.getAllByTestId('deployment-row').map((element) => element.dataset['id'])).toEqual([
        'two',
      ]),
    );
  });

  it('says what is wrong while the connection is away', async () => {
    const { host } = await started([summary()]);
    host.socket.handlers.closed({ reason: 'lost', message: '' });
    expect(await screen.findByText(/Connection lost/)).toBeInTheDocument();
    expect(screen.getByTestId('connection')).toHaveAttribute('data-state', 'reconnecting');
  });

  it('opens everything from the palette', async () => {
    await started([summary({ id: 'one', name: 'Stage left' })]);
    const user = userEvent.setup();
    await user.keyboard('{Control>}k{/Control}');
    await user.type(await screen.findByRole('combobox'), 'stage');
    await user.keyboard('{Enter}');
    await waitFor(() => expect(location.hash).toBe('#/deployments/one'));
  });
});

describe('the Deployment screen', () => {
  const hostile = '<img src=x onerror=alert(1)> \u202egpj.exe';
  const total = 40;
  const rows = Array.from({ length: total }, (_, i) =>
    row(i, { text: i === 20 ? hostile : `line ${i}`, level: i === 20 ? 'error' : 'info' }),
  );
  rows[21] = row(21, {
    text: 'see https://bank.example/login',
    links: [[4, 30, 'https://evil.example/login?next=https%3A%2F%2Fbank.example']],
  });
  const answer: Answer = (request) => {
    const url = new URL(request.path, 'http://x');
    if (url.pathname.endsWith('/rows')) {
      const from = Number(url.searchParams.get('from'));
      return { body: { total_rows: total, first_row: from, rows: rows.slice(from), acked_seq: total } };
    }
    if (url.pathname.endsWith('/marks')) {
      return { body: { total_rows: total, buckets: [], phases: [], failing_row: 20 } };
    }
    if (url.pathname.endsWith('/cancel')) return { status: 202, body: { order_id: 'o' } };
    return { status: 404, body: {} };
  };
  const failed = summary({
    id: 'one',
    rows: total,
    state: 'failed',
    outcome: 'failed',
    finished_at: nowUs(),
    phases: [phase({ state: 'failed', first_row: 0, last_row: total - 1, finished_at: nowUs() })],
    failure: { message: hostile, row: 20, seq: 21, exit: { kind: 'code', code: 100 }, phase: 0 },
  });

  async function open(deployment: DeploymentSummary) {
    location.hash = '#/deployments/one';
    const opened = await started([deployment], answer);
    await waitFor(() => opened.host.idOf('deployment'));
    opened.host.say({
      type: 'snapshot',
      id: opened.host.idOf('deployment'),
      cursor: 1,
      data: {
        summary: deployment,
        context: { os: { name: 'Debian' } },
        events: [],
        latency_us: null,
        clock_offset_us: null,
      },
    });
    await screen.findByTestId('log-viewer');
    return opened;
  }

  it('opens a failure at its failing row, as text and never as markup', async () => {
    const { page } = await open(failed);
    const viewer = await screen.findByTestId('log-viewer');
    await waitFor(() => expect(viewer).toHaveAttribute('data-complete', 'true'));
    expect(viewer).toHaveAttribute('data-total-rows', String(total));
    expect(viewer).toHaveAttribute('data-following', 'false');
    const line = viewer.querySelector('[data-row="20"]')!;
    expect(line).toHaveAttribute('data-seq', '21');
    expect(line).toHaveTextContent('<img src=x onerror=alert(1)>');
    expect(line.textContent).not.toContain('\u202e');
    expect(page.container.querySelector('img')).toBeNull();
    expect(screen.getByTestId('failure-card')).toHaveTextContent('exit 100');
    expect(screen.queryByRole('button', { name: 'Cancel…' })).toBeNull();
    expect(await violations(page.container)).toEqual([]);
  });

  it('opens the log of a run on the board before the run itself has come', async () => {
    location.hash = '#/deployments/one';
    const { host } = await started([failed], answer);
    const viewer = await screen.findByTestId('log-viewer');
    await waitFor(() => expect(viewer).toHaveAttribute('data-complete', 'true'));
    expect(viewer.querySelector('[data-row="20"]')).toHaveTextContent('<img src=x onerror=alert(1)>');
    // and it stays when the run comes
    const data = {
      summary: failed,
      context: { os: { name: 'Debian' } },
      events: [],
      latency_us: null,
      clock_offset_us: null,
    };
    host.say({ type: 'snapshot', id: host.idOf('deployment'), cursor: 1, data });
    await waitFor(() => expect(document.querySelector('#side .console')).not.toBeNull());
    expect(screen.getByTestId('log-viewer')).toBe(viewer);
  });

  it('waits with a row that somebody names for what the run itself knows', async () => {
    location.hash = '#/deployments/one?row=30';
    const board = { ...failed, rows: 10, state: 'running', outcome: null, finished_at: null, failure: null };
    const { host } = await started([board as DeploymentSummary], answer);
    await waitFor(() => host.idOf('deployment'));
    // what the board knows is shown
    await screen.findByTestId('deployment-state');
    expect(screen.queryByTestId('log-viewer')).toBeNull();
    const data = { summary: failed, context: null, events: [], latency_us: null, clock_offset_us: null };
    host.say({ type: 'snapshot', id: host.idOf('deployment'), cursor: 1, data });
    const viewer = await screen.findByTestId('log-viewer');
    await waitFor(() => expect(viewer.querySelector('[data-row="30"]')).not.toBeNull());
  });

  it('shows where a link of a tool leads, and opens it only when told to', async () => {
    const { host } = await open(failed);
    const openAddress = vi.fn(async () => undefined);
    Object.assign(host, { openAddress });
    const address = 'https://evil.example/login?next=https%3A%2F%2Fbank.example';
    const link = await waitFor(() => {
      const found = document.querySelector<HTMLElement>('[data-row="21"] [data-link]');
      expect(found).not.toBeNull();
      return found!;
    });
    expect(link).toHaveTextContent('https://bank.example/login');
    expect(link.title).toBe(address);
    const user = userEvent.setup();
    await user.click(link);
    expect(await screen.findByTestId('address')).toHaveTextContent(address);
    expect(screen.getByText('evil.example')).toBeInTheDocument();
    expect(screen.getByRole('alert')).toHaveTextContent('another address');
    expect(openAddress).not.toHaveBeenCalled();
    await user.click(screen.getByRole('button', { name: 'Open' }));
    expect(openAddress).toHaveBeenCalledExactlyOnceWith(address);
  });

  it('says plainly that a deployment is not there', async () => {
    location.hash = '#/deployments/nowhere';
    const { host } = await started([]);
    await waitFor(() => host.idOf('deployment'));
    const error = { code: 'not_found', message: 'no such deployment', retryable: false };
    host.say({ type: 'error', id: host.idOf('deployment'), error });
    expect(await screen.findByText('This deployment is not on this collector.')).toBeInTheDocument();
  });
});

describe('the status line', () => {
  it.each(['succeeded', 'failed', 'cancelled', 'interrupted'] as const)(
    'marks a run that %s as such',
    (outcome) => {
      const ended = summary({ state: outcome, outcome, finished_at: nowUs() });
      render(StatusLine, { summary: ended, total: 1, connected: true });
      expect(screen.getByTestId('log-status')).toHaveTextContent(/ended \d/);
      expect(screen.getByRole('img', { name: outcome })).toBeInTheDocument();
    },
  );
});

describe('the phases', () => {
  it('keep the running one in sight, unless the operator looks elsewhere', async () => {
    const scrolled = vi.spyOn(Element.prototype, 'scrollIntoView');
    const seen = () => scrolled.mock.contexts.map((row) => (row as HTMLElement).dataset['phase']);
    const phases = [0, 1, 2, 3].map((index) => phase({ index }));
    const at = (current: number | null) => ({
      summary: summary({ phases, current_phase: current }),
      now: nowUs(),
      current: null,
      onphase: () => undefined,
    });
    const region = document.body.appendChild(document.createElement('div'));
    region.setAttribute('role', 'region');
    const page = render(PhaseTimeline, { target: region, props: at(0) });
    await page.rerender(at(1));
    expect(seen()).toEqual(['0', '1']);
    // scrolled away from it: the next one is left where it is
    const away = vi.spyOn(page.container.querySelector('[data-phase="1"]')!, 'getBoundingClientRect');
    away.mockReturnValue({ top: 900, bottom: 940 } as DOMRect);
    await page.rerender(at(null));
    await page.rerender(at(2));
    expect(seen()).toEqual(['0', '1']);
    // back at the running one
    await page.rerender(at(3));
    expect(seen()).toEqual(['0', '1', '3']);
    region.remove();
  });
});

describe('cancelling', () => {
  it('takes two steps, the safe one first in focus', async () => {
    const oncancel = vi.fn().mockResolvedValue(undefined);
    render(CancelButton, { oncancel });
    const user = userEvent.setup();
    await user.click(screen.getByRole('button', { name: 'Cancel…' }));
    expect(oncancel).not.toHaveBeenCalled();
    expect(screen.getByRole('button', { name: 'Keep running' })).toHaveFocus();
    await user.click(screen.getByRole('button', { name: 'Stop it' }));
    expect(oncancel).toHaveBeenCalledOnce();
  });
});

describe('system context', () => {
  const facts = factsOf({
    secure_boot: true,
    memory: { total_bytes: 16e9 },
    disks: [{ name: 'nvme0n1', smart: { healthy: null } }],
    dns: ['1.1.1.1', '9.9.9.9'],
  });

  it('becomes facts, whatever its shape', () => {
    expect(facts).toContainEqual({ group: 'General', name: 'Secure boot', value: 'yes' });
    expect(facts).toContainEqual({ group: 'Memory', name: 'Total', value: '16 GB' });
    expect(facts).toContainEqual({ group: 'Disks', name: 'nvme0n1 · SMART · Healthy', value: 'unknown' });
    expect(facts).toContainEqual({ group: 'DNS', name: 'DNS', value: '1.1.1.1, 9.9.9.9' });
  });

  it('is searched by every word', () => {
    expect(grouped(facts, 'nvme healthy').flatMap((group) => group.facts)).toHaveLength(1);
    expect(grouped(facts, 'nvme windows')).toEqual([]);
  });
});
