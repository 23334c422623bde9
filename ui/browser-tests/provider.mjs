// Logging in with a provider's account: a real OpenID Connect provider (oidc-provider) beside a real collector, in a browser.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Provider from 'oidc-provider';
import { Stage, until } from './collector.mjs';

const BUTTON = '[data-testid=provider-login]';
const SECRET = 'a-secret-of-the-collectors-own';

/** A provider at https://localhost, whose people are whatever is typed: ada is ada@example.org. */
class Providing {
  dir = mkdtempSync(join(tmpdir(), 'deckport-provider-'));
  trust = join(this.dir, 'ca.pem');
  verified = true;
  handler = null;

  async start() {
    const key = join(this.dir, 'ca.key');
    const made = [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ];
    const who = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    // what signs for itself and is no authority is an end of its own
    const end = ['-addext', 'basicConstraints=critical,CA:FALSE'];
    execFileSync('openssl', [...made, '-keyout', key, '-out', this.trust, ...who, ...end], {
      stdio: 'ignore',
    });
    this.server = createServer(
      { key: readFileSync(key), cert: readFileSync(this.trust) },
      (request, response) => this.handler(request, response),
    );
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.issuer = `https://localhost:${this.server.address().port}`;
    this.secret = join(this.dir, 'secret');
    writeFileSync(this.secret, SECRET);
  }

  /** Knows a collector from now on. */
  serve(redirect) {
    const client = { client_id: 'deckport', client_secret: SECRET, redirect_uris: [redirect] };
    const provider = new Provider(this.issuer, {
      clients: [client],
      claims: { email: ['email', 'email_verified'], profile: ['name'] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: this.verified, name: id }),
      }),
      cookies: { keys: ['for these tests'] },
    });
    this.handler = provider.callback();
  }

  stop() {
    this.server?.closeAllConnections();
    this.server?.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function providerChecks({ check, open, look, assertNotWide, DESK, PHONE }) {
  const [on, at] = [new Stage(), new Providing()];
  try {
    await at.start();
    on.more = [
      ...['--oidc-issuer', at.issuer, '--oidc-client-id', 'deckport', '--oidc-client-secret-file', at.secret],
      ...['--oidc-name', 'Example ID', '--trust-ca', at.trust],
    ];
    await on.start();
    at.serve(`${on.url}/api/v1/login/oidc/callback`);
    await checks();
  } finally {
    await on.stop();
    at.stop();
  }

  /** Types a name at the provider's page, and agrees. */
  async function atProvider(page, who, { again = false } = {}) {
    await page.waitForSelector('input[name=login]');
    assert.equal(new URL(page.url()).origin, at.issuer);
    await page.fill('input[name=login]', who);
    await page.fill('input[name=password]', 'anything');
    await page.click('button[type=submit]');
    // it remembers to what they agreed
    if (again) return;
    await page.waitForSelector('text=Authorize');
    await page.click('button[type=submit]');
  }

  async function checks() {
    await on.ask('POST', '/operators', {
      ...{ login: 'ada', name: 'Ada', role: 'operator' },
      identity: 'ada@example.org',
    });

    await check('a company account leads in, and back to where one was', async () => {
      const page = await open('/consoles', { on, token: null });
      await page.waitForSelector(BUTTON);
      assert.equal((await page.textContent(BUTTON)).trim(), 'Log in with Example ID');
      await page.click(BUTTON);
      await atProvider(page, 'ada');
      await page.waitForSelector('[data-testid=connection][data-state=live]');
      assert.equal(new URL(page.url()).hash, '#/consoles', 'no code stays in the address');
      const trail = await on.ask('GET', '/audit?action=logged_in');
      assert.ok(JSON.stringify(trail).includes('oidc'), 'it is written down');
      await page.context().close();
    });

    await check('who has no password shows at the provider that it is they', async () => {
      const page = await open('/operators', { on, token: null });
      await page.click(BUTTON);
      await atProvider(page, 'ada');
      await page.waitForSelector('[data-testid=connection][data-state=live]');
      const token = async (name) => {
        await page.click('text=Make a token…');
        await page.keyboard.type(name);
        await page.keyboard.press('Enter');
      };
      await token('nightly report');
      await page.waitForSelector('[data-testid=prove]');
      assert.equal(await page.$('[data-testid=prove] input'), null, 'there is nothing to type');
      await page.waitForSelector(`[data-testid=prove] ${BUTTON}:has-text("Log in again with Example ID")`);
      await look(page, 'prove-provider');
      await page.click(`[data-testid=prove] ${BUTTON}`);
      await atProvider(page, 'ada', { again: true });
      await page.waitForSelector('[data-testid=connection][data-state=live]');
      assert.equal(new URL(page.url()).hash, '#/operators', 'back where it was asked');
      await token('nightly report');
      await page.waitForSelector('[data-testid=once]');
      await page.context().close();
    });

    for (const [size, viewport, colorScheme] of [
      ['desk', DESK, 'dark'],
      ['phone', PHONE, 'light'],
    ]) {
      await check(`an admin adds whom the provider knows, without a password (${size})`, async () => {
        const page = await open('/operators', { on, viewport, colorScheme });
        await page.waitForSelector('[data-testid=operator-known-as]', { state: 'attached' });
        await look(page, `operators-provider-${size}`);
        await page.click('text=Add an operator');
        await page.waitForSelector('[data-testid=operator-form]');
        await page.keyboard.type('Carl');
        await page.keyboard.press('Tab');
        await page.keyboard.type(`carl-${size}`);
        await page.fill('[data-testid=operator-identity]', `carl-${size}@example.org`);
        await page.click('text=A password lets them in as well');
        await look(page, `operators-add-provider-${size}`);
        await assertNotWide(page, 'the operator’s fields');
        await page.click('[data-testid=operator-form] button[type=submit]');
        await page.waitForSelector('[data-testid=operator-form]', { state: 'detached' });
        const { operators } = await on.get('/operators');
        const carl = operators.find((one) => one.login === `carl-${size}`);
        assert.deepEqual([carl.identity, carl.password], [`carl-${size}@example.org`, false]);
        await page.context().close();
      });
    }

    await check('whom nobody has added is told so, and may try again', async () => {
      for (const [size, viewport] of [
        ['desk', DESK],
        ['phone', PHONE],
      ]) {
        const page = await open('/live', { on, token: null, viewport });
        await page.click(BUTTON);
        await atProvider(page, 'eve');
        await page.waitForSelector('[role=alert]');
        assert.match(await page.textContent('[role=alert]'), /knows you as eve@example\.org/);
        await look(page, `provider-refused-${size}`);
        assert.ok(await page.$(BUTTON));
        await page.context().close();
      }
    });

    await check('an address that is not verified leads nowhere', async () => {
      at.verified = false;
      const page = await open('/live', { on, token: null });
      await page.click(BUTTON);
      await atProvider(page, 'bob');
      const alert = () => page.textContent('[role=alert]');
      await until('the refusal', async () => /has not verified/.test(await alert()));
      await page.context().close();
    });
  }
}
