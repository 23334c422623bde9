/** Adding consoles and the Fleet screen, in the whole app. */
import { screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import { info, nowUs, started, violations } from '../test/app';
import { aCode, aConsole, FakeConsoles } from '../test/consoles';
import { summary } from '../test/fixtures';

beforeEach(() => {
  localStorage.clear();
  location.hash = '#/live';
});

const dialog = () => screen.findByRole('dialog', { name: 'Add consoles' });
const refused = (message: string) => ({
  status: 400,
  body: { error: { code: 'invalid', message, retryable: false } },
});

describe('adding consoles', () => {
  it('takes three presses: open, make a code, copy', async () => {
    const fake = new FakeConsoles();
    await started([], fake.answer);
    const user = userEvent.setup();
    await screen.findByTestId('empty-state');
    await user.keyboard('a');
    const open = await dialog();
    await waitFor(() =>
      expect(within(open).getByRole('combobox', { name: 'Template' })).toHaveValue('arcade'),
    );
    expect(within(open).getByRole('spinbutton', { name: /Consoles/ })).toHaveValue(1);
    expect(within(open).getByRole('button', { name: 'Make a code' })).toHaveFocus();
    expect(await violations(document.body)).toEqual([]);
    await user.keyboard('{Enter}');
    await screen.findByTestId('code-shown');
    expect(within(open).getByRole('button', { name: 'Copy: Line to paste' })).toHaveFocus();
    await user.keyboard('{Enter}');
    expect(await navigator.clipboard.readText()).toBe(
      'curl -fsSk --proto =https --tlsv1.3 --pinnedpubkey sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU= https://192.168.1.20:7443/deploy/console | bash',
    );
    expect(within(open).getAllByText('Copied')[0]).toBeInTheDocument();
    expect(fake.done).toEqual([
      'POST /api/v1/join-tokens {"template":"arcade","venue":null,"uses":1,"ttl_s":900}',
    ]);
  });

  it('shows code, time left, key and QR code, and takes the code back', async () => {
    const fake = new FakeConsoles();
    await started([], fake.answer);
    const user = userEvent.setup();
    await user.click(await screen.findByRole('button', { name: /^Add consoles/ }));
    const open = await dialog();
    await user.click(await within(open).findByRole('button', { name: 'Make a code' }));
    expect(await within(open).findByTestId('code')).toHaveTextContent('7K2M-9QXA-T4V1');
    expect(within(open).getByRole('timer', { name: 'Time left' })).toHaveTextContent(/1[45]:\d\d left/);
    expect(within(open).getByText('lets in 1 console')).toBeInTheDocument();
    expect(within(open).getByText('WERC-8GMR-ZGE1')).toBeInTheDocument();
    expect(within(open).getByRole('img', { name: 'The line as a QR code' })).toBeInTheDocument();
    expect(within(open).queryByTestId('reach-note')).toBeNull();
    await user.click(within(open).getByText('Look before you run it'));
    expect(within(open).getByText(/less deckport.sh/)).toBeInTheDocument();
    expect(await violations(document.body)).toEqual([]);
    await user.click(within(open).getByRole('button', { name: 'Take back' }));
    expect(await within(open).findByText('This code was taken back.')).toBeInTheDocument();
    expect(within(open).queryByTestId('code')).toBeNull();
    expect(fake.done.at(-1)).toBe('DELETE /api/v1/join-tokens/code-1');
    expect(within(open).getByRole('button', { name: 'Make another' })).toHaveFocus();
    await user.keyboard('{Enter}');
    expect(await within(open).findByTestId('code')).toHaveTextContent('7K2M-9QXA-T4V2');
    expect(await violations(document.body)).toEqual([]);
  });

  it('shows who comes in with it, with a link to the first deployment', async () => {
    const fake = new FakeConsoles();
    fake.list = [aConsole({ id: 'old', name: 'Bay 1' })];
    const { host } = await started([], fake.answer);
    const user = userEvent.setup();
    await user.keyboard('a');
    const open = await dialog();
    const uses = within(open).getByRole('spinbutton', { name: /Consoles/ });
    await user.clear(uses);
    await user.type(uses, '2{Enter}');
    await screen.findByTestId('code');
    expect(within(open).getByText(/Waiting for a console/)).toBeInTheDocument();
    fake.join(aConsole({ id: 'new', name: 'Bay 12', linked_since: null }));
    const joined = await within(open).findByTestId('joined');
    expect(joined).toHaveTextContent('Bay 12');
    expect(joined).toHaveTextContent('added, not linked');
    expect(joined).toHaveTextContent('no deployment yet');
    expect(within(open).getByText('lets in 1 more of 2')).toBeInTheDocument();
    expect(within(open).getByText('Bay 12 was added.')).toBeInTheDocument();
    host.say({
      type: 'delta',
      id: host.idOf('fleet'),
      data: { changed: [summary({ id: 'run', console_id: 'new', started_at: nowUs() + 1e6 })], removed: [] },
    });
    expect(await within(joined).findByRole('link', { name: /First deployment/ })).toHaveAttribute(
      'href',
      '#/deployments/run',
    );
    expect(await violations(document.body)).toEqual([]);
    fake.join(aConsole({ id: 'newer', name: 'Bay 13' }));
    expect(await within(open).findByText('This code is used up.')).toBeInTheDocument();
    expect(within(open).getAllByTestId('joined')).toHaveLength(2);
    expect(within(open).queryByText(/Waiting for a console/)).toBeNull();
    await user.click(within(joined).getByRole('link', { name: /First deployment/ }));
    await waitFor(() => expect(location.hash).toBe('#/deployments/run'));
    await waitFor(() => expect(screen.queryByRole('dialog', { name: 'Add consoles' })).toBeNull());
  });

  it('says why no code could be made, and makes one when that is over', async () => {
    const fake = new FakeConsoles();
    fake.instead = ({ method, path }) =>
      method === 'POST' && path === '/api/v1/join-tokens'
        ? refused('200 codes are open already; take some back first')
        : { status: 0, body: null };
    await started([], fake.answer);
    const user = userEvent.setup();
    await user.keyboard('a');
    const open = await dialog();
    await user.click(within(open).getByRole('button', { name: 'Make a code' }));
    expect(await within(open).findByRole('alert')).toHaveTextContent(
      'No code could be made: 200 codes are open already; take some back first',
    );
    expect(await violations(document.body)).toEqual([]);
    fake.instead = null;
    await user.click(within(open).getByRole('button', { name: 'Make a code' }));
    expect(await within(open).findByTestId('code')).toBeInTheDocument();
  });

  it('ends the code when its time is over', async () => {
    const fake = new FakeConsoles();
    fake.lifetimeUs = 1.5e6;
    await started([], fake.answer);
    const user = userEvent.setup();
    await user.keyboard('a');
    const open = await dialog();
    await user.click(within(open).getByRole('button', { name: 'Make a code' }));
    expect(await within(open).findByText('This code has expired.')).toBeInTheDocument();
    expect(within(open).queryByRole('button', { name: 'Copy: Line to paste' })).toBeNull();
    expect(within(open).getByRole('button', { name: 'Make another' })).toBeInTheDocument();
    expect(await violations(document.body)).toEqual([]);
  });

  it('chooses between addresses', async () => {
    const fake = new FakeConsoles();
    fake.authorities = ['192.168.1.20:7443', 'deck.example:7443'];
    await started([], fake.answer);
    const user = userEvent.setup();
    await user.keyboard('a');
    const open = await dialog();
    await user.click(within(open).getByRole('button', { name: 'Make a code' }));
    const chooser = await within(open).findByRole('combobox', { name: 'Reached at' });
    expect(within(open).getByTestId('code-shown')).toHaveTextContent('https://192.168.1.20:7443/deploy');
    await user.selectOptions(chooser, 'deck.example:7443');
    expect(within(open).getByTestId('code-shown')).toHaveTextContent('https://deck.example:7443/deploy');
    expect(within(open).getByTestId('code-shown')).not.toHaveTextContent('192.168.1.20:7443/deploy');
  });

  it('says when only this machine reaches the collector, and what to do', async () => {
    const fake = new FakeConsoles();
    fake.onlyHere = true;
    await started([], fake.answer, { ...info, listen: 'https://127.0.0.1:7555' });
    const user = userEvent.setup();
    await user.keyboard('a');
    const open = await dialog();
    expect(within(open).getByTestId('reach-note')).toHaveTextContent('--listen 0.0.0.0:7555');
    await user.click(within(open).getByRole('button', { name: 'Make a code' }));
    await screen.findByTestId('code');
    expect(within(open).getByTestId('reach-note')).toHaveTextContent('Only this machine can reach');
  });

  it('is in the palette', async () => {
    await started([], new FakeConsoles().answer);
    const user = userEvent.setup();
    await user.keyboard('{Control>}k{/Control}');
    await user.type(await screen.findByRole('combobox'), 'add cons');
    await user.keyboard('{Enter}');
    expect(await dialog()).toBeInTheDocument();
  });
});

describe('the Fleet screen', () => {
  const rows = () => screen.getAllByTestId('console-row').map((row) => row.dataset['id']);
  const row = (id: string) => screen.getAllByTestId('console-row').find((one) => one.dataset['id'] === id)!;

  function fleet() {
    const fake = new FakeConsoles();
    const away = { linked_since: null, health: null, agent_version: null };
    fake.list = [
      aConsole({ id: 'b12', name: 'Bay 12' }),
      aConsole({
        id: 'b2',
        name: 'Bay 2',
        health: { ...aConsole().health!, clock_ahead_us: 4.2e6, memory_available_bytes: 1e9 },
      }),
      aConsole({ id: 'off', name: 'Card table', template: 'card-shop', ...away }),
      aConsole({ id: 'locked', name: 'Stage', standing: 'locked', ...away }),
      aConsole({ id: 'gone', name: 'Old bay', standing: 'revoked', ...away }),
      aConsole({ id: 'never', name: 'Bench', standing: 'unenrolled', template: null, ...away }),
    ];
    location.hash = '#/fleet';
    return fake;
  }

  it('teaches how to begin', async () => {
    location.hash = '#/fleet';
    const { page } = await started([], new FakeConsoles().answer);
    expect(await screen.findByTestId('fleet-empty')).toHaveTextContent('No consoles yet');
    expect(await violations(page.container)).toEqual([]);
  });

  it('puts those that are locked out on top and removed ones away', async () => {
    const fake = fleet();
    const { page } = await started([], fake.answer);
    await screen.findAllByTestId('console-row');
    expect(rows()).toEqual(['locked', 'b2', 'b12', 'never', 'off']);
    expect(screen.getByText(/^5 consoles, 2 linked/)).toHaveTextContent('1 locked out');
    expect(row('locked')).toHaveTextContent(/somebody has a copy of it/);
    expect(row('b2')).toHaveTextContent('clock 4.2 s ahead');
    expect(row('b12')).not.toHaveTextContent('clock');
    expect(row('b12')).toHaveTextContent('linked 3 h');
    expect(row('b12')).toHaveTextContent('in 6 d');
    expect(within(row('b2')).getByRole('meter', { name: 'Memory' })).toHaveAttribute('aria-valuenow', '93');
    expect(within(row('off')).queryByRole('button', { name: /Deploy now/ })).toBeNull();
    expect(await violations(page.container)).toEqual([]);
    const user = userEvent.setup();
    await user.click(screen.getByRole('button', { name: 'Show 1 removed' }));
    expect(rows()).toEqual(['locked', 'b2', 'b12', 'never', 'off', 'gone']);
    await user.click(within(row('locked')).getByRole('button', { name: 'Add it again…' }));
    expect(await dialog()).toBeInTheDocument();
  });

  it('filters', async () => {
    await started([], fleet().answer);
    await screen.findAllByTestId('console-row');
    const user = userEvent.setup();
    await user.keyboard('/bay');
    expect(rows()).toEqual(['b2', 'b12', 'gone']);
    await user.keyboard(' nothing');
    expect(screen.getByText('No console matches.')).toBeInTheDocument();
    await user.keyboard('{Escape}');
    expect(rows()).toHaveLength(5);
  });

  it('deploys by keyboard, and says what the console said', async () => {
    const fake = fleet();
    await started([summary({ console_id: 'b12', started_at: nowUs() })], fake.answer);
    await screen.findAllByTestId('console-row');
    const user = userEvent.setup();
    await user.keyboard('jjj');
    expect(within(row('b12')).getByRole('link', { name: 'Bay 12' })).toHaveFocus();
    await user.keyboard('d');
    const asked = await screen.findByRole('dialog', { name: 'Deploy on Bay 12' });
    expect(asked).toHaveTextContent('Bay 12 is in a deployment already');
    expect(within(asked).getByRole('button', { name: 'Deploy now' })).toHaveFocus();
    expect(fake.done).toEqual([]);
    expect(await violations(document.body)).toEqual([]);
    await user.keyboard('{Enter}');
    expect(await screen.findByText('Bay 12: the deployment was started')).toBeInTheDocument();
    expect(fake.done).toEqual(['POST /api/v1/consoles/b12/order {"order":"deploy"}']);
  });

  it('renews at once, and tells of a console that does not', async () => {
    const fake = fleet();
    fake.instead = ({ path }) =>
      path.endsWith('/order')
        ? {
            status: 409,
            body: {
              error: { code: 'not_connected', message: 'the console is not connected', retryable: true },
            },
          }
        : { status: 0, body: null };
    await started([], fake.answer);
    await screen.findAllByTestId('console-row');
    const user = userEvent.setup();
    await user.keyboard('jjr');
    expect(await screen.findByText('Bay 2: the console is not connected')).toBeInTheDocument();
  });

  it('removes several after a look at what that does', async () => {
    const fake = fleet();
    const { page } = await started([summary({ console_id: 'b2', started_at: nowUs() })], fake.answer);
    await screen.findAllByTestId('console-row');
    const user = userEvent.setup();
    await user.keyboard('jj jx');
    expect(screen.getByRole('toolbar', { name: '2 consoles selected' })).toBeInTheDocument();
    expect(await violations(page.container)).toEqual([]);
    await user.keyboard('{Delete}');
    const asked = await screen.findByRole('alertdialog', { name: 'Remove 2 consoles' });
    expect(asked).toHaveTextContent('Bay 2 is in a deployment. It goes on there');
    expect(asked).toHaveTextContent('There is no undo. To let one in again, add it again with a new code.');
    expect(within(asked).getByRole('button', { name: 'Keep them' })).toHaveFocus();
    expect(await violations(document.body)).toEqual([]);
    expect(fake.done).toEqual([]);
    await user.keyboard('{Tab}{Enter}');
    await waitFor(() => expect(rows()).toEqual(['locked', 'never', 'off']));
    await waitFor(() => expect(within(row('never')).getByRole('link', { name: 'Bench' })).toHaveFocus());
    expect(fake.done).toEqual(['POST /api/v1/consoles/b2/revoke', 'POST /api/v1/consoles/b12/revoke']);
    expect(await screen.findByText('2 consoles are removed and shut out')).toBeInTheDocument();
    expect(screen.queryByRole('toolbar')).toBeNull();
  });

  it('keeps what was not removed, and says why', async () => {
    const fake = fleet();
    fake.instead = ({ path }) =>
      path.endsWith('/revoke') ? refused('the disk is full') : { status: 0, body: null };
    await started([], fake.answer);
    await screen.findAllByTestId('console-row');
    const user = userEvent.setup();
    await user.keyboard('jj{Delete}');
    const asked = await screen.findByRole('alertdialog', { name: 'Remove Bay 2' });
    await user.click(within(asked).getByRole('button', { name: 'Remove it' }));
    expect(await within(asked).findByRole('alert')).toHaveTextContent('the disk is full');
    expect(rows()).toContain('b2');
  });

  it('lists codes and takes one back', async () => {
    const fake = fleet();
    fake.codes = [
      aCode({ id: 'open', most_uses: 5, uses: 2 }),
      aCode({ id: 'used', state: 'used', uses: 1 }),
      aCode({ id: 'over', expires_at: nowUs() - 1e6 }),
    ];
    const { page } = await started([], fake.answer);
    const codes = await screen.findByTestId('codes');
    const user = userEvent.setup();
    expect(within(codes).getAllByTestId('code-row')).toHaveLength(1);
    expect(codes).toHaveTextContent('2 of 5');
    await user.click(within(codes).getByRole('button', { name: 'Show 2 older' }));
    const states = () =>
      within(codes)
        .getAllByTestId('code-row')
        .map((one) => one.dataset['state']);
    expect(states()).toEqual(['open', 'used', 'expired']);
    expect(await violations(page.container)).toEqual([]);
    await user.click(within(codes).getByRole('button', { name: /^Take back the code for arcade/ }));
    await waitFor(() => expect(states()).toEqual(['revoked', 'used', 'expired']));
    expect(fake.done).toEqual(['DELETE /api/v1/join-tokens/open']);
  });

  it('says when the consoles cannot be had, and asks again', async () => {
    const fake = fleet();
    fake.instead = ({ path }) =>
      path === '/api/v1/consoles'
        ? { status: 500, body: { error: { code: 'internal', message: 'the disk is gone', retryable: true } } }
        : { status: 0, body: null };
    const { page } = await started([], fake.answer);
    expect(await screen.findByRole('alert')).toHaveTextContent('the disk is gone');
    expect(await violations(page.container)).toEqual([]);
    fake.instead = null;
    const user = userEvent.setup();
    await user.click(screen.getByRole('button', { name: 'Try again' }));
    expect(await screen.findAllByTestId('console-row')).toHaveLength(5);
    fake.instead = () => ({ status: 500, body: {} });
    expect(await screen.findByText('What you see is from before.')).toBeInTheDocument();
    expect(rows()).toHaveLength(5);
  });
});
