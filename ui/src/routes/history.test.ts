import { fireEvent, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import { hit, row, summary } from '../test/fixtures';
import { nowUs, started, violations } from '../test/app';
import type { FakeHost } from '../test/fixtures';

const progress = {
  blocks: 9,
  of_blocks: 9,
  opened: 2,
  unreadable: 0,
  rows: 4_100_000,
  done: true,
  took_us: 120_000,
};

function found(host: FakeHost, hits = [hit('a', 9), hit('a', 5), hit('b', 7)], matched = hits.length) {
  const id = host.idOf('search');
  host.say({
    type: 'snapshot',
    id,
    data: {
      query: '',
      of_blocks: 9,
      histogram_from: nowUs() - 3600e6,
      histogram_width_us: 60e6,
      histogram_buckets: 60,
    },
  });
  host.say({ type: 'delta', id, data: { hits, matched, buckets: [[59, matched, 1]], progress } });
  host.say({ type: 'ended', id, reason: 'complete' });
}

const field = () => screen.getByRole<HTMLInputElement>('searchbox', { name: 'Search all logs' });
const queries = (host: FakeHost) =>
  host.socket.sent.filter((one) => one['topic'] === 'search').map((one) => one['query']);

const kept = (fields: object = {}) => ({
  id: 's',
  name: 'Disk trouble',
  query: 'word:disk',
  alert: true,
  created_at: 1,
  updated_at: 1,
  last_match_at: null,
  matches_today: 2,
  problem: null,
  ...fields,
});

async function opened(link = '#/history', searches = [kept()]) {
  location.hash = link;
  const app = await started([summary({ name: 'Bay 12' })], (request) => {
    if (request.path === '/api/v1/searches') {
      if (request.method === 'POST') {
        const made = kept({ ...(JSON.parse(request.body ?? '{}') as object), id: `kept-${searches.length}` });
        searches.push(made);
        return { status: 201, body: made };
      }
      return { body: { searches } };
    }
    if (request.path.startsWith('/api/v1/searches/')) return { status: 204, body: null };
    if (request.path.includes('/search/check')) {
      const q = new URL(request.path, 'http://x').searchParams.get('q') ?? '';
      const at = q.indexOf('eror');
      const problem = at < 0 ? null : { message: 'there is no level "eror"', from: at, to: at + 4 };
      return { body: { ok: problem === null, parts: [], problem } };
    }
    if (request.path.includes('/rows')) {
      return { body: { total_rows: 10, first_row: 2, rows: [row(2), row(3), row(4)], acked_seq: 9 } };
    }
    return { status: 404, body: {} };
  });
  return { ...app, user: userEvent.setup() };
}

beforeEach(() => {
  localStorage.clear();
  HTMLElement.prototype.setPointerCapture = () => undefined;
});

describe('History', () => {
  it('teaches before anything was searched, and searches for an example', async () => {
    const { host, page, user } = await opened();
    expect(await screen.findByText('Disk trouble')).toBeInTheDocument();
    expect(await violations(page.container)).toEqual([]);
    await user.click(screen.getByRole('button', { name: /level:error since:24h/ }));
    await waitFor(() => expect(queries(host)).toEqual(['level:error since:24h']));
    expect(location.hash).toBe('#/history?q=level%3Aerror%20since%3A24h');
    expect(field()).toHaveValue('level:error since:24h');
  });

  it('says of a kept search why it is not known what it finds', async () => {
    const { page } = await opened('#/history', [
      kept({ matches_today: 0, problem: 'there is no level "eror"' }),
    ]);
    expect(await screen.findByText('there is no level "eror"')).toBeInTheDocument();
    expect(screen.queryByText(/today/)).toBeNull();
    expect(await violations(page.container)).toEqual([]);
  });

  it('finds, and says how much was searched', async () => {
    const { host, page } = await opened('#/history?q=disk');
    await waitFor(() => found(host));
    expect(await screen.findByText('3 matches in 2 runs')).toBeInTheDocument();
    expect(screen.getByTestId('search-progress')).toHaveTextContent(
      'searched 9 blocks · 4.1 M lines · 0.12 s',
    );
    const list = screen.getByTestId('results');
    expect(within(list).getAllByText(/^line$/)[0]).toHaveClass('hit');
    expect(list.querySelector('a[href="#/deployments/a?seq=10"]')).not.toBeNull();
    expect(await violations(page.container)).toEqual([]);
  });

  it('goes through results by key, peeks around one, and opens it', async () => {
    const { host, user } = await opened('#/history?q=disk');
    await waitFor(() => found(host));
    await screen.findByText('3 matches in 2 runs');
    field().focus();
    await user.keyboard('{ArrowDown}');
    const list = screen.getByTestId('results');
    expect(list).toHaveFocus();
    await user.keyboard('jj');
    expect(list).toHaveAttribute('data-current', 'b:7');
    await user.keyboard('k ');
    await waitFor(() => expect(host.requests.at(-1)?.path).toContain('/deployments/a/rows?from=2&count=7'));
    await user.keyboard('{Enter}');
    await waitFor(() => expect(location.hash).toBe('#/deployments/a?seq=6'));
    // and back: the results are still there, unsearched for
    location.hash = '#/history?q=disk';
    expect(await screen.findByTestId('results')).toHaveAttribute('data-current', 'a:5');
    expect(queries(host)).toEqual(['disk']);
  });

  it('narrows by chips, which edit the text', async () => {
    const { host, user } = await opened('#/history?q=disk');
    await waitFor(() => found(host));
    screen.getByRole('button', { name: 'Level: Any level' }).focus();
    await user.keyboard('{Enter}');
    await user.keyboard('{ArrowDown}{ArrowDown}{Enter}');
    await waitFor(() => expect(field()).toHaveValue('disk level:error'));
    screen.getByRole('button', { name: 'Console: Any console' }).focus();
    await user.keyboard('{Enter}');
    await user.keyboard('{ArrowDown}{Enter}');
    await waitFor(() => expect(field()).toHaveValue('disk level:error console:="Bay 12"'));
    expect(screen.getByRole('button', { name: 'Console: Bay 12' })).toBeInTheDocument();
    expect(queries(host).at(-1)).toBe('disk level:error console:="Bay 12"');
    history.back();
    await waitFor(() => expect(field()).toHaveValue('disk level:error'));
  });

  it('searches in a range that is chosen by keys or by dragging', async () => {
    const { host, user } = await opened('#/history?q=disk');
    await waitFor(() => found(host));
    const plot = await screen.findByRole('slider', { name: 'Matches over time' });
    plot.focus();
    await user.keyboard('{ArrowLeft}');
    expect(plot).toHaveAttribute('aria-valuetext', expect.stringMatching(/3 matches, 1 error$/));
    await user.keyboard('{Shift>}{ArrowLeft}{ArrowLeft}{/Shift}{Enter}');
    await waitFor(() => expect(field().value).toMatch(/^disk after:"[-\d: ]+" before:"[-\d: ]+"$/));
    await waitFor(() => expect(queries(host)).toHaveLength(2));
    await waitFor(() => found(host));
    const again = await screen.findByRole('slider', { name: 'Matches over time' });
    const before = field().value;
    await fireEvent.pointerDown(again, { button: 0, clientX: 0 });
    await fireEvent.pointerUp(again, { button: 0, clientX: 0 });
    await waitFor(() => expect(field().value).not.toBe(before));
    expect(field().value).toMatch(/^disk after:"[-\d: ]+" before:"[-\d: ]+"$/);
  });

  it('says what is wrong with a query, and where', async () => {
    const { host, page, user } = await opened();
    await user.type(field(), 'level:eror{Enter}');
    const error = { code: 'bad_request', message: 'there is no level "eror"', retryable: false };
    await waitFor(() => host.idOf('search'));
    host.say({ type: 'error', id: host.idOf('search'), error });
    await waitFor(() => expect(field()).toHaveAccessibleDescription('there is no level "eror"'));
    expect(page.container.querySelector('.wrong')).toHaveTextContent('eror');
    expect(field()).toHaveAttribute('aria-invalid', 'true');
    expect(await violations(page.container)).toEqual([]);
  });

  it('suggests less when nothing was found', async () => {
    const { host, user } = await opened('#/history?q=zebra%20since%3A7d');
    await waitFor(() => found(host, [], 0));
    expect(await screen.findByTestId('nothing-found')).toHaveTextContent('All 4.1 M lines in 9 blocks');
    await user.click(screen.getByRole('button', { name: 'Without since:7d' }));
    await waitFor(() => expect(queries(host).at(-1)).toBe('zebra'));
  });

  it('is stopped by Escape', async () => {
    const { host, user } = await opened();
    await user.type(field(), 'disk{Enter}');
    await waitFor(() => host.idOf('search'));
    await user.keyboard('{Escape}');
    expect(await screen.findByText('Stopped before anything was found')).toBeInTheDocument();
    expect(host.socket.sent.at(-1)).toMatchObject({ type: 'unsubscribe' });
  });

  it('keeps searches, and brings back one that was deleted', async () => {
    const { host, user } = await opened('#/history?q=nvidia');
    await user.click(await screen.findByRole('button', { name: 'Save…' }));
    await user.type(await screen.findByLabelText('Name'), 'Drivers');
    await user.click(screen.getByLabelText(/worth an alert/));
    await user.click(screen.getByRole('button', { name: 'Save' }));
    expect(await screen.findByText('Drivers saved')).toBeInTheDocument();
    const post = host.requests.find((request) => request.method === 'POST');
    expect(JSON.parse(post!.body!)).toEqual({ name: 'Drivers', query: 'nvidia', alert: true });
    location.hash = '#/history';
    await user.click(await screen.findByRole('button', { name: 'Delete Disk trouble' }));
    await waitFor(() => expect(screen.getAllByTestId('saved-search')).toHaveLength(1));
    await user.click(screen.getByRole('button', { name: 'Undo' }));
    await waitFor(() => expect(screen.getAllByTestId('saved-search')).toHaveLength(2));
  });

  it('remembers what was searched, on this machine', async () => {
    const { host, user } = await opened();
    await user.type(field(), 'some words{Enter}');
    await waitFor(() => expect(queries(host)).toContain('some words'));
    await user.click(screen.getByRole('button', { name: 'Clear' }));
    expect(await screen.findByRole('link', { name: 'some words' })).toBeInTheDocument();
    await user.click(screen.getByRole('button', { name: 'Forget these' }));
    expect(screen.queryByRole('link', { name: 'some words' })).toBeNull();
  });

  it('does not fill the way back with what was typed in between', async () => {
    const { host, user } = await opened();
    const length = history.length;
    await user.type(field(), 'di');
    await waitFor(() => expect(queries(host)).toEqual(['di']));
    await user.type(field(), 'sk');
    await waitFor(() => expect(queries(host)).toEqual(['di', 'disk']));
    expect(history.length).toBe(length + 1);
    expect(location.hash).toBe('#/history?q=disk');
    await user.type(field(), 's{Enter}');
    await waitFor(() => expect(queries(host)).toEqual(['di', 'disk', 'disks']));
    expect(history.length).toBe(length + 1);
  });
});
