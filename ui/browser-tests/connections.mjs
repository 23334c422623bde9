// Connections, as the installed app shows them: switched by keyboard, added after comparing a code, entered anew, and left when
// their key changed. The shell is a stand-in; collector, agents and screens are real.
import assert from 'node:assert/strict';
import { AGENT, Stage, until } from './collector.mjs';
import { standIn } from './shell.mjs';

const PASSWORD = 'three blind mice';
const OTHER_PIN = 'sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=';
const ROW = '[data-testid=connection-row]';
const ADD = '[data-testid=add-connection]';

export async function connectionChecks({ check, open, look, assertNotWide, DESK, PHONE }) {
  const on = new Stage();
  try {
    await on.start();
    await checks();
  } finally {
    await on.stop();
  }

  async function checks() {
    const { pin_short: short, pin } = await on.get('/info');
    await on.ask('POST', '/operators', { login: 'ada', name: 'Ada', role: 'admin', password: PASSWORD });
    on.agent('Bay 12', [AGENT, 'simulate', '--lines', '300', '--seed', '2', '--fail']);
    const failed = await until('one failed', async () =>
      (await on.deployments()).find((one) => one.state === 'failed'),
    );
    const address = `https://hall-b.example:7443#${pin}`;
    const local = {
      id: 'local',
      name: 'This computer',
      kind: 'local',
      state: 'ready',
      sentence: null,
      listen: on.url,
      login: null,
    };
    const remote = { ...local, id: 'r1', name: 'Hall B', kind: 'remote', listen: address, login: 'ada' };

    function app(path, shell = {}, options = {}) {
      const connections = shell.connections ?? [local, remote];
      const looked = { address: `https://hq.example:7443#${pin}`, short };
      const prepare = standIn({ token: on.token, looked, ...shell, connections });
      return open(path, { on, token: null, prepare, ...options });
    }
    const chosen = (page, name) => page.waitForSelector(`[data-testid=connection]:has-text("${name}")`);
    const live = (page) => page.waitForSelector('[data-testid=connection][data-state=live]');
    const health = (page, id) => page.waitForSelector(`${ROW}[data-health="${id}"]`);

    await check('Connections: all of them, with this one’s own key, in both themes', async () => {
      for (const [name, viewport, colorScheme] of [
        ['desk-dark', DESK, 'dark'],
        ['desk-light', DESK, 'light'],
        ['narrow-dark', PHONE, 'dark'],
      ]) {
        const page = await app('/connections', {}, { viewport, colorScheme });
        await page.waitForSelector(`${ROW} >> nth=1`);
        await health(page, 'good');
        await page.waitForSelector(`[data-testid=own-code]:has-text("${short}")`);
        await look(page, `connections-${name}`);
        await assertNotWide(page, 'Connections');
        await page.context().close();
      }
    });

    await check(
      'switched by keyboard, from the sidebar and from the palette; what belongs to one stays there',
      async () => {
        const page = await app(`/deployments/${failed.id}`);
        await live(page);
        await page.keyboard.press('Control+2');
        await page.waitForFunction(() => location.hash === '#/live');
        await live(page);
        await page.click('nav >> text=Collectors and account');
        await page.waitForSelector('[role=menuitemradio][aria-checked=true]:has-text("Hall B")');
        await look(page, 'connections-switcher');
        await page.click('[role=menuitemradio]:has-text("This computer")');
        await live(page);
        await page.keyboard.press('Control+k');
        await page.keyboard.type('Switch to Hall');
        await look(page, 'connections-palette');
        await page.keyboard.press('Enter');
        await page.waitForFunction(
          () => JSON.parse(localStorage.getItem('deckport.connections')).chosen === 'r1',
        );
        await page.reload();
        await live(page);
        await page.click('nav >> text=Collectors and account');
        await page.waitForSelector('[role=menuitemradio][aria-checked=true]:has-text("Hall B")');
        await page.keyboard.press('Escape');
        // a notification leads to whoever has it
        await page.evaluate((id) => globalThis.shell.navigate(`/deployments/${id}`), failed.id);
        await page.waitForSelector('h1:has-text("Bay 12")');
        await page.context().close();
      },
    );

    await check('what failed elsewhere since it was looked at is counted', async () => {
      const page = await app('/live');
      await live(page);
      await page.waitForFunction(
        () => 'r1' in JSON.parse(localStorage.getItem('deckport.connections')).looked,
      );
      on.agent('Bay 13', [AGENT, 'simulate', '--lines', '50', '--seed', '5', '--fail']);
      await page.waitForSelector('nav >> text=1 failure since you looked', { state: 'attached' });
      await look(page, 'connections-unread');
      await page.keyboard.press('Control+2');
      await live(page);
      await page.waitForSelector('nav >> text=1 failure since you looked', { state: 'detached' });
      await page.context().close();
    });

    await check('a collector is added in four steps: paste, look, compare, log in', async () => {
      const page = await app('/connections', { connections: [local] });
      await page.click('header >> text=Add a connection');
      await page.waitForSelector(`${ADD} input:focus`);
      await page.keyboard.type('hq.example');
      await page.keyboard.press('Enter');
      await page.waitForSelector(`${ADD}[data-step=comparing]`);
      assert.equal(await page.textContent('[data-testid=short-code]'), short);
      await look(page, 'connections-compare');
      // who only presses on has not compared
      await page.keyboard.press('Enter');
      assert.equal(await page.getAttribute(ADD, 'data-step'), 'comparing');
      await page.click(`${ADD} >> button:has-text("They differ")`);
      await page.waitForSelector('[role=alert]:has-text("nothing was sent to it")');
      await page.keyboard.press('Enter');
      await page.click(`${ADD} >> button:has-text("The codes are the same")`);
      await page.waitForSelector('input[name=username]:focus');
      await page.keyboard.type('ada');
      await page.keyboard.press('Tab');
      await page.keyboard.type('not this one');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[role=alert]:has-text("The login or the password is wrong")');
      await page.keyboard.type(PASSWORD);
      await look(page, 'connections-login');
      await page.keyboard.press('Enter');
      await page.waitForSelector('text=Headquarters was added');
      await live(page);
      await page.waitForSelector(`${ROW} >> nth=1`);
      await page.waitForSelector(`${ROW}:has-text("Headquarters"):has-text("on the screen")`);
      await page.context().close();
    });

    await check('a link offers one; another key than it promises is the end of it', async () => {
      const page = await app(
        `/connections?add=${encodeURIComponent(`https://hq.example:7443#${OTHER_PIN}`)}`,
      );
      await page.waitForSelector(`${ADD} input:focus`);
      await page.keyboard.press('Enter');
      await page.waitForSelector(`${ADD}[data-step=mismatch]`);
      assert.equal(await page.$(`${ADD} >> text=The codes are the same`), null);
      await look(page, 'connections-mismatch');
      await page.context().close();
    });

    await check('a session that ended is entered anew, without losing the place', async () => {
      const page = await app('/history?q=level%3Aerror');
      await live(page);
      await page.keyboard.press('Control+2');
      await live(page);
      await page.evaluate(() =>
        globalThis.shell.refuse('r1', 'unauthorized', 'it does not know this login any more'),
      );
      await page.waitForSelector('[data-testid=doorway]');
      assert.equal(await page.inputValue('input[name=username]'), 'ada');
      await look(page, 'connections-enter');
      await page.keyboard.type(PASSWORD);
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=doorway]', { state: 'detached' });
      await live(page);
      assert.equal(await page.evaluate(() => location.hash), '#/history?q=level%3Aerror');
      await page.context().close();
    });

    await check('a changed key is an alarm; the only way on is to leave and compare anew', async () => {
      const looked = { address: `https://hall-b.example:7443#${OTHER_PIN}`, short: '0000-0000-0000' };
      const refusals = [['r1', { code: 'other_key', message: 'another key answers', retryable: false }]];
      for (const [name, viewport, colorScheme] of [
        ['desk-light', DESK, 'light'],
        ['narrow-dark', PHONE, 'dark'],
      ]) {
        const page = await app('/connections', { refusals, looked }, { viewport, colorScheme });
        await health(page, 'other-key');
        await page.waitForSelector('[data-testid=key-changed]');
        await look(page, `connections-alarm-${name}`);
        await assertNotWide(page, 'the alarm');
        await page.context().close();
      }
      const page = await app('/live', { refusals, looked });
      await live(page);
      await page.keyboard.press('Control+2');
      await page.waitForSelector('[data-testid=key-changed]');
      await page.waitForSelector(`[data-testid=key-changed] dd:has-text("0000-0000-0000")`);
      assert.equal(await page.$('input[type=password]'), null, 'nothing asks for a password');
      await look(page, 'connections-alarm-screen');
      await page.click('text=Remove and add anew…');
      await page.waitForSelector('[role=alertdialog]');
      assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), 'Keep it');
      await look(page, 'connections-remove');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Enter');
      await page.waitForSelector(`${ADD} input:focus`);
      assert.equal(await page.inputValue(`${ADD} input`), 'hall-b.example:7443');
      await chosen(page, 'Hall A');
      assert.equal(await page.$(`${ROW} >> nth=1`), null, 'it is gone');
      await page.context().close();
    });
  }
}
