// The UI in a real browser against the real collector and agents: by keyboard, in both themes, at desk and phone
// width, with axe on every screen and a screenshot of each.
//
//   npm run build && npm run test:browser
//
// DECKPORT_COLLECTOR_BIN, DECKPORT_AGENT_BIN, CHROMIUM: programs (defaults: target/debug, /usr/bin/chromium).
// DECKPORT_SCREENSHOTS: where pictures go (default: test-results/). The collector serves the built `dist`.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { AGENT, Stage, until } from './collector.mjs';
import { connectionChecks } from './connections.mjs';
import { consoleChecks } from './consoles.mjs';
import { historyChecks } from './history.mjs';
import { proofChecks } from './proof.mjs';
import { providerChecks } from './provider.mjs';
import { trustChecks } from './trust.mjs';
import { venueChecks } from './venues.mjs';

const here = resolve(fileURLToPath(import.meta.url), '..');
const shots = resolve(process.env.DECKPORT_SCREENSHOTS ?? join(here, '../test-results'));
const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
mkdirSync(shots, { recursive: true });

const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const VIEWER = '[data-testid=log-viewer]';

const stage = new Stage();
const problems = [];
let browser;
let checks = 0;

async function open(
  path,
  { viewport = DESK, colorScheme = 'dark', on = stage, token = on.token, prepare } = {},
) {
  const context = await browser.newContext({
    viewport,
    colorScheme,
    reducedMotion: 'reduce',
    hasTouch: viewport === PHONE,
    acceptDownloads: true,
    // a provider of logins has an authority of its own here
    ignoreHTTPSErrors: true,
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on('pageerror', (error) => problems.push(`${path}: ${error.message}`));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) problems.push(`${path}: ${message.text()}`);
  });
  await prepare?.(page);
  // A session is kept by the page itself, and is not taken from an address.
  const session = token !== null && /^dp[st]_/.test(token);
  const keep = (kept) => {
    if (!sessionStorage.getItem('kept')) sessionStorage.setItem('deckport.token', kept);
    sessionStorage.setItem('kept', 'once');
  };
  if (session) await page.addInitScript(keep, token);
  const carried = token === null || session ? '' : `${path.includes('?') ? '&' : '?'}token=${token}`;
  await page.goto(`${on.url}/#${path}${carried}`);
  return page;
}

const attr = (page, selector, name) => page.getAttribute(selector, name);
const number = async (page, name) => Number(await attr(page, VIEWER, name));
const rowShown = (page, row) => page.waitForSelector(`${VIEWER} [data-row="${row}"][data-seq]`);

async function viewerReady(page) {
  await page.waitForSelector(`${VIEWER}[data-complete=true]`);
  await until('the log has rows', async () => (await number(page, 'data-total-rows')) > 0);
}

async function axe(page, name) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = found.violations
    .filter((violation) => violation.impact === 'serious' || violation.impact === 'critical')
    .map((violation) => `${violation.id}: ${violation.nodes.map((node) => node.target).join(' ; ')}`);
  assert.deepEqual(serious, [], `axe on ${name}`);
}

async function picture(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

async function look(page, name) {
  await picture(page, name);
  await axe(page, name);
}

async function assertNotWide(page, what) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false, `${what} scrolls sideways`);
}

async function everyWay(name, path, ready, act, on = stage) {
  // two of the four hold every colour and every layout: axe is slow on a screen full of log
  const one = async (size, viewport, colorScheme) => {
    const page = await open(path, { viewport, colorScheme, on });
    await ready(page);
    await act?.(page);
    const whole = (size === 'desk') === (colorScheme === 'dark');
    await (whole ? look : picture)(page, `${name}-${size}-${colorScheme}`);
    await assertNotWide(page, `${name} at ${size}`);
    await page.context().close();
  };
  await Promise.all([
    one('desk', DESK, 'dark'),
    one('desk', DESK, 'light'),
    one('phone', PHONE, 'dark'),
    one('phone', PHONE, 'light'),
  ]);
}

async function check(name, run) {
  const started = Date.now();
  await run();
  checks++;
  console.log(`ok  ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
}

/** No hole and no repeat among the rows on screen when a frame is painted. In one call: `$$eval` finds in one and reads in the next,
 *  and a row's node shows another row by then. */
async function assertContiguous(page) {
  const rows = await page.evaluate(
    (viewer) =>
      new Promise((resolve) => {
        requestAnimationFrame(() => {
          const all = document.querySelectorAll(`${viewer} [data-row]`);
          resolve([...all].map((row) => Number(row.dataset.row)));
        });
      }),
    VIEWER,
  );
  rows.forEach((row, i) => assert.equal(row, rows[0] + i, `rows on screen: ${rows}`));
  return rows;
}

async function main() {
  await stage.start();
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
    ],
  });

  await check(
    'an empty collector teaches how consoles are added, and the command that shows one',
    async () => {
      await everyWay('empty', '/live', (page) => page.waitForSelector('[data-testid=empty-state]'));
      const page = await open('/live');
      // The address is asked of the collector, and comes a moment after the page.
      await page.waitForFunction(() =>
        document.querySelector('[data-testid=empty-state]')?.textContent.includes('--collector https://'),
      );
      const taught = await page.textContent('[data-testid=empty-state]');
      assert.ok(taught.includes(`--collector https://127.0.0.1:${stage.port} `), taught);
      assert.ok(taught.includes(`--listen 0.0.0.0:${stage.port}`), taught);
      assert.equal(await page.evaluate(() => location.hash), '#/live', 'the token stays in the address');
      await page.context().close();
    },
  );

  await check('a wrong token is refused in plain words', async () => {
    const page = await open('/live', { token: 'wrong' });
    await page.waitForSelector('[role=alert]');
    assert.match(await page.textContent('[role=alert]'), /does not accept this access token/);
    await look(page, 'refused');
    await page.context().close();
  });

  const simulate = (...args) => [AGENT, 'simulate', ...args];
  stage.agent('Bay 1', simulate('--lines', '900', '--seed', '1'));
  stage.agent('Bay 12', simulate('--lines', '5000', '--seed', '2', '--fail'));
  stage.agent('Bay 2', simulate('--lines', '20000', '--rate', '40', '--seed', '3'));
  stage.agent('Stage left', simulate('--lines', '20000', '--rate', '40', '--seed', '4'));
  const byName = async (name) => (await stage.deployments()).find((one) => one.name === name);
  await until('one failed, one succeeded, two run', async () => {
    const states = (await stage.deployments()).map((one) => one.state).sort();
    return states.join() === 'failed,running,running,succeeded';
  });
  const failed = await byName('Bay 12');
  const running = await byName('Bay 2');

  await check('Live: failures first, by keyboard into the failing line', async () => {
    await everyWay('live', '/live', (page) => page.waitForSelector('[data-testid=deployment-row]'));
    const page = await open('/live');
    await page.waitForSelector('[data-testid=deployment-row][data-state=running]');
    assert.equal(await attr(page, '[data-testid=deployment-row]', 'data-state'), 'failed');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await viewerReady(page);
    await rowShown(page, failed.failure.row);
    assert.equal(await number(page, 'data-cursor'), failed.failure.row);
    assert.equal(await page.isVisible('[data-testid=failure-card]'), true);
    await page.context().close();
  });

  await check('Deployment: failed and running, every way', async () => {
    const inSight = async (page) => {
      await viewerReady(page);
      const line = await rowShown(page, failed.failure.row);
      const box = await line.boundingBox();
      const rows = await (await page.$('[data-log-rows]')).boundingBox();
      assert.ok(
        box.y >= rows.y && box.y + box.height <= rows.y + rows.height,
        'the failing line is out of sight',
      );
    };
    await everyWay('failed', `/deployments/${failed.id}`, inSight);
    await everyWay('running', `/deployments/${running.id}`, viewerReady);
    await everyWay('settings', '/settings', (page) => page.waitForSelector('dl'));
  });

  await check('the log by keyboard: lines, pages, find, errors, links', async () => {
    const page = await open(`/deployments/${failed.id}`);
    await viewerReady(page);
    const total = await number(page, 'data-total-rows');
    await page.keyboard.press('Control+g');
    await page.keyboard.type('2345');
    await page.keyboard.press('Enter');
    await rowShown(page, 2344);
    await page.keyboard.press('j');
    assert.equal(await number(page, 'data-cursor'), 2345);
    await page.keyboard.press('y');
    await page.waitForSelector('text=Link copied');
    const link = await page.evaluate(() => navigator.clipboard.readText());
    const seq = await attr(page, `${VIEWER} [data-row="2345"]`, 'data-seq');
    assert.ok(link.endsWith(`#/deployments/${failed.id}?seq=${seq}`), link);

    await page.keyboard.press('Home');
    await until('the first line', async () => (await page.$(`${VIEWER} [data-row="0"]`)) !== null);
    await page.keyboard.press('e');
    await until('an error', async () => {
      const row = await attr(page, VIEWER, 'data-cursor');
      // not waited for: the row that was current before may be out of sight
      return (await page.$(`${VIEWER} [data-row="${row}"][data-level=error]`)) !== null;
    });
    await page.keyboard.press('End');
    await rowShown(page, total - 1);

    await page.keyboard.press('/');
    await page.keyboard.type('pack-0');
    await page.keyboard.press('Enter');
    await page.waitForSelector(`${VIEWER} .hit`);
    const first = await number(page, 'data-cursor');
    await page.keyboard.press('Enter');
    await until('the next match', async () => (await number(page, 'data-cursor')) > first);
    await look(page, 'find');
    await page.keyboard.press('Escape');

    await page.keyboard.press('?');
    await page.waitForSelector('[role=dialog]');
    await look(page, 'shortcuts');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+k');
    await page.keyboard.type('stage');
    await look(page, 'palette');
    await page.keyboard.press('Enter');
    await page.waitForSelector('h1:has-text("Stage left")');
    await page.context().close();

    const linked = await open('/live');
    await linked.goto(`${stage.url}/#/deployments/${failed.id}?seq=${seq}`);
    await viewerReady(linked);
    await rowShown(linked, 2345);
    await until('the linked line is current', async () => (await number(linked, 'data-cursor')) === 2345);
    await linked.context().close();
  });

  await check('a filter says how many lines it hides', async () => {
    const page = await open(`/deployments/${failed.id}`);
    await viewerReady(page);
    await page.click('[aria-label^="Levels"]');
    await page.click('text=Errors only');
    await page.waitForSelector('[data-hidden]');
    const { hidden, shown } = await page.evaluate(() => ({
      hidden: [...document.querySelectorAll('[data-hidden]')].reduce(
        (sum, one) => sum + Number(one.dataset.hidden),
        0,
      ),
      shown: document.querySelectorAll('[data-testid=log-viewer] [data-row]').length,
    }));
    assert.equal(hidden + shown, await number(page, 'data-total-rows'));
    await look(page, 'filter');
    await page.context().close();
  });

  await check('select across rows, copy, download', async () => {
    const page = await open(`/deployments/${failed.id}`);
    await viewerReady(page);
    await page.keyboard.press('Control+g');
    await page.keyboard.type('1000');
    await page.keyboard.press('Enter');
    await rowShown(page, 999);
    await page.click(`${VIEWER} [data-row="999"] [data-number]`);
    await page.keyboard.press('Control+g');
    await page.keyboard.type('1600');
    await page.keyboard.press('Enter');
    await rowShown(page, 1599);
    const last = page.locator(`${VIEWER} [data-row="1599"] [data-text]`);
    const text = await last.textContent();
    const box = await last.boundingBox();
    await page.keyboard.down('Shift');
    await page.mouse.click(box.x + box.width + 40, box.y + 10);
    await page.keyboard.up('Shift');
    await page.keyboard.press('Control+c');
    await page.waitForSelector('text=Copied 601 lines');
    const copied = (await page.evaluate(() => navigator.clipboard.readText())).split('\n');
    assert.equal(copied.length, 601);
    assert.equal(copied.at(-1), text);

    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.click('[aria-label=Download]'),
    ]);
    const bytes = readFileSync(await download.path());
    assert.equal(bytes.length, (await byName('Bay 12')).bytes);
    await page.context().close();
  });

  await check('follow, leave the tail, come back, survive a killed collector', async () => {
    const page = await open(`/deployments/${running.id}`);
    await viewerReady(page);
    assert.equal(await attr(page, VIEWER, 'data-following'), 'true');
    const before = await number(page, 'data-total-rows');
    await until('the log grows', async () => (await number(page, 'data-total-rows')) > before + 20);
    await assertContiguous(page);
    for (let i = 0; i < 3; i++) await page.keyboard.press('PageUp');
    assert.equal(await attr(page, VIEWER, 'data-following'), 'false');
    const still = await assertContiguous(page);
    await page.waitForSelector('text=/\\d+ new lines?/');
    assert.deepEqual(await assertContiguous(page), still, 'the view moved by itself');
    await look(page, 'new-lines');
    await page.keyboard.press('f');
    await until('following again', async () => (await attr(page, VIEWER, 'data-following')) === 'true');

    await stage.kill();
    await page.waitForSelector('[data-testid=connection][data-state=reconnecting]');
    await look(page, 'connection-lost');
    await stage.start();
    await page.waitForSelector('[data-testid=connection][data-state=live]', { timeout: 30_000 });
    const resumed = await number(page, 'data-total-rows');
    await until('the log goes on', async () => (await number(page, 'data-total-rows')) > resumed + 40);
    await assertContiguous(page);
    await page.context().close();
  });

  await check('cancel, in two steps, by keyboard', async () => {
    const page = await open(`/deployments/${running.id}`);
    await viewerReady(page);
    await page.focus('[aria-label="Cancel…"]');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Keep running');
    await look(page, 'cancel');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.waitForSelector('[data-testid=deployment-state][data-state=cancelled]', { timeout: 30_000 });
    await page.context().close();
  });

  const viewer = { ready: viewerReady, rowShown, number: (page, name) => number(page, name), VIEWER };
  await historyChecks({ stage, check, open, look, assertNotWide, viewer, DESK, PHONE });

  await connectionChecks({ check, open, look, assertNotWide, DESK, PHONE });

  await trustChecks({ check, open, look, picture, assertNotWide, DESK, PHONE });

  await venueChecks({ check, open, look, picture, assertNotWide, DESK, PHONE });

  await proofChecks({ check, open, look, assertNotWide, DESK, PHONE });
  await providerChecks({ check, open, look, assertNotWide, DESK, PHONE });

  await consoleChecks({ check, open, look, everyWay, assertNotWide, DESK, PHONE });

  assert.deepEqual(problems, [], 'errors in the page');
}

try {
  await main();
  console.log(`${checks} checks passed; screenshots in ${shots}`);
} catch (error) {
  console.error(error);
  const page = browser?.contexts().at(-1)?.pages().at(-1);
  await page?.screenshot({ path: join(shots, 'at-failure.png') }).catch(() => undefined);
  process.exitCode = 1;
} finally {
  await browser?.close();
  await stage.stop();
}
