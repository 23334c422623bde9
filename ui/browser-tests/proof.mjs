// Before what counts somebody shows that it is they who sit there: over whatever is open, by keyboard, once for all that waits. On a
// collector of its own, where a proof is good for two seconds.
import assert from 'node:assert/strict';
import { Stage, until } from './collector.mjs';

const FORM = '[data-testid=login-form]';
const PROVE = '[data-testid=prove]';
const PASSWORD = 'three blind mice';
const FRESH_MS = 2000;

export async function proofChecks({ check, open, look, assertNotWide, DESK, PHONE }) {
  const on = new Stage();
  on.more = ['--proof-for', `${FRESH_MS / 1000}s`];
  try {
    await on.start();
    await checks();
  } finally {
    await on.stop();
  }

  /** Ada at a place, so long after she logged in that it shows nothing any more. */
  async function later(path, options) {
    const page = await open(path, { on, token: null, ...options });
    await page.waitForSelector(FORM);
    await page.fill('input[name=username]', 'ada');
    await page.fill('input[name=password]', PASSWORD);
    await page.keyboard.press('Enter');
    await page.waitForSelector('[data-testid=connection][data-state=live]');
    await page.waitForTimeout(FRESH_MS + 200);
    return page;
  }

  async function logins() {
    return (await on.get('/operators')).operators.map((one) => one.login).sort();
  }

  function focused(page) {
    return page.evaluate(() => document.activeElement?.getAttribute('name'));
  }

  async function checks() {
    const fields = { name: 'Ada', role: 'admin', password: PASSWORD };
    await on.ask('POST', '/operators', { login: 'ada', ...fields });

    for (const [size, viewport, colorScheme] of [
      ['desk', DESK, 'dark'],
      ['phone', PHONE, 'light'],
    ]) {
      await check(
        `what counts asks who sits there, over the dialog that it was done in (${size})`,
        async () => {
          const page = await later('/operators', { viewport, colorScheme });
          const login = `bob-${size}`;
          await page.click('text=Add an operator');
          await page.waitForSelector('[data-testid=operator-form]');
          await page.keyboard.type('Bob');
          await page.keyboard.press('Tab');
          await page.keyboard.type(login);
          await page.keyboard.press('Enter');
          await page.waitForSelector(PROVE);
          await until('the password has the focus', async () => (await focused(page)) === 'password');
          await look(page, `prove-${size}-${colorScheme}`);
          await assertNotWide(page, 'the proof');

          // who would rather not has done nothing, and lost nothing
          await page.keyboard.press('Escape');
          await page.waitForSelector(PROVE, { state: 'detached' });
          await page.waitForSelector('[data-testid=operator-form] [role=alert]:has-text("nothing was done")');
          assert.ok(!(await logins()).includes(login));
          const inside = () => page.evaluate(() => document.activeElement?.closest('[role=dialog]') !== null);
          await until('the focus is in the dialog below', inside);

          await page.click('[data-testid=operator-form] button[type=submit]');
          await page.waitForSelector(PROVE);
          await until('the password has the focus', async () => (await focused(page)) === 'password');
          await page.keyboard.type('not this one');
          await page.keyboard.press('Enter');
          await page.waitForSelector(`${PROVE} [role=alert]:has-text("The password is wrong")`);
          await look(page, `prove-wrong-${size}`);
          await page.keyboard.type(PASSWORD);
          await page.keyboard.press('Enter');
          await page.waitForSelector('[data-testid=once]');
          assert.ok((await logins()).includes(login), 'it was done then, without a further press');
          await page.context().close();
        },
      );
    }

    await check('who guesses there waits as at the login', async () => {
      const page = await later('/operators');
      await page.click('[data-testid=operator-row][data-login=bob-desk] button');
      await page.click('[role=menuitem]:has-text("Shut out")');
      await page.click('[role=alertdialog] >> text=Shut out');
      await page.waitForSelector(PROVE);
      for (let i = 0; i < 6; i++) {
        await page.fill(`${PROVE} input[name=password]`, `guess ${i}`);
        await page.keyboard.press('Enter');
        await page.waitForSelector(`${PROVE} [role=alert]`);
        await page.waitForSelector(`${PROVE} button[type=submit][aria-busy=false]`);
        if (await page.$(`${PROVE} button:has-text("Wait 0:")`)) break;
      }
      await page.waitForSelector(`${PROVE} button:disabled:has-text("Wait 0:")`);
      await look(page, 'prove-locked');
      await page.context().close();
    });
  }
}
