/** The screens about several runs, in the whole app. */
import { screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Comparison, Signature } from '../lib/api/types';
import { nowUs, started, violations } from '../test/app';
import { row, summary, type Answer } from '../test/fixtures';

const run = (id: string, fields: object = {}) => ({
  deployment_id: id,
  console_name: 'Bay 12',
  template: 'Autumn Cup',
  hardware: null,
  started_at: nowUs(),
  finished_at: nowUs(),
  state: 'succeeded' as const,
  rows: 100,
  ...fields,
});
const comparison: Comparison = {
  this: run('bad', { state: 'failed' }),
  other: run('good', { rows: 102 }),
  how: 'last_good_same_hardware',
  complete: true,
  first_difference: {
    this_row: 40,
    other_row: 40,
    kind: 'changed',
    text: 'Secure Boot is enabled',
    other_text: 'Secure Boot is disabled',
  },
  phases: [
    { name: 'Drivers', this_us: 9e6, other_us: 4e6, this_state: 'failed', other_state: 'succeeded' },
    { name: 'Game', this_us: null, other_us: 4e6, this_state: null, other_state: 'succeeded' },
  ],
  hunks: [
    {
      kind: 'changed',
      this_from: 40,
      this_to: 41,
      other_from: 40,
      other_to: 41,
      this_lines: ['<b>Secure Boot is enabled'],
      other_lines: ['<b>Secure Boot is disabled'],
    },
    {
      kind: 'missing_here',
      this_from: 90,
      this_to: 90,
      other_from: 90,
      other_to: 92,
      this_lines: [],
      other_lines: ['one', 'two'],
    },
  ],
  same_rows: 99,
  ignored: 3,
};
const signature: Signature = {
  id: 'sig',
  title: "could not insert '<*>': Key was rejected",
  version: 1,
  count: 6,
  consoles: ['Bay 12', 'Bay 3'],
  templates: ['Autumn Cup'],
  first_seen_at: nowUs() - 9 * 86_400e6,
  last_seen_at: nowUs(),
  new: false,
  runs: [{ deployment_id: 'bad', console_name: 'Bay 12', at: nowUs(), row: 40 }],
  fixed_by: {
    deployment_id: 'good',
    console_name: 'Bay 12',
    at: nowUs(),
    difference: 'Enrolling key',
    failed: 'bad',
  },
};

const answer: Answer = (request) => {
  const url = new URL(request.path, 'http://x');
  if (url.pathname.endsWith('/comparison')) {
    if (url.searchParams.get('with') === 'good' || url.pathname.includes('/bad/'))
      return { body: comparison };
    return { status: 404, body: { error: { code: 'not_found', message: 'none', retryable: false } } };
  }
  if (url.pathname === '/api/v1/signatures') return { body: { signatures: [signature] } };
  if (url.pathname === '/api/v1/signatures/sig') return { body: signature };
  if (url.pathname === '/api/v1/deployments') return { body: { deployments: [], next: null } };
  if (url.pathname.endsWith('/rows')) {
    const from = Number(url.searchParams.get('from'));
    const count = Math.min(Number(url.searchParams.get('count')), 100 - from);
    const rows = Array.from({ length: count }, (_, i) => row(from + i));
    return { body: { total_rows: 100, first_row: from, rows, acked_seq: 100 } };
  }
  return { status: 404, body: {} };
};

beforeEach(() => localStorage.clear());

describe('a comparison', () => {
  it('shows first where the runs part, then everything, aligned', async () => {
    location.hash = '#/compare/bad?with=last-good';
    const { page } = await started([], answer);
    const card = await screen.findByTestId('first-difference');
    expect(card).toHaveTextContent('Secure Boot is disabled');
    expect(within(card).getByRole('link', { name: 'Open the log there' })).toHaveAttribute(
      'href',
      '#/deployments/bad?row=40',
    );
    expect(screen.getByText('the last good run on the same hardware')).toBeInTheDocument();
    expect(screen.getByText('5.0 s longer')).toBeInTheDocument();
    expect(screen.getAllByTestId('hunk')).toHaveLength(2);
    expect(screen.getAllByTestId('hunk')[0]!.textContent).toContain('<b>Secure Boot is enabled');
    expect(page.container.querySelector('[data-testid=hunk] b')).toBeNull();
    expect(screen.getByText('— 40 lines alike —')).toBeInTheDocument();
    expect(screen.getByText('— 10 lines alike —')).toBeInTheDocument();
    expect(await violations(page.container)).toEqual([]);
    const user = userEvent.setup();
    await user.keyboard('nn');
    await waitFor(() => expect(screen.getAllByTestId('hunk')[1]).toHaveFocus());
    await user.keyboard('N');
    await waitFor(() => expect(screen.getAllByTestId('hunk')[0]).toHaveFocus());
    await user.click(screen.getByText('— 10 lines alike —'));
    await waitFor(() => expect(screen.queryByText('— 10 lines alike —')).toBeNull());
    expect(screen.getAllByText('line 95')).toHaveLength(2);
  });

  it('says when there is nothing to compare with', async () => {
    location.hash = '#/compare/lonely';
    await started([], answer);
    expect(await screen.findByText('There is no good run to compare with yet.')).toBeInTheDocument();
  });
});

describe('failures', () => {
  it('are listed, and told in detail', async () => {
    location.hash = '#/signatures';
    const { page } = await started([], answer);
    expect(await screen.findByTestId('signature')).toHaveTextContent('‹…›');
    expect(await violations(page.container)).toEqual([]);
    const user = userEvent.setup();
    await user.keyboard('j{Enter}');
    expect(await screen.findByText('Enrolling key')).toBeInTheDocument();
    expect(screen.getByRole('link', { name: 'Compare the two runs' })).toHaveAttribute(
      'href',
      '#/compare/bad?with=good',
    );
    expect(screen.getByRole('link', { name: /line 41/ })).toHaveAttribute('href', '#/deployments/bad?row=40');
    expect(await violations(page.container)).toEqual([]);
  });

  it('are known on the card of a run that failed', async () => {
    location.hash = '#/deployments/bad';
    const failed = summary({
      id: 'bad',
      state: 'failed',
      outcome: 'failed',
      finished_at: nowUs(),
      rows: 100,
      failure: { message: 'Key was rejected', row: 40, seq: 41, exit: null, phase: null },
    });
    const { host } = await started([failed], answer);
    await waitFor(() => host.idOf('deployment'));
    const detail = { summary: failed, context: null, events: [] };
    host.say({ type: 'snapshot', id: host.idOf('deployment'), data: detail });
    const seen = await screen.findByTestId('seen-before');
    expect(seen).toHaveTextContent('Seen 6 times on 2 consoles');
    expect(seen).toHaveAttribute('href', '#/signatures/sig');
    expect(screen.getByRole('link', { name: 'Compare with the last good run' })).toHaveAttribute(
      'href',
      '#/compare/bad?with=last-good',
    );
  });
});

describe('what is kept', () => {
  const policy = { max_age_days: 90, max_bytes: null, failed_age_days: 365 };

  it('is changed only after what would go was shown', async () => {
    location.hash = '#/settings';
    const oldest = [summary({ id: 'old', name: 'Bay 9', state: 'succeeded', outcome: 'succeeded' })];
    const { host, page } = await started([], (request) => {
      if (request.path === '/api/v1/retention/preview')
        return { body: { deployments: 18, bytes: 1.2e9, rows: 3_400_000, oldest } };
      if (request.path === '/api/v1/retention')
        return { body: { policy, stored_bytes: 8.4e9, deployments: 412, oldest_at: null } };
      return { status: 404, body: {} };
    });
    expect(await screen.findByText('8.4 GB in 412 runs')).toBeInTheDocument();
    const user = userEvent.setup();
    const look = screen.getByRole('button', { name: 'See what would go' });
    expect(look).toBeDisabled();
    const age = screen.getByLabelText(/^Keep logs for/);
    await user.clear(age);
    await user.type(age, '0');
    expect(age).toHaveAccessibleDescription('A whole number of at least 1, or nothing');
    await user.clear(age);
    await user.type(age, '14{Enter}');
    const preview = await screen.findByTestId('retention-preview');
    expect(preview).toHaveTextContent('This removes 18 runs: 1.2 GB, 3.4 M lines.');
    expect(preview).toHaveTextContent('and 17 more');
    expect(host.requests.some((request) => request.method === 'PUT')).toBe(false);
    expect(await violations(page.container)).toEqual([]);
    await user.click(screen.getByRole('button', { name: 'Remove 18 runs and apply' }));
    await waitFor(() => expect(screen.queryByTestId('retention-preview')).toBeNull());
    const put = host.requests.find((request) => request.method === 'PUT');
    expect(JSON.parse(put!.body!)).toEqual({ ...policy, max_age_days: 14 });
  });
});

describe('logs side by side', () => {
  it('are chosen, shown next to each other, and closed', async () => {
    location.hash = '#/together';
    const runs = [summary({ id: 'a', name: 'Bay 1' }), summary({ id: 'b', name: 'Bay 2' })];
    const { host, page } = await started(runs, answer);
    const user = userEvent.setup();
    await user.click(await screen.findByRole('button', { name: 'Everything that runs now' }));
    await waitFor(() => expect(screen.getAllByTestId('side')).toHaveLength(2));
    for (const one of runs) {
      const asked = host.socket.sent.findLast(
        (sent) => sent['topic'] === 'deployment' && sent['deployment_id'] === one.id,
      );
      const detail = { summary: one, context: null, events: [], clock_offset_us: 0 };
      host.say({ type: 'snapshot', id: asked!['id'], data: detail });
    }
    expect(await screen.findByRole('region', { name: /^Log of Bay 2/ })).toBeInTheDocument();
    expect(await violations(page.container)).toEqual([]);
    await user.click(screen.getByRole('button', { name: 'Close Bay 1' }));
    await waitFor(() => expect(location.hash).toBe('#/together?run=b'));
    await waitFor(() => expect(screen.getAllByTestId('side')).toHaveLength(1));
    await user.click(screen.getByRole('radio', { name: 'One list' }));
    await waitFor(() => expect(location.hash).toBe('#/together?run=b&view=merged'));
    expect(await screen.findByTestId('merged')).toBeInTheDocument();
  });
});
