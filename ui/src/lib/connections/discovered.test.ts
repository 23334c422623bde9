/** Choosing a collector that the network proposes. */
import { render, screen } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';
import { violations } from '../../test/app';
import type { Proposed, Remotes } from '../host';
import Discovered from './Discovered.svelte';

const one: Proposed = {
  name: 'Pier 7',
  machine: 'desk',
  address: 'https://10.0.0.7:7443#sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=',
  pin: 'sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=',
  short: 'WERC-8GMR-ZGE1',
  connection: null,
};

function remotes(discover: Remotes['discover']): Remotes {
  const never = () => Promise.reject(new Error('not asked'));
  return { discover, look: never, add: never, remove: never };
}

describe('collectors on the network', () => {
  it('are chosen without the key that they announced', async () => {
    const onchoose = vi.fn();
    const found = async () => [one, { ...one, name: 'HQ', connection: 'r1' }];
    render(Discovered, { remotes: remotes(found), busy: false, onchoose });
    const button = await screen.findByRole('button', { name: /Pier 7/ });
    // what is compared is the code of the key that answers, so the one that was said is nowhere
    expect(document.body.textContent).not.toContain('WERC');
    expect(screen.getByRole('button', { name: /HQ.*connected already/ })).toBeDisabled();
    expect(await violations(document.body)).toEqual([]);
    await userEvent.click(button);
    expect(onchoose).toHaveBeenCalledWith('10.0.0.7:7443');
  });

  it('say when there is none, and when the network could not be asked', async () => {
    const { unmount } = render(Discovered, {
      remotes: remotes(async () => []),
      busy: false,
      onchoose: () => undefined,
    });
    expect(await screen.findByText(/No collector makes itself known/)).toBeInTheDocument();
    unmount();
    const fails = async () => Promise.reject(new Error('no such device'));
    render(Discovered, { remotes: remotes(fails), busy: false, onchoose: () => undefined });
    expect(await screen.findByText(/could not be asked: no such device/)).toBeInTheDocument();
  });
});
