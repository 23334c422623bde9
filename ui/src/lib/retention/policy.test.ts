import { describe, expect, it } from 'vitest';
import { fieldsOf, readFields, samePolicy } from './policy';

describe('what is kept', () => {
  it('reads back as it was written', () => {
    for (const policy of [
      { max_age_days: 90, max_bytes: 20.5e9, failed_age_days: 365 },
      { max_age_days: null, max_bytes: null, failed_age_days: null },
    ]) {
      const read = readFields(fieldsOf(policy));
      expect(read).toEqual({ kind: 'policy', policy });
      expect(samePolicy(policy, { ...policy })).toBe(true);
    }
  });

  it.each([
    [{ age: '0', failedAge: '', size: '' }, { age: 'number' }],
    [
      { age: 'soon', failedAge: '-1', size: '1.55' },
      { age: 'number', failedAge: 'number', size: 'number' },
    ],
    [{ age: '1.5', failedAge: '', size: '0.5' }, { age: 'number' }],
    [{ age: '90', failedAge: '30', size: '' }, { failedAge: 'order' }],
    [{ age: '', failedAge: '30', size: '' }, { failedAge: 'order' }],
  ])('says what is wrong with %j', (fields, wrong) => {
    expect(readFields(fields)).toEqual({ kind: 'wrong', wrong });
  });

  it('takes numbers as people write them', () => {
    expect(readFields({ age: ' 1,000 ', failedAge: '', size: '2 000' })).toEqual({
      kind: 'policy',
      policy: { max_age_days: 1000, max_bytes: 2e12, failed_age_days: null },
    });
  });
});
