import { render, screen } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { expect, it } from 'vitest';
import { aPerson } from '../../test/operators';
import type { OperatorFields } from '../api/types';
import { APP } from '../shell/app';
import { NOWHERE, Venues } from '../venues/venues.svelte';
import OperatorDialog from './OperatorDialog.svelte';

it.each(['change', 'password'] as const)('a %s gives nobody of one venue a role in all', async (kind) => {
  const person = aPerson({ role: 'operator', everywhere: null, venues: { v: 'operator' } });
  const sent: OperatorFields[] = [];
  render(OperatorDialog, {
    props: {
      open: true,
      asking: { kind, person },
      onsave: (fields: OperatorFields) => Promise.resolve(sent.push(fields)),
    },
    context: new Map([[APP, { venues: new Venues(NOWHERE, () => undefined) }]]),
  });
  const form = await screen.findByTestId('operator-form');
  await userEvent.click(form.querySelector<HTMLElement>('[type=submit]')!);
  expect(sent).toHaveLength(1);
  expect(sent[0]).toMatchObject({ venues: { v: 'operator' } });
  expect(sent[0]!.role ?? null).toBeNull();
});
