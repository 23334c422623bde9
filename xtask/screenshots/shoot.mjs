// Takes the pictures of one moment: node shoot.mjs MOMENT OUT-DIR. The rest comes by environment:
// DECKPORT_URL and DECKPORT_TOKEN (a running collector), CHROMIUM (the browser's path).
// Purpose: every picture that docs/ and README.md show comes from the real UI on a real collector.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(import.meta.dirname, '..', '..');
const require = createRequire(pathToFileURL(join(root, 'ui', 'package.json')));
const { chromium } = require('playwright-core');

const [moment, out] = process.argv.slice(2);
const { DECKPORT_URL: url, DECKPORT_TOKEN: token, CHROMIUM: executablePath } = process.env;
const sizes = { '': { width: 1280, height: 800 }, '-phone': { width: 390, height: 844 } };

const answer = await fetch(`${url}/api/v1/deployments`, { headers: { Authorization: `Bearer ${token}` } });
if (!answer.ok) throw new Error(`the collector answered ${answer.status} to the list of deployments`);
const { deployments } = await answer.json();

const find = (test) => deployments.find(test)?.id;
const failed = find((d) => d.state === 'failed');
const running = find((d) => d.outcome === null && d.rows > 0);
const pages = {
  empty: { 'live-empty': '/live' },
  busy: { 'live-busy': '/live', ...(running && { 'deployment-busy': `/deployments/${running}` }) },
  failed: { live: '/live', ...(failed && { 'deployment-failed': `/deployments/${failed}` }) },
}[moment];
if (!pages) throw new Error(`no such moment: ${moment}`);

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--force-color-profile=srgb'] });
try {
  for (const colorScheme of ['dark', 'light']) {
    for (const [suffix, viewport] of Object.entries(sizes)) {
      const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
      const page = await context.newPage();
      await page.goto(`${url}/#token=${token}`);
      await page.waitForFunction(() => !location.hash.includes('token='));
      for (const [name, path] of Object.entries(pages)) {
        await page.goto(`${url}/#${path}`);
        await page.evaluate(() => document.fonts.ready);
        await settled(page);
        await page.screenshot({ path: join(out, `${name}-${colorScheme}${suffix}.png`) });
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}

/** Until nothing says that it is loading, and rows or the empty state are painted. */
async function settled(page) {
  await page.waitForSelector('main', { state: 'visible' });
  await page.waitForFunction(() => !document.querySelector('[aria-busy="true"]'));
  await page.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 400)))),
  );
}
