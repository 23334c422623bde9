/** The whole app over a headless host, for component tests. */
import { render, waitFor } from '@testing-library/svelte';
import axe from 'axe-core';
import { expect } from 'vitest';
import Root from '../Root.svelte';
import type { DeploymentSummary } from '../lib/api/types';
import { FakeHost, type Answer } from './fixtures';

export const nowUs = () => Date.now() * 1000;
/** jsdom has no layout, so colour contrast and page regions are checked by the browser tests. */
const axeOptions = { rules: { 'color-contrast': { enabled: false }, region: { enabled: false } } };

export async function violations(element: Element): Promise<string[]> {
  const result = await axe.run(element, axeOptions);
  return result.violations.map((found) => `${found.id}: ${found.nodes.map((node) => node.html).join(' ')}`);
}

export const info = {
  version: '0.1.0',
  protocol: 1,
  server_epoch: 'e',
  now_at: nowUs(),
  venue: 'Hall A',
  started_at: nowUs(),
  listen: 'http://127.0.0.1:7443',
  token_file: '/data/token',
  abilities: [],
};

export async function started(deployments: DeploymentSummary[], answer?: Answer, said: object = info) {
  const host = new FakeHost((request) => {
    if (request.path === '/api/v1/info') return { body: { ...said, now_at: nowUs() } };
    return answer?.(request) ?? { status: 404, body: {} };
  });
  const page = render(Root, { host, connections: await host.connections() });
  await waitFor(() => expect(host.sockets).toHaveLength(1));
  await waitFor(() => host.idOf('fleet'));
  host.say({ type: 'snapshot', id: host.idOf('fleet'), cursor: 1, data: { deployments } });
  return { host, page };
}
