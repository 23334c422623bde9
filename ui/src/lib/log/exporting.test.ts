import { expect, it } from 'vitest';
import { FakeHost } from '../../test/fixtures';
import { Api, type ExportFormat } from '../api/client';
import type { Host } from '../host';

it.each<ExportFormat>(['text', 'jsonl', 'html', 'raw'])(
  'a file of chosen lines, %s, holds these only',
  async (format) => {
    const asked: string[] = [];
    const host: Host = new FakeHost();
    host.download = async (_connection, path) => {
      asked.push(path);
      return null;
    };
    const api = new Api(host, 'here');
    await api.downloadAs('run', format, { from: 0, to: 3 }, 'name');
    await api.downloadAs('run', format, null, 'name');
    expect(asked).toEqual([
      `/api/v1/deployments/run/export?format=${format}&from=0&to=3`,
      `/api/v1/deployments/run/export?format=${format}`,
    ]);
  },
);
