/** The switch that lets consoles elsewhere reach the app's collector. */
import { render, screen, waitFor } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';
import { violations } from '../../test/app';
import type { About, DesktopPreferences } from '../host';
import ListeningSection from './ListeningSection.svelte';

const about: About = {
  version: '0.1.0',
  data_dir: '/d',
  log_dir: '/l',
  autostart_available: false,
  told_to_listen: null,
  logins: { kind: 'keyring', sentence: '' },
};
const chosen: DesktopPreferences = {
  notify_failure: true,
  notify_silence: true,
  notify_finish: false,
  paused_until_at: null,
  autostart: false,
  listen_on_network: false,
  listen_address: '0.0.0.0',
  listen_port: 7443,
};

describe('the switch for consoles on the network', () => {
  it('is told at once, and takes the focus of whoever came for it', async () => {
    const choose = vi.fn(async () => undefined);
    render(ListeningSection, { about, chosen, choose, first: true });
    const box = screen.getByRole('checkbox');
    expect(box).toHaveFocus();
    expect(screen.queryByRole('textbox', { name: /Address/ })).toBeNull();
    expect(await violations(document.body)).toEqual([]);
    await userEvent.click(box);
    expect(choose).toHaveBeenCalledWith({ listen_on_network: true });
  });

  it('goes back, and says why, when the shell refuses', async () => {
    const choose = vi.fn(async () => {
      throw new Error('port 7443 is used by another program');
    });
    render(ListeningSection, { about, chosen, choose, first: false });
    await userEvent.click(screen.getByRole('checkbox'));
    expect(await screen.findByRole('alert')).toHaveTextContent(
      'Nothing was changed: port 7443 is used by another program',
    );
    expect(screen.getByRole('checkbox')).not.toBeChecked();
  });

  it('takes another port and address, and no nonsense', async () => {
    const choose = vi.fn(async () => undefined);
    render(ListeningSection, { about, chosen: { ...chosen, listen_on_network: true }, choose, first: false });
    const apply = screen.getByRole('button', { name: 'Apply' });
    expect(apply).toBeDisabled();
    const port = screen.getByRole('textbox', { name: /Port/ });
    await userEvent.clear(port);
    await userEvent.type(port, '70000');
    expect(port).toBeInvalid();
    expect(apply).toBeDisabled();
    await userEvent.clear(port);
    await userEvent.type(port, '7444');
    const address = screen.getByRole('textbox', { name: /Address/ });
    await userEvent.clear(address);
    await userEvent.type(address, '10.0.0.5{Enter}');
    expect(choose).toHaveBeenCalledWith({ listen_port: 7444, listen_address: '10.0.0.5' });
    expect(await violations(document.body)).toEqual([]);
  });

  it('gives way to the command line, and says so', async () => {
    render(ListeningSection, {
      about: { ...about, told_to_listen: '127.0.0.1:7443' },
      chosen,
      choose: async () => undefined,
      first: false,
    });
    await waitFor(() => expect(screen.getByRole('checkbox')).toBeDisabled());
    expect(screen.getByTestId('listening')).toHaveTextContent('--listen 127.0.0.1:7443');
  });
});
