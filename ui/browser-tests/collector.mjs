// Starts the real collector and real agents for the browser tests, and stops what it started.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const target = resolve(fileURLToPath(import.meta.url), '../../../target/debug');
const COLLECTOR = process.env.DECKPORT_COLLECTOR_BIN ?? join(target, 'deckport-collector');
export const AGENT = process.env.DECKPORT_AGENT_BIN ?? join(target, 'deckport-agent');

/** Resolves when `check` answers something true; says what was waited for when it never does. */
export async function until(what, check, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  let last;
  for (;;) {
    try {
      last = await check();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s (last: ${last})`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export class Stage {
  children = new Set();
  dir = mkdtempSync(join(tmpdir(), 'deckport-browser-'));
  port = 0;
  collector = null;

  /** Starts the collector; a second start uses the same port and data, as a restart does. */
  async start() {
    const args = ['serve', '--data', join(this.dir, 'data'), '--listen', `127.0.0.1:${this.port}`];
    const child = this.run(COLLECTOR, [...args, '--venue', 'Hall A']);
    let said = '';
    child.stdout.on('data', (bytes) => (said += bytes));
    this.url = await until('the collector says where it listens', () => {
      if (child.exitCode !== null) throw new Error(`the collector ended: ${said}`);
      return /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0];
    });
    this.port = Number(new URL(this.url).port);
    this.token = readFileSync(join(this.dir, 'data', 'token'), 'utf8').trim();
    this.collector = child;
  }

  async kill() {
    const gone = new Promise((done) => this.collector.once('exit', done));
    this.collector.kill('SIGKILL');
    await gone;
  }

  /** One console that runs a command under the real agent. */
  agent(name, command, template = 'Autumn Cup 3.2.1') {
    const state = join(this.dir, 'state', name.replaceAll(' ', '-'));
    const reach = ['--collector', this.url, '--token-file', join(this.dir, 'data', 'token')];
    return this.run(AGENT, [
      ...['wrap', ...reach, '--state', state, '--name', name, '--template', template],
      ...['--context', 'quick', '--', ...command],
    ]);
  }

  /** What the API answers. */
  async get(path) {
    const answer = await fetch(`${this.url}/api/v1${path}`, {
      headers: { authorization: `Bearer ${this.token}` },
    });
    if (!answer.ok) throw new Error(`${path}: the collector answered ${answer.status}`);
    return answer.json();
  }

  async deployments() {
    return (await this.get('/deployments')).deployments;
  }

  run(program, args) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.resume();
    this.children.add(child);
    child.once('exit', () => this.children.delete(child));
    child.once('error', (error) => console.error(`${program}: ${error.message}`));
    return child;
  }

  async stop() {
    const gone = [...this.children].map((child) => new Promise((done) => child.once('exit', done)));
    for (const child of this.children) child.kill('SIGTERM');
    const timer = setTimeout(() => this.children.forEach((child) => child.kill('SIGKILL')), 5000);
    await Promise.all(gone);
    clearTimeout(timer);
    // what a stopped program leaves open may still write for a moment
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
