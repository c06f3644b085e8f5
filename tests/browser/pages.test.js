// Our own pages: readable by everybody, whatever they see with and however they move about.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { PREFIX, startApplication } from './support/application.js';
import { ask, atProvider, consent, enter, startPerson } from './support/browser.js';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
/** Where pictures of the pages are put, if anybody wants to look at them. */
const PICTURES = process.env.PAGE_PICTURES;

/** How a person comes to see each of them. */
const PAGES = {
  'sign-in needed': async (page, { url }) => {
    // a form that was open when the session ended
    await page.goto(`${url}/public/`);
    await page.evaluate(() => {
      const form = document.createElement('form');
      Object.assign(form, { method: 'post', action: '/app/save' });
      document.body.append(form);
      form.submit();
    });
    await page.waitForURL(`${url}/app/save`);
  },
  'signed out': (page, { url }) => page.goto(`${url}${PREFIX}/signed-out`),
  'a sign-in that nobody began': (page, { url }) => page.goto(`${url}${PREFIX}/callback?code=a&state=b`),
  'consent denied': async (page, application) => {
    await page.goto(`${application.url}/app/models`);
    await enter(page);
    await page.getByRole('link', { name: 'Cancel' }).click();
    await page.waitForURL(`${application.url}/**`);
  },
  'the provider is away': async (page, application) => {
    application.provider.away = true;
    await page.goto(`${application.url}/app/models`);
    application.provider.away = false;
  },
};
const LOOKS = {
  light: { colorScheme: 'light', viewport: { width: 1000, height: 700 } },
  dark: { colorScheme: 'dark', viewport: { width: 1000, height: 700 } },
  narrow: { colorScheme: 'light', viewport: { width: 360, height: 640 } },
  contrast: { colorScheme: 'dark', forcedColors: 'active', viewport: { width: 360, height: 640 } },
};
const options = { routes: ({ front }) => [{ path: '/public/**', upstream: front }] };

for (const [what, show] of Object.entries(PAGES)) {
  test(`readable by everybody, under a strict policy, in every look: ${what}`, async (t) => {
    const application = await startApplication(t, options);
    for (const [look, context] of Object.entries(LOOKS)) {
      // axe is a script, which the page's own policy would keep out
      const ada = await startPerson(t, { ...context, bypassCSP: true });
      const page = await ada.tab();
      await show(page, application);
      if (PICTURES) await page.screenshot({ path: path.join(PICTURES, `${what} ${look}.png`.replaceAll(' ', '-')) });

      const { headers, status } = ada.seen.filter(({ navigation }) => navigation).at(-1);
      const policy = (await headers)['content-security-policy'] ?? '';
      assert.match(policy, /default-src 'none'/);
      assert.match(policy, /frame-ancestors 'none'/);
      assert.ok(!/script-src|unsafe/.test(policy), policy);
      assert.match((await headers)['cache-control'] ?? '', /no-store/);
      assert.ok(status < 600 && (await page.locator('html').getAttribute('lang')));
      assert.equal(await page.locator('script').count(), 0);
      assert.equal(await page.locator('h1').count(), 1);

      await page.evaluate(AXE);
      // where the person's own colours are shown, those of the style sheet are not
      const rules = { 'color-contrast': { enabled: !context.forcedColors } };
      const { violations, passes } = await page.evaluate((rules) => window.axe.run({ rules }), rules);
      assert.ok(passes.length > 5);
      assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`), [], look);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${look}: ${wide} px too wide`);
    }
  });
}

test('a person without a mouse goes from the page on, sees where they are, and signs in', async (t) => {
  const application = await startApplication(t, options);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await PAGES['sign-in needed'](page, application);
  await page.keyboard.press('Tab');
  const focused = page.locator(':focus');
  assert.equal(await focused.count(), 1);
  const { outline, width } = await focused.evaluate((element) => {
    const style = getComputedStyle(element);
    return { outline: style.outlineStyle, width: parseFloat(style.outlineWidth) };
  });
  assert.ok(outline !== 'none' && width >= 1, `${outline} ${width}`);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${application.provider.issuer}/**`);
  for (const key of ['a', 'd', 'a', 'Tab', 'x', 'Enter']) await page.keyboard.press(key);
  await page.getByRole('button', { name: 'Continue' }).waitFor();
  await page.keyboard.press('Enter');
  await page.waitForURL(`${application.url}/**`);
  assert.equal((await ask(page, '/imodels/first')).body.who, 'ada');
});

test('all of it works without scripts', async (t) => {
  const application = await startApplication(t, options);
  const ada = await startPerson(t, { javaScriptEnabled: false });
  const page = await ada.tab();
  await page.goto(`${application.url}/app/models`);
  await atProvider(page, application);
  await page.waitForURL(`${application.url}/app/models`);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Yes, sign me out' }).click();
  await page.waitForURL(`${application.url}${PREFIX}/signed-out**`);
  await page.getByRole('link').or(page.getByRole('button')).first().click();
  await page.waitForURL(`${application.provider.issuer}/**`);
  await enter(page);
  await consent(page);
  await page.waitForURL(`${application.url}/**`);
});
