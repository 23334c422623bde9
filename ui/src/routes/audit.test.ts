/** The audit screen, in the whole app. */
import { screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import type { AuditEntry } from '../lib/api/types';
import { asked, dayStart, filterQuery, NO_FILTER, parseFilter, shortId } from '../lib/audit/trail.svelte';
import { nowUs, started, violations } from '../test/app';
import type { Answer } from '../test/fixtures';

const ID = '01890a5d-ac96-774b-bcce-b302099a8050';

function entry(position: number, fields: Partial<AuditEntry> = {}): AuditEntry {
  return {
    position,
    at: nowUs() - (100 - position) * 60e6,
    actor: { kind: 'local_admin', id: null, role: null },
    address: '192.0.2.7',
    action: 'console_revoked',
    subject: { kind: 'console', id: ID },
    outcome: 'done',
    detail: { method: 'POST', route: '/api/v1/consoles/{id}/revoke' },
    hash: 'ab'.repeat(32),
    ...fields,
  };
}

const newest = [
  entry(9),
  entry(8, {
    action: 'request_denied',
    outcome: 'denied',
    subject: null,
    actor: { kind: 'stranger', id: null, role: null },
  }),
  entry(7, { action: 'operator_invited_somebody', outcome: 'failed', detail: { name: '<b>=1+1' } }),
];

function answering(verified: object | null = null): Answer {
  return (request) => {
    const url = new URL(request.path, 'http://x');
    if (url.pathname === '/api/v1/audit/verify') {
      return verified === null ? { status: 500, body: {} } : { body: verified };
    }
    if (url.pathname !== '/api/v1/audit') return { status: 404, body: {} };
    const outcome = url.searchParams.get('outcome');
    const older = url.searchParams.get('before') !== null;
    const entries = older ? [entry(6)] : newest.filter((one) => !outcome || one.outcome === outcome);
    return {
      body: { entries, next: older || outcome ? null : 7, position: 9, checkpoint: 5, verified: null },
    };
  };
}

const found = {
  entries: 9,
  position: 9,
  hash: 'ab',
  checkpoints: 3,
  key: 'sha256//x',
  complete: true,
  more_problems: 0,
};

beforeEach(() => localStorage.clear());

describe('the audit screen', () => {
  it('lists who did what, opens an entry and loads older ones', async () => {
    location.hash = '#/audit';
    const { page } = await started([], answering());
    const rows = await screen.findAllByTestId('audit-entry');
    expect(rows).toHaveLength(3);
    expect(rows[0]).toHaveTextContent('Console removed');
    expect(rows[0]).toHaveTextContent('Holder of the token');
    expect(rows[0]).toHaveTextContent('…099a8050');
    expect(rows[1]).toHaveTextContent('Denied');
    expect(rows[2]).toHaveTextContent('Operator invited somebody');
    expect(screen.getByRole('link', { name: 'Audit' })).toHaveAttribute('aria-current', 'page');
    const user = userEvent.setup();
    const button = within(rows[2]!).getByRole('button');
    expect(button).toHaveAttribute('aria-expanded', 'false');
    await user.click(button);
    expect(button).toHaveAttribute('aria-expanded', 'true');
    expect(screen.getByText('<b>=1+1')).toBeInTheDocument();
    expect(screen.getByText('ab'.repeat(32))).toBeInTheDocument();
    expect(await violations(page.container)).toEqual([]);
    await user.click(screen.getByRole('button', { name: 'Show older entries' }));
    await waitFor(() => expect(screen.getAllByTestId('audit-entry')).toHaveLength(4));
    expect(screen.queryByRole('button', { name: 'Show older entries' })).toBeNull();
  });

  it('is narrowed by its fields and by its link', async () => {
    location.hash = '#/audit?outcome=denied';
    const { host } = await started([], answering());
    expect(await screen.findAllByTestId('audit-entry')).toHaveLength(1);
    const user = userEvent.setup();
    await user.selectOptions(screen.getByLabelText('Outcome'), 'failed');
    await waitFor(() => expect(screen.getByTestId('audit-entry')).toHaveTextContent('Failed'));
    expect(location.hash).toBe('#/audit?outcome=failed');
    await user.type(screen.getByLabelText('Name, id, address'), 'bay 12');
    await waitFor(() => expect(host.requests.at(-1)!.path).toContain('text=bay+12'));
    await user.click(screen.getByRole('button', { name: 'Clear the filter' }));
    await waitFor(() => expect(screen.getAllByTestId('audit-entry')).toHaveLength(3));
    expect(location.hash).toBe('#/audit');
  });

  it('verifies, and says how far', async () => {
    location.hash = '#/audit';
    const { page } = await started(
      [],
      answering({ sound: true, at: nowUs(), found: { ...found, problems: [] }, key: 'sha256//x' }),
    );
    expect(await screen.findByText('Not verified since the collector started')).toBeInTheDocument();
    await userEvent.setup().click(screen.getByRole('button', { name: 'Verify' }));
    expect(await screen.findByText('Verified up to entry 9')).toBeInTheDocument();
    expect(screen.getByText('sha256//x')).toBeInTheDocument();
    expect(await violations(page.container)).toEqual([]);
  });

  it('names the place of what is not as it was written', async () => {
    location.hash = '#/audit';
    const problems = [
      { from: 4, to: 4, what: 'changed' },
      { from: 6, to: 8, what: 'cut off' },
    ];
    const { page } = await started(
      [],
      answering({ sound: false, at: nowUs(), found: { ...found, problems }, key: 'sha256//x' }),
    );
    await screen.findAllByTestId('audit-entry');
    await userEvent.setup().click(screen.getByRole('button', { name: 'Verify' }));
    expect(await screen.findByText('The trail is not as it was written')).toBeInTheDocument();
    const told = screen.getAllByTestId('audit-problem').map((one) => one.textContent);
    expect(told).toEqual(['Entry 4: changed', 'Entries 6 to 8: cut off']);
    expect(await violations(page.container)).toEqual([]);
  });

  it('says what is wrong, and that there is nothing', async () => {
    location.hash = '#/audit';
    const refused = { error: { code: 'forbidden', message: 'this needs the role admin', retryable: false } };
    const { host } = await started([], () => ({ status: 403, body: refused }));
    const alert = await screen.findByText(/could not be loaded/);
    expect(alert).toHaveTextContent('this needs the role admin');
    host.answer = () => ({ body: { entries: [], next: null, position: 0, checkpoint: 0, verified: null } });
    await userEvent.setup().click(screen.getByRole('button', { name: 'Try again' }));
    expect(await screen.findByText('Nothing is written down yet.')).toBeInTheDocument();
  });
});

describe('a filter of the trail', () => {
  it('is the same from and to a link', () => {
    const filter = { ...NO_FILTER, actor: 'console', text: 'a & b', from: '2026-11-26' };
    expect(parseFilter(filterQuery(filter))).toEqual(filter);
    expect(filterQuery(NO_FILTER)).toBe('');
    expect(parseFilter('outcome=done&other=1')).toEqual({ ...NO_FILTER, outcome: 'done' });
  });

  it('means whole local days', () => {
    const day = dayStart('2026-11-26')!;
    expect(new Date(day / 1000).getHours()).toBe(0);
    expect(asked({ ...NO_FILTER, to: '2026-11-26' })['to']).toBe(dayStart('2026-11-27'));
    expect(dayStart('soon')).toBeNull();
  });

  it('shortens ids and nothing else', () => {
    expect(shortId(ID)).toBe('…099a8050');
    expect(shortId('desk')).toBe('desk');
  });
});
