// Venues: added, switched between, and kept apart from who has no role there. On a collector of its own.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Stage, until } from './collector.mjs';

const VENUE = '[data-testid=venue]';
const ITEM = '[data-testid=venue-item]';
const ROW = '[data-testid=deployment-row]';
const CONSOLE = '[data-testid=console-row]';
const CODE = '[data-testid=code]';
const FORM = '[data-testid=login-form]';
const PASSWORD = 'three blind mice';

const focused = (page) =>
  page.evaluate(() => document.activeElement?.ariaLabel ?? document.activeElement?.textContent.trim());

export async function venueChecks({ check, open, look, picture, assertNotWide, DESK, PHONE }) {
  const on = new Stage();
  /** Ids, by name. */
  const ids = new Map();
  try {
    await on.start();
    await checks();
  } finally {
    await on.stop();
  }

  async function learn() {
    for (const { id, name } of (await on.get('/venues')).venues) ids.set(name, id);
  }

  async function entered(path, login, options) {
    const page = await open(path, { on, token: null, ...options });
    await page.waitForSelector(FORM);
    await page.fill('input[name=username]', login);
    await page.fill('input[name=password]', PASSWORD);
    await page.keyboard.press('Enter');
    await page.waitForSelector('[data-testid=connection][data-state=live]');
    return page;
  }

  function add(login, role, venues = {}) {
    const name = login[0].toUpperCase() + login.slice(1);
    return on.ask('POST', '/operators', { login, name, role, venues, password: PASSWORD });
  }

  /** A console of a venue, with a run of its template. */
  async function consoleIn(venue, name, template) {
    const asked = { template, venue: ids.get(venue) };
    const state = await on.enrol(name, (await on.ask('POST', '/join-tokens', asked)).code);
    await on.finished(['deploy', '--state', state]).catch(() => undefined);
    on.serve(state);
  }

  function names(page, selector) {
    const text = (all) => all.map((one) => one.textContent.trim().replaceAll(/\s+/g, ' '));
    return page.$$eval(selector, text);
  }

  /** Opens the switcher by keyboard and chooses; `null` is all. */
  async function choose(page, name) {
    await page.waitForSelector(VENUE);
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press('v');
    await page.waitForSelector('[role=menuitemradio]');
    await page.keyboard.type(name ?? 'All');
    await page.keyboard.press('Enter');
    await page.waitForSelector(`${VENUE}[data-venue="${name === null ? 'all' : ids.get(name)}"]`);
    await page.waitForSelector('[data-testid=connection][data-state=live]');
  }

  async function checks() {
    on.template('broken', ['echo "--- Install content"', 'echo "error: the marble is missing"', 'exit 1']);
    on.template('kit', ['echo "--- Install content"', 'echo "unpacked marble"']);

    await check('with one venue nobody is told that there are several', async () => {
      const page = await open('/live', { on });
      await page.waitForSelector('[data-testid=empty-state]');
      await page.waitForSelector('nav a:has-text("Operators")');
      assert.doesNotMatch(await page.textContent('body'), /\bvenues?\b/i);
      await page.keyboard.press('v');
      assert.equal(await page.$('[role=menu]'), null);
      await page.keyboard.press('a');
      await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      assert.equal(await page.$('[data-testid=venue-choices]'), null);
      assert.equal(await focused(page), 'Make a code');
      await page.context().close();
    });

    await check('an admin adds a venue and renames one; a rename is undone', async () => {
      const page = await open('/settings', { on });
      await page.click('main >> text=Venues…');
      await page.waitForSelector('[data-testid=venue-row]');
      await look(page, 'venues-one');
      await page.click('header >> text=Add a venue');
      await page.waitForSelector('[data-testid=name-form] input:focus');
      await page.keyboard.type('Hall A');
      await page.waitForSelector('[role=alert]:has-text("There is a venue of that name already")');
      await page.fill('[data-testid=name-form] input', 'South');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=venue-row]:has-text("South")');
      await page.waitForSelector(VENUE);
      await page.click('[aria-label="Rename Hall A"]');
      await page.waitForSelector('[data-testid=name-form] input:focus');
      await page.keyboard.type('North');
      await look(page, 'venues-rename');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=venue-row]:has-text("North")');
      await page.click('text=Undo');
      await page.waitForSelector('[data-testid=venue-row]:has-text("Hall A")');
      await page.context().close();
      await on.ask('PUT', `/venues/${(await on.get('/venues')).venues[0].id}`, { name: 'North' });
      await learn();
      assert.deepEqual([...ids.keys()].sort(), ['North', 'South']);
    });

    await check('consoles are added to a venue in three presses, also where it is to be chosen', async () => {
      const page = await open('/live', { on });
      let acts = 0;
      const press = (key) => (acts++, page.keyboard.press(key));
      const click = (what) => (acts++, page.click(what));
      const chosen = () =>
        page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      await page.waitForSelector(VENUE);
      await click('main >> text=Add consoles');
      await page.waitForSelector('[data-testid=venue-choices] button');
      await chosen();
      await look(page, 'add-consoles-venues');
      await click('[data-testid=venue-choices] button:has-text("South")');
      await page.waitForSelector(CODE);
      await press('Enter');
      assert.equal(acts, 3);
      const line = await until('the line is copied', () =>
        page.evaluate(() => navigator.clipboard.readText()),
      );
      assert.match(line, /\/deploy\/console \| bash$/);
      await page.waitForSelector('[data-testid=code-shown]:has-text("for South")');
      await on.enrol('Birch 1', await page.textContent(CODE));
      assert.equal((await on.consoles()).get('Birch 1').venue, 'South');
      await page.keyboard.press('Escape');
      await page.waitForSelector('[role=dialog]', { state: 'detached' });

      // a venue that is looked at is chosen already
      await choose(page, 'North');
      await page.evaluate(() => document.activeElement?.blur());
      acts = 0;
      await press('a');
      await chosen();
      assert.equal(await page.$('[data-testid=venue-choices]'), null);
      await look(page, 'add-consoles-in-venue');
      await press('Enter');
      await page.waitForSelector(CODE);
      await press('Enter');
      assert.equal(acts, 3);
      await on.enrol('Aster 1', await page.textContent(CODE));
      assert.equal((await on.consoles()).get('Aster 1').venue, 'North');
      await page.context().close();
    });

    // a failed run ends the program with its own code: what matters is what the collector has of it
    await consoleIn('North', 'Aster 2', 'broken');
    await consoleIn('South', 'Birch 2', 'kit');
    const runs = await until('one run of each', async () => {
      const all = await on.deployments();
      const of = (name) => all.find((one) => one.name === name && one.finished_at !== null);
      return of('Aster 2') && of('Birch 2') && { north: of('Aster 2'), south: of('Birch 2') };
    });

    await check('all venues stand beside each other, one after the other, or one alone', async () => {
      const page = await open('/live', { on });
      await page.waitForSelector(ROW);
      await page.waitForSelector('[data-testid=row-venue]');
      assert.deepEqual(await names(page, '[data-testid=row-venue]'), ['North', 'South']);
      await look(page, 'venues-live');
      await page.selectOption('[data-testid=venue-view]', 'grouped');
      await page.waitForSelector('[data-testid=venue-heading]');
      assert.deepEqual(
        (await names(page, '[data-testid=venue-heading] b')).join(),
        'North,South',
        'where somebody is needed comes first',
      );
      await look(page, 'venues-live-grouped');
      await page.keyboard.press('g');
      await page.keyboard.press('c');
      await page.waitForSelector(CONSOLE);
      assert.equal((await page.$$('[data-testid=venue-heading]')).length, 2);
      await look(page, 'venues-fleet-grouped');
      await page.selectOption('[data-testid=venue-view]', { label: 'South' });
      await until('only the South', async () => (await page.$$(CONSOLE)).length === 2);
      assert.doesNotMatch(await page.textContent('main'), /Aster/);
      await page.selectOption('[data-testid=venue-view]', 'mixed');
      await until('all of them', async () => (await page.$$(CONSOLE)).length === 4);
      await look(page, 'venues-fleet');
      await page.context().close();
    });

    await check('switching changes every screen, keeps the place, and is remembered', async () => {
      const page = await open('/fleet', { on });
      await page.waitForSelector(VENUE);
      await page.keyboard.press('v');
      await page.waitForSelector('[role=menuitemradio]');
      assert.deepEqual(await names(page, ITEM), ['North 1, 1 needs you', 'South']);
      await look(page, 'venues-switcher');
      await page.keyboard.press('Escape');
      await choose(page, 'South');
      assert.equal(await page.evaluate(() => location.hash), '#/fleet');
      assert.match(await focused(page), /^South/, 'who switched goes on from there');
      await until('its two consoles', async () => (await page.$$(CONSOLE)).length === 2);
      assert.doesNotMatch(await page.textContent('main'), /Aster/);
      // what needs somebody elsewhere is told
      await page.waitForSelector(`${VENUE}:has-text("1 needs you in other venues")`);
      await look(page, 'venues-south');
      await page.reload();
      await page.waitForSelector(`${VENUE}[data-venue="${ids.get('South')}"]`);
      await until('still two', async () => (await page.$$(CONSOLE)).length === 2);

      // a run of the one is not in the other
      await page.goto(`${on.url}/#/deployments/${runs.south.id}`);
      await page.waitForSelector('h1:has-text("Birch 2")');
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page.click('[aria-label=Download]'),
      ]);
      assert.match(readFileSync(await download.path(), 'utf8'), /unpacked marble/);
      await choose(page, 'North');
      assert.equal(await page.evaluate(() => location.hash), '#/live');
      await page.waitForSelector(`${ROW}:has-text("Aster 2")`);
      assert.equal((await page.$$(ROW)).length, 1);
      await page.goto(`${on.url}/#/deployments/${runs.south.id}`);
      await page.waitForSelector('[data-testid=elsewhere]:has-text("This deployment is in South")');
      assert.equal(await page.$('text=This deployment is not on this collector'), null);
      await page.reload();
      await page.waitForSelector('[data-testid=elsewhere]:has-text("This deployment is in South")');
      await look(page, 'venues-elsewhere');
      await page.click('[data-testid=elsewhere] button');
      await page.waitForSelector('h1:has-text("Birch 2")');
      await choose(page, null);
      await page.waitForSelector('h1:has-text("Birch 2")');

      await page.keyboard.press('Control+k');
      await page.keyboard.type('switch to north');
      await picture(page, 'venues-palette');
      await page.keyboard.press('Enter');
      await page.waitForSelector(`${VENUE}[data-venue="${ids.get('North')}"]`);
      await page.context().close();
    });

    await check('History is narrowed to a venue by its name', async () => {
      const page = await open('/history?q=marble', { on });
      await page.waitForSelector('main >> text=Aster 2');
      await page.waitForSelector('main >> text=Birch 2');
      await page.click('[aria-label="Venue: Any venue"]');
      await page.click('[role=menuitemradio]:has-text("South")');
      await page.waitForSelector('[aria-label="Venue: South"]');
      await page.waitForFunction(() => /venue%3A%3DSouth/.test(location.hash));
      await page.waitForSelector('main >> text=Aster 2', { state: 'detached' });
      await page.waitForSelector('main >> text=Birch 2');
      await look(page, 'venues-history');
      await page.context().close();
    });

    await check('operators get roles in all venues and in single ones', async () => {
      const page = await open('/operators', { on });
      await page.click('header >> text=Add an operator');
      await page.waitForSelector('[data-testid=operator-form]');
      await page.keyboard.type('Bea');
      await page.keyboard.press('Tab');
      await page.keyboard.type('bea');
      await page.check('[role=dialog] >> text=No role in all venues');
      await page.waitForSelector('text=Choose a role: in all venues, or in one of them.');
      assert.equal(await page.isDisabled('[data-testid=operator-form] button[type=submit]'), true);
      await page.selectOption('[data-testid=single-venues] label:has-text("South") select', 'operator');
      await look(page, 'venues-operator');
      await page.click('[data-testid=operator-form] button[type=submit]');
      await page.click('[data-testid=once] >> text=Done');
      const reach = (login) =>
        page.textContent(`[data-testid=operator-row][data-login=${login}] [data-testid=operator-reach]`);
      assert.equal((await reach('bea')).trim(), 'operator in South');
      await add('ada', 'admin');
      await add('cy', 'viewer', { [ids.get('South')]: 'admin' });
      await add('dan', undefined, { [ids.get('North')]: 'operator', [ids.get('South')]: 'viewer' });
      await page.reload();
      await page.waitForSelector('[data-testid=operator-row][data-login=dan]');
      assert.match(await reach('cy'), /viewer in all venues\s*admin in South/);
      assert.match(await reach('dan'), /operator in North\s*viewer in South/);
      await look(page, 'venues-operators');
      // what is less than in all venues is nothing
      await page.click('[aria-label="Actions for Cy"]');
      await page.click('[role=menuitem]:has-text("Change…")');
      await page.check('[role=dialog] >> label:has-text("tournament director")');
      assert.deepEqual(await names(page, '[data-testid=single-venues] label:has-text("North") option'), [
        'as in all: tournament director',
        'admin',
      ]);
      await page.context().close();
      const bea = (await on.get('/operators')).operators.find((one) => one.login === 'bea');
      assert.deepEqual([bea.everywhere, bea.venues], [null, { [ids.get('South')]: 'operator' }]);
      const { id, login, name, venues } = bea;
      await on.ask('PUT', `/operators/${id}`, { login, name, venues, password: PASSWORD });
    });

    await check('an operator of one venue sees nothing of the other, on any screen', async () => {
      const page = await entered('/live', 'bea');
      const other = /Aster|North/;
      const screens = [
        ['/live', 'Birch 2'],
        ['/fleet', 'Birch 1'],
        ['/history?q=marble', 'Birch 2'],
        ['/signatures', null],
        ['/together', null],
        ['/operators', 'operator'],
        ['/venues', null],
        ['/settings', null],
        ['/audit', null],
        [`/deployments/${runs.north.id}`, 'This deployment is not on this collector'],
        [`/compare/${runs.north.id}?with=${runs.south.id}`, null],
        [`/together?run=${runs.north.id}&run=${runs.south.id}`, null],
        [`/deployments/${runs.south.id}`, 'unpacked marble'],
      ];
      for (const [path, own] of screens) {
        await page.goto(`${on.url}/#${path}`);
        await page.waitForSelector('main h1, main [role=alert], main [role=status]');
        if (own !== null) await page.waitForSelector(`main >> text=${own} >> nth=0`);
        await page.waitForLoadState('networkidle').catch(() => undefined);
        assert.doesNotMatch(await page.textContent('body'), other, path);
        assert.equal(await page.$(VENUE), null, `${path}: there is nothing to choose`);
      }
      await page.keyboard.press('Control+k');
      await page.keyboard.type('aster');
      await until('what was typed is looked for', async () => {
        const found = await names(page, '.palette-item');
        return found.length < 3 && !found.some((one) => other.test(one));
      });
      await page.keyboard.press('Escape');
      // what she adds comes into her venue
      await page.goto(`${on.url}/#/fleet`);
      await page.waitForSelector(CONSOLE);
      await page.evaluate(() => document.activeElement?.blur());
      await page.keyboard.press('a');
      await page.waitForSelector('[data-testid=code-choices] option:checked', { state: 'attached' });
      await page.keyboard.press('Enter');
      await on.enrol('Birch 3', await page.textContent(CODE));
      assert.equal((await on.consoles()).get('Birch 3').venue, 'South');
      await page.context().close();
    });

    await check('what a role allows changes with the venue', async () => {
      const page = await entered('/fleet', 'cy', { colorScheme: 'light' });
      await page.waitForSelector(CONSOLE);
      await page.waitForSelector('text=There is more that you may do in South: switch there.');
      assert.equal(await page.$('main >> text=Add consoles'), null);
      await look(page, 'venues-viewer-light');
      await page.keyboard.press('v');
      await page.waitForSelector(`${ITEM}:has-text("admin")`);
      await look(page, 'venues-switcher-light');
      await page.keyboard.press('Escape');
      await choose(page, 'South');
      await page.waitForSelector('main >> text=Add consoles');
      await page.click('nav >> text=Your account');
      await page.waitForSelector('[data-testid=not-yours]:has-text("You are admin in South")');
      assert.equal(await page.$('[data-testid=operator-row]'), null);
      await look(page, 'venues-admin-of-one');
      await page.context().close();
    });

    await check('who has roles in some venues chooses among them, and is told when one is gone', async () => {
      const page = await entered('/live', 'dan', { viewport: PHONE });
      await page.waitForSelector(VENUE);
      await page.click(VENUE);
      await page.waitForSelector(ITEM);
      assert.equal((await page.$$('[role=menuitemradio]')).length, 2, 'not all of them at once');
      await look(page, 'venues-phone');
      await page.click(`${ITEM}:has-text("South")`);
      await page.waitForSelector(`${ROW}:has-text("Birch 2")`);
      await assertNotWide(page, 'Live of a venue');
      await page.waitForSelector(`${VENUE}:has-text("1 needs you in other venues")`);
      const dan = (await on.get('/operators')).operators.find((one) => one.login === 'dan');
      const { id, login, name } = dan;
      await on.ask('PUT', `/operators/${id}`, { login, name, venues: { [ids.get('North')]: 'operator' } });
      await page.reload();
      await page.waitForSelector('text=The venue that you looked at last is not there for you any more');
      await page.waitForSelector(`${ROW}:has-text("Aster 2")`);
      assert.equal(await page.$(VENUE), null);
      await page.context().close();
    });

    await check('whoever runs the collector keeps organisations apart, and looks into each', async () => {
      const page = await open('/venues', { on, viewport: DESK });
      await page.waitForSelector('[data-testid=organisations]');
      await page.click('text=Add an organisation');
      await page.waitForSelector('[data-testid=name-form] input:focus');
      await page.keyboard.type('Elsewhere Ltd');
      await page.keyboard.press('Enter');
      await page.waitForSelector('[data-testid=organisation-row]:has-text("Elsewhere Ltd")');
      await look(page, 'venues-organisations');
      await page.click('[aria-label="Switch into it: Elsewhere Ltd"]');
      await page.waitForSelector(`${VENUE}:has-text("Elsewhere Ltd")`);
      await page.waitForSelector('[data-testid=venue-row]:has-text("Elsewhere Ltd")');
      assert.equal(await page.$('[data-testid=venue-row]:has-text("North")'), null);
      await page.goto(`${on.url}/#/fleet`);
      await page.waitForSelector('[data-testid=fleet-empty]');
      await look(page, 'venues-other-organisation');
      await page.goto(`${on.url}/#/venues`);
      await page.click('[data-testid=organisation-row] button');
      await page.waitForSelector('[data-testid=venue-row]:has-text("North")');
      await page.context().close();
      const ada = await entered('/venues', 'ada');
      await ada.waitForSelector('[data-testid=venue-row]:has-text("South")');
      assert.equal(await ada.$('[data-testid=organisations]'), null, 'an operator has one');
      await ada.context().close();
    });

    await check('all of it on a phone', async () => {
      for (const [name, path, ready] of [
        ['live', '/live', ROW],
        ['fleet', '/fleet', CONSOLE],
        ['operators', '/operators', '[data-testid=operator-row]'],
        ['screen', '/venues', '[data-testid=venue-row]'],
      ]) {
        const page = await open(path, { on, viewport: PHONE, colorScheme: 'light' });
        await page.waitForSelector(ready);
        await page.waitForSelector(VENUE);
        await look(page, `venues-${name}-phone`);
        await assertNotWide(page, `${name} with venues`);
        await page.context().close();
      }
    });
  }
}
