// A real browser, and people who use it: sign in at the provider's pages, open tabs, work in them.
import { after } from 'node:test';
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { chromium } from 'playwright-core';

import { PREFIX } from './application.js';

const FOUND = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
export const LAUNCH = {
  executablePath: process.env.CHROMIUM ?? FOUND,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
    // nothing but this machine; a name for an application that is at https
    '--host-resolver-rules=MAP app.example.com 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
  ],
};
/** How long anything on a page may take. */
const PATIENCE = 10_000;

let browser;
after(async () => (await browser)?.close());

/** One person's browser: cookies of its own, gone with the test. `options` are Playwright's of a context. */
export async function startPerson(t, options = {}) {
  browser ??= chromium.launch(LAUNCH);
  const context = await (await browser).newContext({ ignoreHTTPSErrors: true, ...options });
  t.after(() => context.close());
  return person(context);
}

/** The same, with a profile on disk that outlives the browser. */
export async function startPersonOnDisk(t, profile, options = {}) {
  return launch(t, profile, options);
}

/** The same, with frames that have the cookies of their own sites, as browsers once had for everybody. */
export async function startTrustingPerson(t, profile) {
  mkdirSync(path.join(profile, 'Default'));
  writeFileSync(path.join(profile, 'Default/Preferences'), JSON.stringify({ profile: { cookie_controls_mode: 0 } }));
  return launch(t, profile, { ignoreHTTPSErrors: true });
}

async function launch(t, profile, options) {
  const context = await chromium.launchPersistentContext(profile, { ...LAUNCH, ...options });
  t.after(() => context.close());
  return person(context);
}

function person(context) {
  context.setDefaultTimeout(PATIENCE);
  const seen = [];
  context.on('response', (response) => {
    const request = response.request();
    seen.push({
      method: request.method(),
      url: request.url(),
      status: response.status(),
      navigation: request.isNavigationRequest(),
      headers: response.allHeaders().catch(() => ({})),
      sent: request.allHeaders().catch(() => ({})),
      posted: request.postData() ?? '',
      body: response.body().then((body) => body.toString(), () => ''),
    });
  });
  return {
    context,
    /** Every answer that came, redirects too. */
    seen,
    tab: () => context.newPage(),
    /** What a script of the application would get from this address, asked from no page. */
    async ask(url, { method = 'GET', site = 'same-origin' } = {}) {
      const answer = await context.request.fetch(url, {
        method,
        headers: { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty', 'sec-fetch-site': site },
        maxRedirects: 0,
      });
      return { status: answer.status(), body: await answer.json() };
    },
    /** The cookies that the proxy set for this origin. */
    async cookies(url) {
      return (await context.cookies(url)).filter(({ name }) => name.startsWith('__Host-itwin-auth'));
    },
    /** All that a script, an extension or somebody who looks over the shoulder could find, as one text. */
    async everything() {
      const found = [];
      for (const page of context.pages()) {
        found.push(page.url(), await page.content());
        found.push(await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])));
      }
      found.push(JSON.stringify(await context.storageState()));
      for (const answer of seen) {
        const late = setTimeout(() => { throw new Error(`${answer.url} did not end`); }, PATIENCE);
        const [headers, sent, body] = await Promise.all([answer.headers, answer.sent, answer.body]);
        clearTimeout(late);
        found.push(answer.url, JSON.stringify(headers), JSON.stringify(sent), answer.posted, body);
      }
      return found.join('\n');
    },
  };
}

/** Types a name at the provider's page and gives consent, until the browser is back. */
export async function signIn(page, application, { name = 'ada', to = '/app/' } = {}) {
  await page.goto(`${application.url}${to}`);
  await atProvider(page, application, name);
  await page.waitForURL(`${application.url}/**`);
}

/** What the provider asks, as often as it asks: a name and password, then consent. */
export async function atProvider(page, application, name = 'ada') {
  assert.ok(page.url().startsWith(application.provider.issuer), `not at the provider: ${page.url()}`);
  if (await page.locator('input[name=login]').count()) await enter(page, name);
  if (page.url().startsWith(application.provider.issuer)) await consent(page);
}

/** The provider's first page. */
export async function enter(page, name = 'ada') {
  await page.fill('input[name=login]', name);
  await page.fill('input[name=password]', 'a password');
  // by the key: a click waits for a viewport that shows the button, which a busy machine may be slow to give
  await page.locator('button[type=submit]').press('Enter');
}

/** The provider's second page. */
export async function consent(page) {
  await page.getByRole('button', { name: 'Continue' }).press('Enter');
}

/** What a page's script gets from `path`: `{ status, body, redirected }`. */
export function ask(page, path, options = {}) {
  return page.evaluate(async ([path, options]) => {
    const answer = await fetch(path, options);
    const text = await answer.text();
    let body = text;
    try {
      body = JSON.parse(text);
    } catch {
      // not JSON
    }
    return { status: answer.status, type: answer.headers.get('content-type'), redirected: answer.redirected, url: answer.url, body };
  }, [path, options]);
}

/** A page's script calls the API for so many milliseconds; how often each status came. */
export function work(page, milliseconds, path = '/imodels/first') {
  return page.evaluate(async ([milliseconds, path]) => {
    const statuses = {};
    const end = Date.now() + milliseconds;
    while (Date.now() < end) {
      const answers = await Promise.all([path, path, path].map((path) => fetch(path)));
      for (const answer of answers) {
        await answer.text();
        statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return statuses;
  }, [milliseconds, path]);
}

/** Who is signed in, as the proxy tells front ends. */
export const session = (page) => ask(page, `${PREFIX}/session`);
