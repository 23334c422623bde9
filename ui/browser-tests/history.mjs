// History and what stands on it: search, find in the search language, comparison, failures, retention, side by side, import.
//
// Three consoles fail at the same line; one of them had succeeded before, and succeeds again.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Stage, until } from './collector.mjs';

const PROGRESS = '[data-testid=search-progress]';
const HIT = '[data-hit]';

/** Installs a driver, or fails at it, as apt would say it. */
function installer(mode) {
  const lines = [
    'echo "--- Check the console"',
    'for i in $(seq 1 40); do echo "checked part $i"; done',
    'sleep 0.4',
    'echo "--- Install drivers"',
    `echo "Secure Boot is ${mode === 'good' ? 'disabled' : 'enabled'}"`,
    'for i in $(seq 1 20); do echo "Setting up firmware-$i (2.4.$i) ..."; sleep 0.02; done',
  ];
  const end =
    mode === 'good'
      ? ['echo "module zebra signed"', 'echo "--- Install content"', 'echo "content is there"']
      : [
          'echo "dpkg: error processing archive zebra-driver-$RANDOM.deb (--unpack): cannot sign the module" >&2',
          'exit 100',
        ];
  return ['bash', '-c', [...lines, ...end].join('\n')];
}

/** The live socket, with the end of searches held back while the operator looks. */
function slowSearches() {
  const said = [];
  let held = [];
  let holding = true;
  return {
    said,
    /** What was held back arrives; from now on nothing is. */
    release() {
      holding = false;
      for (const send of held) send();
      held = [];
    },
    async prepare(page) {
      await page.routeWebSocket(/\/ws\/live/, (socket) => {
        const collector = socket.connectToServer();
        socket.onMessage((message) => {
          said.push(JSON.parse(String(message)));
          collector.send(message);
        });
        collector.onMessage((message) => {
          const ended = typeof message === 'string' && message.includes('"type":"ended"');
          if (ended && holding) held.push(() => socket.send(message));
          else socket.send(message);
        });
      });
    },
  };
}

export async function historyChecks({ stage, check, open, look, assertNotWide, viewer, DESK, PHONE }) {
  const { VIEWER, number, ready, rowShown } = viewer;
  const template = 'Driver update';
  const run = async (name, mode) => {
    const child = stage.agent(name, installer(mode), template);
    await new Promise((done) => child.once('exit', done));
  };
  await run('Bay 20', 'good');
  await Promise.all([run('Bay 21', 'bad'), run('Bay 22', 'bad')]);
  await run('Bay 20', 'bad');
  await run('Bay 20', 'good');
  const runs = await until('five runs are here', async () => {
    const all = (await stage.deployments()).filter((one) => one.template === template && one.outcome);
    return all.length === 5 && all;
  });
  const failed = runs.find((one) => one.name === 'Bay 20' && one.state === 'failed');
  /** When each row of a run was printed, from its start on. */
  const clockOf = async (id) => {
    const { summary } = await stage.get(`/deployments/${id}`);
    const { rows } = await stage.get(`/deployments/${id}/rows?from=0&count=${summary.rows}`);
    return rows.map((row) => row.at - summary.started_at);
  };
  const progress = (page) => page.textContent(PROGRESS);
  const state = (page, wanted) => page.waitForSelector(`${PROGRESS}[data-state=${wanted}]`);

  await check('History: results while the search goes on; Esc stops it; Enter opens the line', async () => {
    const live = slowSearches();
    const page = await open('/history', { prepare: live.prepare });
    await page.waitForSelector('[data-testid=history-landing]');
    await look(page, 'history-landing');
    await until('the field has the focus', () =>
      page.evaluate(() => document.activeElement?.getAttribute('type') === 'search'),
    );
    await page.keyboard.type('zebra-driver level:error');
    await state(page, 'searching');
    await page.waitForSelector(HIT);
    assert.equal(await page.locator(HIT).count(), 3, 'hits before the search has ended');
    await page.keyboard.press('Escape');
    await state(page, 'stopped');
    const asked = live.said.find((one) => one.topic === 'search');
    assert.equal(asked.query, 'zebra-driver level:error');
    await until('the collector is told to stop', () =>
      live.said.some((one) => one.type === 'unsubscribe' && one.id === asked.id),
    );
    assert.equal(await page.locator(HIT).count(), 3, 'what was found stays');
    live.release();
    await page.keyboard.press('Enter');
    await state(page, 'done');
    assert.match(await progress(page), /^\s*3 matches in 3 runs\s*searched \d+ blocks? · [\d,.km]+ lines/i);
    const counted = await page.getAttribute('[aria-label="Matches over time"]', 'aria-valuetext');
    assert.equal(counted, '3 matches');
    assert.ok((await page.locator('.plot .errors').count()) > 0, 'bars of errors');
    await look(page, 'history-found');

    await page.keyboard.press('ArrowDown');
    await page.waitForSelector('[data-testid=results]:not([data-current=""])');
    const [first] = (await stage.get('/search?q=zebra-driver%20level:error')).hits;
    await page.keyboard.press('Enter');
    await ready(page);
    await rowShown(page, first.row.row);
    await until('the line is current', async () => (await number(page, 'data-cursor')) === first.row.row);
    assert.ok(page.url().includes(first.deployment_id), page.url());
    await page.goBack();
    await page.waitForSelector(HIT);
    assert.equal(await page.locator(HIT).count(), 3);
    await page.context().close();
  });

  await check('History: a query that cannot be read is explained where it is wrong', async () => {
    const page = await open('/history');
    await page.fill('input[type=search]', 'zebra level:eror');
    await page.waitForSelector('#query-problem');
    assert.match(await page.textContent('#query-problem'), /eror/);
    assert.equal(await page.getAttribute('input[type=search]', 'aria-invalid'), 'true');
    await page.press('input[type=search]', 'Enter');
    await page.waitForSelector('[data-testid=misread]');
    await look(page, 'history-misread');
    await page.fill('input[type=search]', 'zebra level:error');
    await page.waitForSelector('#query-problem', { state: 'detached' });
    await state(page, 'done');
    await page.fill('input[type=search]', 'zebra-driver phase:okapi');
    await page.press('input[type=search]', 'Enter');
    await page.waitForSelector('[data-testid=nothing-found]');
    await page.click('text=Without phase:okapi');
    await page.waitForSelector(HIT);
    assert.equal(await page.inputValue('input[type=search]'), 'zebra-driver');
    await page.context().close();
  });

  await check('History on a phone: found, in one column, a tap opens the line', async () => {
    const page = await open(`/history?q=${encodeURIComponent('"cannot sign"')}`, {
      viewport: PHONE,
      colorScheme: 'light',
    });
    await state(page, 'done');
    assert.equal(await page.locator(HIT).count(), 3);
    await assertNotWide(page, 'history at phone');
    await look(page, 'history-phone');
    await page.tap(`${HIT} a`);
    await ready(page);
    assert.ok((await number(page, 'data-cursor')) > 0);
    await page.context().close();
  });

  await check('find in a log, in the search language', async () => {
    const page = await open(`/deployments/${failed.id}`);
    await ready(page);
    await page.click('[aria-label="Search language"]');
    const query = 'phase:drivers -firmware or "part 7"';
    const { rows } = await stage.get(
      `/deployments/${failed.id}/matches?lang=true&q=${encodeURIComponent(query)}`,
    );
    assert.ok(rows.length > 2 && rows.length < 30, `rows: ${rows}`);
    await page.keyboard.type(query);
    const found = page.locator('.find [role=status]');
    await until('all are counted', async () =>
      new RegExp(`(^| )${rows.length}$`).test((await found.textContent()).trim()),
    );
    await page.keyboard.press('Enter');
    await until('a match is current', async () => rows.includes(await number(page, 'data-cursor')));
    await look(page, 'find-language');
    await page.fill('.find input', 'level:eror');
    await page.waitForSelector('.find [role=alert]');
    assert.match(await page.textContent('.find [role=alert]'), /eror/);
    await page.context().close();
  });

  await check('a failed run beside the last good one', async () => {
    const page = await open(`/deployments/${failed.id}`);
    await ready(page);
    await page.click('[aria-label="Compare with the last good run"]');
    const first = await page.waitForSelector('[data-testid=first-difference]');
    const text = await first.textContent();
    assert.ok(text.includes('Secure Boot is disabled') && text.includes('Secure Boot is enabled'), text);
    assert.ok((await page.locator('[data-testid=hunk]').count()) > 1, 'every difference is there');
    await page.keyboard.press('n');
    await until('the first difference has the focus', () =>
      page.evaluate(() => document.activeElement?.id === 'difference-0'),
    );
    await look(page, 'comparison');
    await page.setViewportSize(PHONE);
    await assertNotWide(page, 'comparison at phone');
    await look(page, 'comparison-phone');
    await page.context().close();
  });

  await check('failures that say the same, and what helped', async () => {
    const page = await open('/signatures');
    const line = page.locator('[data-testid=signature]', { hasText: 'cannot sign the module' });
    await line.waitFor();
    const said = await line.textContent();
    assert.match(said, /^\s*3/);
    for (const name of ['Bay 20', 'Bay 21', 'Bay 22']) assert.ok(said.includes(name), said);
    await look(page, 'failures');
    await line.locator('a').focus();
    await page.keyboard.press('Enter');
    await page.waitForSelector('text=Bay 20 succeeded later');
    assert.ok((await page.textContent('article')).includes('Secure Boot is disabled'));
    await look(page, 'failure');
    await page.click('article li a >> nth=0');
    await ready(page);
    await rowShown(page, failed.failure.row);
    await until(
      'its line is current',
      async () => (await number(page, 'data-cursor')) === failed.failure.row,
    );
    await page.context().close();
  });

  await check('how long logs are kept is changed only after a look at what would go', async () => {
    const page = await open('/settings');
    await page.waitForSelector('[data-testid=retention] input');
    const [age, failedAge] = await page.locator('[data-testid=retention] input').all();
    await age.fill('90');
    await failedAge.fill('30');
    await page.waitForSelector('[data-testid=retention] :text("cannot be kept shorter")');
    await failedAge.fill('365');
    await page.click('text=See what would go');
    await page.waitForSelector('[data-testid=retention-preview]');
    assert.equal((await stage.get('/retention')).policy.max_age_days, null, 'a look changes nothing');
    await page.locator('[data-testid=retention]').scrollIntoViewIfNeeded();
    await look(page, 'retention');
    await page.click('[data-testid=retention-preview] button:has-text("Apply")');
    await page.waitForSelector('text=What is kept was changed');
    assert.deepEqual((await stage.get('/retention')).policy, {
      max_age_days: 90,
      max_bytes: null,
      failed_age_days: 365,
    });
    await page.context().close();
  });

  await check('two logs on one clock: one is moved, the other follows; and as one list', async () => {
    const [one, other] = runs.filter((each) => each.state === 'succeeded').map((each) => each.id);
    const page = await open(`/together?run=${one}&run=${other}&view=start`, {
      viewport: { ...DESK, height: 500 },
    });
    const sides = page.locator('[data-testid=side]');
    await sides.nth(1).locator('[data-row]').first().waitFor();
    const top = async (side) => Number(await sides.nth(side).getAttribute('data-top'));
    const [led, following] = await Promise.all([one, other].map(clockOf));
    assert.equal(led.length, following.length);
    /** The other's last row at the moment of the leader's `row`; the last rows cannot stand at the top. */
    const sameMoment = (row, end) =>
      Math.min(
        end,
        Math.max(
          0,
          following.findLastIndex((at) => at <= led[row]),
        ),
      );
    await sides.nth(0).locator('[data-log-rows]').focus();
    await page.keyboard.press('End');
    await until('one is at its end', async () => (await top(0)) > 41);
    const end = await top(0);
    await until('the other followed', async () => (await top(1)) === sameMoment(end, end));
    await page.keyboard.press('Home');
    await until('one is at its begin', async () => (await top(0)) === 0);
    await until('the other followed back', async () => (await top(1)) === sameMoment(0, end));
    await look(page, 'together');
    await page.click('text=One list');
    await page.waitForSelector('[data-testid=merged]:not([data-items="0"])');
    await look(page, 'together-merged');
    await page.context().close();
  });

  await check('a run goes out as one file and into another collector', async () => {
    const page = await open(`/deployments/${failed.id}`);
    await ready(page);
    await page.click('[aria-label="Copy and save"]');
    const [saved] = await Promise.all([page.waitForEvent('download'), page.click('text=Support bundle')]);
    const file = join(stage.dir, saved.suggestedFilename());
    assert.match(file, /\.deckport$/);
    await saved.saveAs(file);
    await page.context().close();

    const elsewhere = new Stage();
    try {
      await elsewhere.start();
      const there = await open('/history', { on: elsewhere });
      await there.click('[aria-label=More]');
      const [chooser] = await Promise.all([
        there.waitForEvent('filechooser'),
        there.click('text=Import a run…'),
      ]);
      await chooser.setFiles(file);
      await there.waitForSelector('text=The run was taken in');
      await there.click('[role=status] >> text=Open the log');
      await ready(there);
      assert.equal(await number(there, 'data-total-rows'), failed.rows);
      await rowShown(there, failed.failure.row);
      await there.goBack();
      await there.setInputFiles('input[type=file]', {
        name: 'torn.deckport',
        mimeType: 'application/octet-stream',
        buffer: Buffer.from('deckport-bundle 1\nnothing'),
      });
      await there.waitForSelector('text=The run could not be taken in');
      await there.context().close();
    } finally {
      await elsewhere.stop();
    }
  });
}
