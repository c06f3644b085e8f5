// The status page: readable by everybody, under a strict policy, without scripts and live with one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { until } from '../clients/support/program.js';
import { startPerson } from './support/browser.js';
import { startWorld } from './support/world.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LOOKS = {
  light: { colorScheme: 'light', viewport: { width: 1000, height: 700 } },
  dark: { colorScheme: 'dark', viewport: { width: 1000, height: 700 } },
  narrow: { colorScheme: 'light', viewport: { width: 360, height: 640 } },
  contrast: { colorScheme: 'dark', forcedColors: 'active', viewport: { width: 360, height: 640 } },
};

test('readable by everybody, in every look, well and ill', async (t) => {
  const world = await startWorld(t);
  for (const ill of [false, true]) {
    world.provider.away = ill;
    for (const [look, context] of Object.entries(LOOKS)) {
      // axe is a script, which the page's own policy would keep out
      const page = await (await startPerson(t, { ...context, bypassCSP: true })).tab();
      await until(async () => {
        await page.goto(world.proxy.admin);
        return ((await page.locator('h1').innerText()) === 'All is well') === !ill;
      }, { deadline: 20_000 });
      await page.evaluate(AXE);
      const rules = { 'color-contrast': { enabled: !context.forcedColors } };
      const { violations } = await page.evaluate((rules) => window.axe.run({ rules }), rules);
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`), [], look);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${look}: ${wide} px too wide`);
    }
  }
});

test('it is live under its own policy, can be paused, and says when nobody answers', async (t) => {
  const world = await startWorld(t);
  const person = await startPerson(t);
  const page = await person.tab();
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(world.proxy.admin);
  assert.doesNotMatch((await person.seen[0].headers)['content-security-policy'], /unsafe/);
  world.provider.away = true;
  await page.getByRole('heading', { level: 1, name: /the provider does not answer/ }).waitFor({ timeout: 20_000 });
  assert.match(await page.title(), /^(Failing|Needs attention)/);
  assert.deepEqual(complaints, []);

  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  assert.equal(await page.locator(':focus').innerText(), 'Pause');
  await page.keyboard.press('Enter');
  assert.equal(await page.locator(':focus').innerText(), 'Go on');
  const asked = person.seen.length;
  await page.waitForTimeout(2500);
  assert.equal(person.seen.length, asked);
  await page.keyboard.press('Enter');
  await world.proxy.stop();
  await page.getByRole('alert').waitFor({ timeout: 15_000 });
});
