// Starts the real collector and real agents for the browser tests, and stops what it started.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
  /** What else it is started with. */
  more = [];

  /** Starts the collector; a second start uses the same port and data, as a restart does. */
  async start() {
    const args = ['serve', '--data', join(this.dir, 'data'), '--listen', `127.0.0.1:${this.port}`];
    // the browser would have to be taught the collector's own authority; consoles come by TLS all the same
    const child = this.run(COLLECTOR, [...args, '--venue', 'Hall A', '--plain-http', ...this.more]);
    let said = '';
    child.stdout.on('data', (bytes) => (said += bytes));
    this.url = await until('the collector says where it listens', () => {
      if (child.exitCode !== null) throw new Error(`the collector ended: ${said}`);
      return /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0];
    });
    this.pinned = /https:\/\/\S+#sha256\/\/\S+/.exec(said)[0];
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

  /** A script that consoles of this template run. */
  template(name, lines) {
    const dir = join(this.dir, 'data', 'templates');
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, `${name}.sh`), lines.join('\n') + '\n');
  }

  /** A console that joins with a code; resolves to its state directory. */
  async enrol(name, code) {
    const state = join(this.dir, 'state', name.replaceAll(' ', '-'));
    mkdirSync(state, { recursive: true });
    const file = `${state}.code`;
    writeFileSync(file, code);
    const joining = ['--collector', this.pinned, '--code-file', file];
    await this.finished(['enrol', ...joining, '--state', state, '--name', name]);
    return state;
  }

  /** Runs the agent to its end, which must be a good one. */
  async finished(args) {
    const child = this.run(AGENT, args);
    const code = await new Promise((done) => child.once('exit', done));
    if (code !== 0) throw new Error(`deckport-agent ${args[0]} ended with ${code}`);
  }

  /** The daemon of a console that joined. */
  serve(state) {
    return this.run(AGENT, ['serve', '--state', state]);
  }

  /** What the API answers. */
  async get(path) {
    return this.ask('GET', path);
  }

  async ask(method, path, body) {
    const answer = await fetch(`${this.url}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path}: the collector answered ${answer.status}`);
    const text = await answer.text();
    return text === '' ? null : JSON.parse(text);
  }

  /** The consoles by their names. */
  async consoles() {
    const { consoles } = await this.get('/consoles');
    return new Map(consoles.map((one) => [one.name, one]));
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
    // one that was just killed may have written between the look into a directory and its removal, and `maxRetries`
    // does not look again
    await until(`${this.dir} is removed`, () => {
      this.endRuns();
      rmSync(this.dir, { recursive: true, force: true });
      return true;
    });
  }

  /** Runs outlive the daemon that began them, and deliver after it: here nobody waits for that. */
  endRuns() {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        if (words.some((word) => word.startsWith(this.dir))) process.kill(Number(pid), 'SIGKILL');
      } catch {
        // it has ended by itself
      }
    }
  }
}
