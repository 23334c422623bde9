// Who is let in: logging in, the second factor, operators, sessions and tokens, and what a role is not offered. On a collector of
// its own.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { Stage, until } from './collector.mjs';

const DOOR = '[data-testid=doorway]';
const FORM = '[data-testid=login-form]';
const PASSWORD = 'three blind mice';
const STEP_S = 30;

/** The six digits of an authenticator app (RFC 6238), `ahead` steps from now. */
function digits(secret, ahead = 0) {
  const bits = [...secret.replace(/=+$/, '')]
    .map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'))
    .join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 1000 / STEP_S) + ahead));
  const hash = createHmac('sha1', key).update(counter).digest();
  const number = hash.readUInt32BE(hash[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

export async function trustChecks({ check, open, look, picture, assertNotWide, DESK, PHONE }) {
  const on = new Stage();
  try {
    await on.start();
    await checks();
  } finally {
    await on.stop();
  }

  /** A page at the collector that holds nothing to be let in with. */
  function stranger(path, options) {
    return open(path, { on, token: null, ...options });
  }

  /** Types name and password, and Enter. */
  async function typed(page, login, password = PASSWORD) {
    await page.waitForSelector(FORM);
    await page.fill('input[name=username]', login);
    await page.fill('input[name=password]', password);
    await page.keyboard.press('Enter');
  }

  /** Somebody who logged in, at a place. */
  async function entered(path, login, options) {
    const page = await stranger(path, options);
    await typed(page, login);
    await page.waitForSelector('[data-testid=connection][data-state=live]');
    return page;
  }

  function add(login, role) {
    return on.ask('POST', '/operators', {
      login,
      name: login[0].toUpperCase() + login.slice(1),
      role,
      password: PASSWORD,
    });
  }

  async function checks() {
    on.template('quick', ['echo "--- Install content"', 'echo done']);
    await add('ada', 'admin');
    await add('bob', 'operator');
    await add('vera', 'viewer');

    await check('a stranger is asked to log in, every way', async () => {
      for (const [size, viewport] of [
        ['desk', DESK],
        ['phone', PHONE],
      ]) {
        for (const colorScheme of ['dark', 'light']) {
          const page = await stranger('/live', { viewport, colorScheme });
          await page.waitForSelector(DOOR);
          const focused = await page.evaluate(() => document.activeElement?.getAttribute('name'));
          assert.equal(focused, 'username', 'the first field has the focus');
          assert.equal(await page.$('nav'), null, 'nothing else is there');
          await look(page, `login-${size}-${colorScheme}`);
          await assertNotWide(page, 'the login');
          await page.context().close();
        }
      }
    });

    await check('a wrong password is told, the right one leads to where it was asked for', async () => {
      const page = await stranger('/fleet');
      await typed(page, 'bob', 'not this one');
      await page.waitForSelector('[role=alert]:has-text("The login or the password is wrong")');
      await look(page, 'login-wrong');
      await page.keyboard.type(PASSWORD);
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=fleet-empty]');
      assert.equal(await page.evaluate(() => location.hash), '#/fleet');
      const kept = await page.evaluate(() => [document.cookie, localStorage.getItem('deckport.token')]);
      assert.deepEqual(kept, ['', null], 'only this tab holds the session');
      await page.reload();
      await page.waitForSelector('[data-testid=fleet-empty]');
      await page.click('nav >> text=Collectors and account');
      await look(page, 'account-menu');
      await page.click('[role=menuitem]:has-text("Log out")');
      await page.waitForSelector(DOOR);
      const { sessions } = await on.get('/sessions?all=true');
      assert.equal(sessions.length, 0, 'the session is over at the collector too');
      await page.context().close();
    });

    await check('who guesses too often is told for how long to wait', async () => {
      const page = await stranger('/live', { viewport: PHONE });
      await page.waitForSelector(FORM);
      await page.fill('input[name=username]', 'mallory');
      for (let i = 0; i < 6; i++) {
        await page.fill('input[name=password]', `guess ${i}`);
        await page.keyboard.press('Enter');
        await page.waitForSelector('[role=alert]');
        await page.waitForSelector('button[type=submit][aria-busy=false]');
        if (await page.$('button:has-text("Wait 0:")')) break;
      }
      await page.waitForSelector('[role=alert]:has-text("Too many logins failed")');
      await page.waitForSelector('button:disabled:has-text("Wait 0:")');
      await look(page, 'login-locked');
      await page.context().close();
    });

    await check('operators are added with a password that is shown once, and log in with it', async () => {
      const page = await entered('/operators', 'ada');
      await page.waitForSelector('[data-testid=operator-row][data-login=ada]');
      await look(page, 'operators-desk-dark');
      await page.click('header >> text=Add an operator');
      await page.waitForSelector('[data-testid=operator-form]');
      await page.keyboard.type('Carol Shaw');
      await page.keyboard.press('Tab');
      await page.keyboard.type('carol');
      await look(page, 'operators-add');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=once]');
      await look(page, 'operators-once');
      const [login, password] = await page.$$eval('[data-testid=once] code', (all) =>
        all.map((one) => one.textContent),
      );
      assert.equal(login, 'carol');
      await page.click('[data-testid=once] >> text=Done');
      await page.waitForSelector('[data-testid=operator-row][data-login=carol]');
      assert.equal(await page.$(`text=${password}`), null, 'it is shown once');

      const hers = await stranger('/history?q=level%3Aerror', { viewport: PHONE, colorScheme: 'light' });
      await typed(hers, 'carol', password);
      await hers.waitForSelector('[data-testid=connection][data-state=live]');

      await page.click('[aria-label="Actions for Carol Shaw"]');
      await page.click('[role=menuitem]:has-text("Change…")');
      await page.check('[role=dialog] >> text=viewer');
      await page.click('[role=dialog] >> button:has-text("Save")');
      await page.waitForSelector('[data-testid=operator-row][data-login=carol]:has-text("viewer")');

      await page.click('[aria-label="Actions for Carol Shaw"]');
      await look(page, 'operators-menu');
      await page.click('[role=menuitem]:has-text("Shut out")');
      await page.waitForSelector('[role=alertdialog]');
      assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Leave it');
      await look(page, 'operators-shut-out');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForSelector('text=Carol Shaw is shut out');
      // her page says so at once, and her place is kept
      await hers.waitForSelector(`${DOOR}:has-text("Your session has ended")`);
      await look(hers, 'login-ended-phone');
      await typed(hers, 'carol', password);
      await hers.waitForSelector('[role=alert]:has-text("shut out")');
      await page.click('text=Undo');
      await page.waitForSelector('text=Carol Shaw is let in again');
      await typed(hers, 'carol', password);
      await hers.waitForSelector(DOOR, { state: 'detached' });
      assert.equal(await hers.evaluate(() => location.hash), '#/history?q=level%3Aerror');
      await hers.context().close();
      await page.context().close();
    });

    await check('the last admin stays one, in the collector’s own words', async () => {
      const page = await entered('/operators', 'ada');
      await page.click('[aria-label="Actions for Ada"]');
      await page.click('[role=menuitem]:has-text("Change…")');
      await page.check('[role=dialog] >> text=viewer');
      await page.click('[role=dialog] >> button:has-text("Save")');
      await page.waitForSelector('[role=alert]:has-text("this is the last admin")');
      await page.context().close();
    });

    await check('a second factor is set up, asked for, and taken away', async () => {
      const page = await entered('/operators', 'bob');
      await page.waitForSelector('[data-testid=second-factor][data-on=false]');
      assert.equal(await page.$('[data-testid=operator-row]'), null, 'others are the admins’ business');
      await look(page, 'account-desk');
      await page.click('text=Set up…');
      const secret = await until('the secret', () => page.textContent('[data-testid=factor-form] code'));
      await page.keyboard.type('000000');
      await page.fill('[data-testid=factor-form] input[type=password]', PASSWORD);
      await page.keyboard.press('Enter');
      await page.waitForSelector('[role=alert]:has-text("not the six digits of now")');
      await look(page, 'second-factor');
      await page.fill('[data-testid=factor-form] input[inputmode=numeric]', digits(secret));
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=second-factor][data-on=true]');
      await page.waitForSelector('text=From now on your authenticator app is asked for');
      await page.context().close();

      const phone = await stranger('/operators', { viewport: PHONE });
      await typed(phone, 'bob');
      await phone.waitForSelector('input[name=code]:focus');
      await look(phone, 'login-code-phone');
      await phone.keyboard.type('000 000');
      await phone.keyboard.press('Enter');
      await phone.waitForSelector('[role=alert]:has-text("The six digits are wrong")');
      await phone.keyboard.type(digits(secret, 1));
      await phone.keyboard.press('Enter');
      await phone.waitForSelector('[data-testid=second-factor][data-on=true]');
      await picture(phone, 'account-phone');
      await assertNotWide(phone, 'the account');
      await phone.click('text=Take away…');
      await phone.keyboard.type(PASSWORD);
      await phone.click('[role=dialog] >> text=Take it away');
      await phone.waitForSelector('[data-testid=second-factor][data-on=false]');
      await phone.context().close();
    });

    await check('a session is ended from elsewhere; who logs in again is where they were', async () => {
      const one = await entered('/history', 'bob');
      await one.fill('[role=combobox], input[type=search], .query input', 'level:warning');
      const two = await entered('/operators', 'bob', { colorScheme: 'light' });
      await two.waitForSelector('[data-testid=session-row]:has-text("this one")');
      await look(two, 'sessions-desk-light');
      // the newest comes first, and is this one
      await two.locator('[data-testid=session-row] >> text=End').first().click();
      await two.waitForSelector('text=The session has ended');
      await one.waitForSelector(`${DOOR}:has-text("Your session has ended")`);
      await look(one, 'login-ended');
      await typed(one, 'bob');
      await one.waitForSelector(DOOR, { state: 'detached' });
      const text = await one.inputValue('[role=combobox], input[type=search], .query input');
      assert.equal(text, 'level:warning', 'what was typed is still there');
      await one.context().close();
      await two.context().close();
    });

    await check('a password is changed; a token is made, shown once and taken back', async () => {
      const page = await entered('/operators', 'bob');
      await page.click('text=Change password…');
      await page.keyboard.type('not this one');
      await page.keyboard.press('Tab');
      await page.keyboard.type('short');
      await page.waitForSelector('text=At least ten characters.');
      const [, wanted, again] = await page.$$('[data-testid=own-password-form] input[type=password]');
      await wanted.fill('another one, long');
      await again.fill('another one, long');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[role=alert]:has-text("The present password is wrong")');
      await page.keyboard.type(PASSWORD);
      await page.keyboard.press('Enter');
      await page.waitForSelector('text=Your password was changed');
      await page.click('text=Make a token…');
      await page.keyboard.type('nightly report');
      await look(page, 'token-make');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=once]');
      const token = await page.locator('[data-testid=once] code').last().textContent();
      const ask = () => fetch(`${on.url}/api/v1/info`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal((await ask()).status, 200);
      await page.click('[data-testid=once] >> text=Done');
      await page.waitForSelector('[data-testid=token-row]:has-text("nightly report")');
      await page.click('[aria-label="Take back the token: nightly report"]');
      await page.click('[role=alertdialog] button:has-text("Take back")');
      await page.waitForSelector('text=The token is good no more');
      assert.equal((await ask()).status, 401);
      await page.context().close();
    });

    await check('a viewer is offered what they may do, and told why not more', async () => {
      on.serve(await on.enrol('Bay 1', (await on.ask('POST', '/join-tokens', { template: 'quick' })).code));
      await until('it is linked', async () => (await on.consoles()).get('Bay 1')?.linked_since);
      const page = await entered('/fleet', 'vera');
      await page.waitForSelector('[data-testid=console-row]');
      await page.waitForSelector('text=Adding, telling and removing consoles is for operators');
      for (const text of ['Add consoles', 'Codes'])
        assert.equal(await page.$(`main >> text=${text}`), null, text);
      assert.equal(await page.$('[aria-label="Select Bay 1"]'), null);
      await look(page, 'viewer-fleet');
      await page.keyboard.press('a');
      assert.equal(await page.$('[role=dialog]'), null);
      await page.keyboard.press('Control+k');
      await page.keyboard.type('Bay 1');
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => location.hash === '#/fleet?find=Bay%201');
      await page.click('nav >> text=Your account');
      await page.waitForSelector('[data-testid=second-factor]');
      await page.context().close();
      // what somebody may do changes while they look
      const watched = await entered('/operators', 'vera');
      await watched.waitForSelector('text=Who else may log in is the admins’ business');
      await watched.context().close();
    });

    await check('Settings show by what another app knows this collector', async () => {
      const page = await entered('/settings', 'ada', { viewport: PHONE, colorScheme: 'light' });
      const key = await page.waitForSelector('[data-testid=collector-key]');
      await key.scrollIntoViewIfNeeded();
      assert.ok((await key.textContent()).includes(on.pinned), 'the text to paste');
      const { pin_short } = await on.get('/info');
      assert.equal(await page.textContent('[data-testid=own-code]'), pin_short);
      await look(page, 'collector-key-phone');
      await assertNotWide(page, 'the collector’s key');
      await page.context().close();
    });
  }
}
