// Consoles: added with a code by the real agent, watched, told, locked out and removed. On a collector of its own.
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { Stage, until } from './collector.mjs';

const CODE = '[data-testid=code]';
const SHOWN = '[data-testid=code-shown]';
const JOINED = '[data-testid=joined]';
const ROW = '[data-testid=console-row]';

const focused = (page) =>
  page.evaluate(() => document.activeElement?.ariaLabel ?? document.activeElement?.textContent);

/** Opens the dialog and makes a code, by keyboard where there is one. */
async function makeCode(page, uses) {
  await page.waitForSelector('main h1');
  if ((await page.viewportSize()).width > 400) await page.keyboard.press('a');
  else await page.click('main >> text=Add consoles');
  await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
  if (uses) await page.fill('input[type=number]', String(uses));
  await page.keyboard.press('Enter');
  await page.waitForSelector(`${SHOWN}[data-state=open]`);
  return page.textContent(CODE);
}

export async function consoleChecks({ check, open, look, everyWay, assertNotWide, DESK, PHONE }) {
  const stage = new Stage();
  try {
    await stage.start();
    await checks(stage);
  } finally {
    await stage.stop();
  }

  async function checks(on) {
    on.template('arcade-3.2', [
      'echo "--- Check the console"',
      'echo "--- Install content"',
      'for i in $(seq 1 400); do echo "unpacked pack-$i"; sleep 0.05; done',
    ]);
    on.template('quick', ['echo "--- Install content"', 'echo done']);

    await check('Fleet: empty, it teaches how to begin', async () => {
      await everyWay(
        'fleet-empty',
        '/fleet',
        (page) => page.waitForSelector('[data-testid=fleet-empty]'),
        null,
        on,
      );
    });

    await check('Add consoles: before a code is made, and after, every way', async () => {
      const choices = async (page) => {
        await page.waitForSelector('main h1');
        await page.click('main >> text=Add consoles >> nth=0');
        await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      };
      await everyWay('add-consoles', '/fleet', choices, null, on);
      const page = await open('/fleet', { on });
      await makeCode(page);
      // the name of the collector that is taught is the one that says so
      assert.match(await page.textContent('[data-testid=reach-note]'), /Only this machine/);
      await page.click('summary');
      await look(page, 'add-consoles-made-dark');
      await page.context().close();
      for (const [name, viewport, colorScheme] of [
        ['made-light', DESK, 'light'],
        ['made-phone', PHONE, 'dark'],
      ]) {
        const other = await open('/fleet', { viewport, colorScheme, on });
        await makeCode(other);
        await look(other, `add-consoles-${name}`);
        await assertNotWide(other, 'the code');
        await other.context().close();
      }
    });

    await check('a console is added with three presses, and appears with its first deployment', async () => {
      const page = await open('/live', { on });
      await page.waitForSelector('[data-testid=empty-state]');
      await page.keyboard.press('a');
      await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      await page.keyboard.press('Enter');
      await page.waitForSelector(CODE);
      await page.keyboard.press('Enter');
      const line = await until('the line is copied', () =>
        page.evaluate(() => navigator.clipboard.readText()),
      );
      const pin = on.pinned.split('#')[1];
      assert.equal(
        line,
        `curl -fsSk --proto =https --tlsv1.3 --pinnedpubkey ${pin} https://127.0.0.1:${on.port}/deploy/console | bash`,
      );
      const state = await on.enrol('Bay 12', await page.textContent(CODE));
      await page.waitForSelector(`${JOINED}:has-text("Bay 12")`);
      await page.waitForSelector(`${SHOWN}[data-state=used]`);
      assert.equal(await focused(page), 'Make another', 'what is next has the focus');
      on.serve(state);
      await page.waitForSelector(`${JOINED}:has-text("added, linked")`);
      // as the script of the line does at its end
      on.finished(['deploy', '--state', state]).catch(() => undefined);
      const link = await page.waitForSelector(`${JOINED} a`);
      await look(page, 'add-consoles-joined');
      await link.click();
      await page.waitForSelector('h1:has-text("Bay 12")');
      await page.waitForSelector('text=unpacked pack-');
      assert.equal(await page.$('[role=dialog]'), null);
      await page.context().close();
    });

    await check(
      'a code lets in as many as was said, survives a closed dialog, and is taken back',
      async () => {
        const page = await open('/fleet', { on, viewport: PHONE, colorScheme: 'light' });
        const code = await makeCode(page, 3);
        on.serve(await on.enrol('Bay 13', code));
        await page.waitForSelector(`${JOINED}:has-text("Bay 13")`);
        await page.waitForSelector('text=lets in 2 more of 3');
        await page.waitForSelector(`${JOINED}:has-text("added, linked")`);
        await look(page, 'add-consoles-joined-phone');
        await assertNotWide(page, 'who came in');
        await page.keyboard.press('Escape');
        await page.waitForSelector(SHOWN, { state: 'detached' });
        await page.click('main >> text=Add consoles');
        assert.equal(await page.textContent(CODE), code, 'the same code');
        await page.click('[role=dialog] >> text=Take back');
        await page.waitForSelector('text=This code was taken back.');
        await assert.rejects(on.enrol('Bay 99', code));
        assert.equal((await on.consoles()).has('Bay 99'), false);
        await page.context().close();
      },
    );

    await check('a code that cannot be made, and one that expires', async () => {
      const page = await open('/fleet', { on });
      await page.waitForSelector(ROW);
      const tokens = /\/api\/v1\/join-tokens$/;
      const error = {
        code: 'rate_exceeded',
        message: '200 codes are open already; take some back first',
        retryable: true,
      };
      await page.route(tokens, (route) =>
        route.request().method() === 'POST'
          ? route.fulfill({ status: 503, json: { error } })
          : route.continue(),
      );
      await page.keyboard.press('a');
      await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      await page.keyboard.press('Enter');
      await page.waitForSelector('[role=alert]:has-text("200 codes are open already")');
      await look(page, 'add-consoles-failed');
      await page.unroute(tokens);
      // 30 seconds is the shortest that a code lives; the page is told less
      let ends = 0;
      await page.route(tokens, async (route) => {
        const response = await route.fetch();
        const json = await response.json();
        if (json.invitation) ends = json.invitation.expires_at = json.invitation.created_at + 2_000_000;
        else if (ends > 0) json.invitations[0].expires_at = ends;
        await route.fulfill({ response, json });
      });
      await page.keyboard.press('Enter');
      await page.waitForSelector(`${SHOWN}[data-state=expired]`);
      await look(page, 'add-consoles-expired');
      // An answer that is still on its way is nobody's any more.
      await page.unrouteAll({ behavior: 'ignoreErrors' });
      await page.context().close();
    });

    await check('Fleet: told by keyboard; a copied key locks; removed consoles are out', async () => {
      const { code } = await on.ask('POST', '/join-tokens', { template: 'quick', uses: 5 });
      const copied = await on.enrol('Bay 3', code);
      const copy = `${copied}-copy`;
      cpSync(copied, copy, { recursive: true });
      on.serve(copied);
      on.serve(await on.enrol('Bay 4', code));
      await on.enrol('Bay 5', code);
      const all = await until('two more are linked', async () => {
        const consoles = await on.consoles();
        return consoles.get('Bay 3')?.linked_since && consoles.get('Bay 4')?.health && consoles;
      });
      const page = await open('/fleet', { on });
      const row = (name) => page.waitForSelector(`${ROW}[data-id="${all.get(name).id}"]`);
      await row('Bay 4');
      await page.keyboard.press('/');
      await page.keyboard.type('bay 4');
      await page.keyboard.press('Tab');
      await until('one row is left', async () => (await page.$$(ROW)).length === 1);
      await page.keyboard.press('Shift+Tab');
      await page.keyboard.press('Escape');
      await (await row('Bay 4')).evaluate((one) => one.querySelector('[data-console-link]').focus());
      await page.keyboard.press('d');
      await page.waitForSelector('[role=dialog]:has-text("Deploy on Bay 4")');
      await look(page, 'fleet-deploy');
      await page.keyboard.press('Enter');
      await page.waitForSelector('text=Bay 4: the deployment was started');
      await until('it ran', async () =>
        (await on.deployments()).some((one) => one.name === 'Bay 4' && one.state === 'succeeded'),
      );

      // two renewals give up the first key; who comes with it has a copy
      for (let i = 0; i < 2; i++) {
        await (await page.waitForSelector('[aria-label="Actions for Bay 3"]')).click();
        await page.click('[role=menuitem]:has-text("Renew certificate")');
        await page.waitForSelector(`text=Bay 3 has a new certificate >> nth=${i}`);
      }
      const intruder = on.serve(copy);
      await page.waitForSelector(`${ROW}[data-standing=locked]`, { timeout: 30_000 });
      intruder.kill();
      const first = await page.waitForSelector(ROW);
      assert.equal(await first.getAttribute('data-standing'), 'locked', 'who needs someone stands on top');
      assert.match(await first.textContent(), /somebody has a copy of it/);
      await page.waitForSelector('nav a[aria-current=page]:has-text("1")');
      await everyWay('fleet', '/fleet', (one) => one.waitForSelector(ROW), null, on);

      await (await row('Bay 13')).evaluate((one) => one.querySelector('[data-console-link]').focus());
      await page.keyboard.press('Delete');
      await page.waitForSelector('[role=alertdialog]:has-text("Remove Bay 13")');
      assert.equal(await focused(page), 'Keep it', 'the safe way out has the focus');
      await look(page, 'fleet-remove');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForSelector('text=Bay 13 is removed and shut out');
      await page.waitForSelector('text=Show 1 removed');
      const consoles = await on.consoles();
      assert.equal(consoles.get('Bay 13').standing, 'revoked');
      assert.equal(consoles.get('Bay 13').linked_since, null, 'its link ends with it');

      // added again it is let in again, and is the same console
      await (
        await page.waitForSelector(`${ROW}[data-standing=locked] button:has-text("Add it again")`)
      ).click();
      await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      assert.equal(await page.inputValue('[data-testid=code-choices] select'), 'quick');
      await page.keyboard.press('Enter');
      await page.waitForSelector(CODE);
      await on.enrol('Bay 3', await page.textContent(CODE));
      await page.waitForSelector(`${JOINED}:has-text("Bay 3")`);
      await page.keyboard.press('Escape');
      await page.waitForSelector(`${ROW}[data-standing=locked]`, { state: 'detached' });
      await page.context().close();
    });

    await check('Fleet: selected ones, codes given out, and a collector that does not answer', async () => {
      const page = await open('/fleet', { on });
      await page.waitForSelector(ROW);
      await page.click('[aria-label="Select all that are shown"]');
      await page.waitForSelector('[role=toolbar]');
      await look(page, 'fleet-selected');
      await page.keyboard.press('Escape');
      await page.waitForSelector('[role=toolbar]', { state: 'detached' });
      const { invitation } = await on.ask('POST', '/join-tokens', { template: 'quick' });
      await page.waitForSelector('[data-testid=code-row][data-state=open]');
      await page.click('text=/Show \\d+ older/');
      await page.locator('[data-testid=codes]').scrollIntoViewIfNeeded();
      await look(page, 'fleet-codes');
      const mine = page.locator(
        '[data-testid=code-row][data-state=open]:has-text("quick"):has-text("0 of 1")',
      );
      await mine.getByRole('button').click();
      await page.waitForSelector('text=The code lets nobody in any more');
      const { invitations } = await on.get('/join-tokens');
      assert.equal(invitations.find((one) => one.id === invitation.id).state, 'revoked');
      const error = { code: 'internal', message: 'the database could not be read', retryable: true };
      await page.route(/\/api\/v1\/consoles$/, (route) => route.fulfill({ status: 500, json: { error } }));
      await page.waitForSelector('text=What you see is from before.');
      assert.notEqual((await page.$$(ROW)).length, 0, 'what is known stays');
      await page.context().close();
    });
  }
}
