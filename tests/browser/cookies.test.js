// What lies in a browser's cookie jar: through restarts it holds, and damaged it is nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { directory } from '../clients/support/program.js';
import { makeKey, startApplication } from './support/application.js';
import { ask, signIn, startPerson, startPersonOnDisk, work } from './support/browser.js';

/** `v1.HANDLE.STATE…`: the handle says whose session it is, the state is what a restart needs. */
const changed = {
  'a character of the handle changed': (value) => value.replace(/^(v1\..{20})(.)/, (_, before, one) => before + (one === 'A' ? 'B' : 'A')),
  'cut off within the handle': (value) => value.slice(0, 40),
  'another version': (value) => value.replace(/^v1/, 'v9'),
  'something else': () => 'hello',
  'nothing': () => '',
};
const state = {
  'a character of the state changed': (value) => value.slice(0, -40) + (value.at(-40) === 'A' ? 'B' : 'A') + value.slice(-39),
  'its end cut off': (value) => value.slice(0, -7),
  'very much': (value) => value + 'A'.repeat(4_000 - value.length),
};

test('a cookie that is damaged is no session: cleared, and a page signs in again', async (t) => {
  const application = await startApplication(t, { session: { parameters: {} } });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  for (const [how, change] of Object.entries({ ...changed, ...state })) {
    const [good] = await ada.cookies(application.url);
    assert.ok(good, how);
    await ada.context.addCookies([{ ...good, value: change(good.value) }]);
    // this process knows the session by its handle, and has no need of the state
    if (how in state) await application.restart();
    const answer = await ask(page, '/imodels/first');
    assert.equal(answer.status, 401, how);
    assert.equal(answer.body.error.code, 'SignInRequired', how);
    assert.deepEqual((await ada.cookies(application.url)).map(({ value }) => value), [], `${how}: cleared`);
    // the provider still knows her
    await page.goto(`${application.url}/app/models?how=${encodeURIComponent(how)}`);
    assert.equal(new URL(page.url()).searchParams.get('how'), how);
    assert.equal((await ask(page, '/imodels/first')).status, 200, how);
  }
});

test('upstreams have cookies of their own, and nothing to do with ours', async (t) => {
  const application = await startApplication(t, { routes: ({ front }) => [{ path: '/public/**', upstream: front }] });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  const before = await ada.cookies(application.url);
  for (const path of ['/app/cookies', '/public/cookies']) {
    for (const wanted of ['', 'theme=dark']) {
      if (!wanted) await ada.context.clearCookies({ name: 'theme' });
      const { body } = await ask(page, path);
      assert.equal(body.cookie, wanted, `what ${path} gets`);
      assert.deepEqual(await ada.cookies(application.url), before, `what ${path} sets`);
    }
  }
});

test('the session of another application is none of ours', async (t) => {
  const [one, other] = [await startApplication(t), await startApplication(t)];
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, one);
  const cookies = await ada.cookies(one.url);
  // ports share cookies: this browser shows the first one's to the second
  const tab = await ada.tab();
  await tab.goto(`${other.url}/app/`);
  assert.ok(tab.url().startsWith(other.provider.issuer), 'not signed in there');
  assert.ok(cookies.length > 0);
});

for (const store of ['cookie', 'directory']) {
  test(`the session outlives a restart of the proxy: kept in ${store === 'cookie' ? 'the cookie' : 'a directory'}`, async (t) => {
    const application = await startApplication(t, {
      session: { store, ...(store === 'directory' && { directory: directory(t) }) },
    });
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    const cookies = await ada.cookies(application.url);
    if (store === 'directory') assert.ok(cookies.length === 1 && cookies[0].value.length < 300, 'the cookie is a handle');
    await application.restart();
    const answers = await page.evaluate(() => Promise.all(['a', 'b', 'c', 'd'].map(async (name) => (await fetch(`/imodels/${name}`)).status)));
    assert.deepEqual(answers, [200, 200, 200, 200]);
    assert.equal(application.provider.tokens('authorization_code').length, 1);
  });
}

test('the session outlives a restart of the proxy after its refresh token was rotated', async (t) => {
  const application = await startApplication(t, { lifetime: 2 });
  const { provider } = application;
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await work(page, 3_000);
  assert.ok(provider.tokens('refresh_token').length >= 1);
  await application.restart();
  await work(page, 3_000);
  const answer = await ask(page, '/imodels/second');
  assert.equal(answer.status, 200);
  assert.ok(provider.tokens('refresh_token').every(({ result }) => result === 'success'));
});

test('the session outlives a change of the key, as long as the one before is told', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  const keys = application.config.sessions.web;
  const [first, second, third] = [keys.key_file, makeKey(t), makeKey(t)];
  for (const [key_file, key_previous_file, status] of [[second, first, 200], [third, second, 200], [first, undefined, 401]]) {
    Object.assign(keys, { key_file, key_previous_file });
    await application.restart();
    assert.equal((await ask(page, '/imodels/first')).status, status);
  }
});

test('kept in memory, the session ends with the proxy, and the page says so by signing in', async (t) => {
  const application = await startApplication(t, { session: { store: 'memory', parameters: {} } });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await application.restart();
  assert.equal((await ask(page, '/imodels/first')).status, 401);
  await page.goto(`${application.url}/app/`);
  assert.equal((await ask(page, '/imodels/first')).status, 200);
});

test('the session outlives a restart of the browser', async (t) => {
  const application = await startApplication(t);
  const profile = directory(t);
  const ada = await startPersonOnDisk(t, profile);
  await signIn(await ada.tab(), application);
  await ada.context.close();

  const back = await startPersonOnDisk(t, profile);
  const page = await back.tab();
  await page.goto(`${application.url}/app/`);
  assert.equal(page.url(), `${application.url}/app/`);
  assert.equal((await ask(page, '/imodels/first')).body.who, 'ada');
});
