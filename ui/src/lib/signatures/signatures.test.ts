import { describe, expect, it } from 'vitest';
import type { Signature } from '../api/types';
import { filtered, queryFor, signatureOf, titleParts } from './signatures.svelte';

const signature = (fields: Partial<Signature>): Signature => ({
  id: 'a',
  title: '',
  version: 1,
  count: 1,
  consoles: [],
  templates: [],
  first_seen_at: 0,
  last_seen_at: 0,
  new: false,
  runs: [],
  fixed_by: null,
  ...fields,
});

describe('failures', () => {
  it('know the one that a run failed with', () => {
    const run = { deployment_id: 'x', console_name: 'Bay 1', at: 0, row: null };
    const list = [signature({ id: 'a' }), signature({ id: 'b', runs: [run] })];
    expect(signatureOf(list, 'x')?.id).toBe('b');
    expect(signatureOf(list, 'y')).toBeNull();
  });

  it('are found by every word, anywhere', () => {
    const list = [
      signature({ id: 'a', title: 'Key was rejected', consoles: ['Bay 12'] }),
      signature({ id: 'b', title: 'disk full', templates: ['Key Cup'] }),
    ];
    expect(filtered(list, 'key bay').map((one) => one.id)).toEqual(['a']);
    expect(filtered(list, 'KEY')).toHaveLength(2);
    expect(filtered(list, '  ')).toHaveLength(2);
  });

  it('show where they vary', () => {
    expect(titleParts("insert '<*>': rejected <*>").map((part) => [part.text, part.varies])).toEqual([
      ["insert '", false],
      ['<*>', true],
      ["': rejected ", false],
      ['<*>', true],
    ]);
  });

  it('become a query of what does not vary', () => {
    expect(queryFor('modprobe: could not insert \'<*>\': Key was "rejected" by service')).toBe(
      `"modprobe: could not insert '" "': Key was rejected by service"`,
    );
    expect(queryFor('a <*> bb <*> four words <*> long enough here <*> and five')).toBe(
      '"four words" "long enough here" "and five"',
    );
    expect(queryFor('<*>')).toBe('');
  });
});
