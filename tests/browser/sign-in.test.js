// People sign in at the provider's own pages, and work without a token in their browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { PREFIX, startApplication } from './support/application.js';
import { ask, atProvider, consent, enter, session, signIn, startPerson, work } from './support/browser.js';

test('signing in ends on the page that was asked for, and adds two redirects of ours', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application, { to: '/app/models?sort=name&q=a%2Fb+c' });

  assert.equal(page.url(), `${application.url}/app/models?sort=name&q=a%2Fb+c`);
  const ours = ada.seen.filter(({ url, navigation }) => navigation && url.startsWith(application.url));
  assert.deepEqual(ours.map(({ status }) => Math.floor(status / 100)), [3, 3, 2], 'to the provider, back, and the page');
  await page.locator('#answer', { hasText: 'ada' }).waitFor();
  assert.equal(application.provider.tokens('authorization_code').length, 1);
});

test('a request for authorization has PKCE, state and nonce, and differs each time', async (t) => {
  const application = await startApplication(t);
  const asked = [];
  for (let n = 0; n < 2; n += 1) {
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    asked.push(application.provider.requests.filter(({ endpoint }) => endpoint === 'authorization').at(-1).parameters);
  }
  for (const parameters of asked) {
    assert.equal(parameters.response_type, 'code');
    assert.equal(parameters.code_challenge_method, 'S256');
    for (const secret of ['code_challenge', 'state', 'nonce']) assert.match(parameters[secret], /^[\w-]{22,}$/, secret);
  }
  for (const secret of ['code_challenge', 'state', 'nonce']) assert.notEqual(asked[0][secret], asked[1][secret], secret);
});

test('where the provider takes pushed requests, the browser carries only a reference', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  assert.equal(application.provider.requests.filter(({ endpoint }) => endpoint === 'pushed').length, 1);
  const there = ada.seen.find(({ url }) => url.startsWith(`${application.provider.issuer}/auth?`));
  assert.deepEqual([...new URL(there.url).searchParams.keys()].sort(), ['client_id', 'request_uri']);
});

test('no token is anywhere in the browser, nor in what it received', async (t) => {
  const application = await startApplication(t, { lifetime: 3, routes: ({ front }) => [{ path: '/app/back', admit: { session: 'web' }, upstream: front }] });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await page.locator('#answer', { hasText: 'ada' }).waitFor();
  // through a renewal
  await work(page, 4_000);
  assert.ok(application.provider.tokens('refresh_token').length >= 1);
  await session(page);
  const { body } = await ask(page, '/app/back');
  assert.equal(body.headers.authorization, undefined, 'a route without `inject` gets no token');
  assert.ok(!/__Host-itwin-auth/.test(body.headers.cookie ?? ''), 'no upstream gets the session');
  for (const call of application.api.calls) assert.ok(!/__Host-itwin-auth/.test(call.headers.cookie ?? ''));

  const everything = await ada.everything();
  const kinds = new Set();
  for (const { kind, token } of application.provider.issued) {
    kinds.add(kind);
    assert.ok(!everything.includes(token), `${kind} reached the browser`);
    const [, payload] = token.split('.');
    if (payload) assert.ok(!everything.includes(payload), `the claims of ${kind} reached the browser`);
  }
  assert.deepEqual([...kinds].sort(), ['access_token', 'id_token', 'refresh_token']);
  for (const cookie of await ada.cookies(application.url)) {
    assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === 'Lax' && cookie.path === '/', JSON.stringify(cookie));
    assert.ok(cookie.name.length + cookie.value.length <= 4_096, cookie.name);
  }
  assert.ok((await ada.cookies(application.url)).length <= 2);
});

test('a front end learns who is signed in and until when', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  const { status, body } = await session(page);
  assert.equal(status, 200);
  const text = JSON.stringify(body);
  for (const fact of ['ada', 'ada Example', 'ada@example.com']) assert.ok(text.includes(`"${fact}"`), text);
});

test('whoever denies consent gets a page with a way on, and no session', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(`${application.url}/app/models`);
  await enter(page);
  await page.getByRole('link', { name: 'Cancel' }).click();
  await page.waitForURL(`${application.url}/**`);

  assert.ok(ada.seen.at(-1).status >= 400);
  assert.deepEqual(await ada.cookies(application.url), []);
  const again = page.getByRole('link').or(page.getByRole('button')).first();
  await again.click();
  await page.waitForURL(`${application.provider.issuer}/**`);
  await atProvider(page, application);
  await page.waitForURL(`${application.url}/app/models`);
});

test('nobody is signed in by what is not a navigation: a script gets 401 in JSON, and no redirect', async (t) => {
  const application = await startApplication(t, { routes: ({ front }) => [{ path: '/public/**', upstream: front }] });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(`${application.url}/public/`);
  for (const path of ['/imodels/first', '/app/data']) {
    const answer = await ask(page, path);
    assert.equal(answer.status, 401, path);
    assert.equal(answer.body.error.code, 'SignInRequired');
    assert.ok(!answer.redirected);
  }
  assert.equal((await ask(page, '/imodels/first', { headers: { accept: 'text/html' } })).status, 401);
  assert.equal(application.provider.requests.length, 0);
  assert.equal(application.api.calls.length, 0);
});

test('a page of ours, not the provider, is shown in a frame', async (t) => {
  const application = await startApplication(t, { routes: ({ front }) => [{ path: '/public/**', upstream: front }] });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(`${application.url}/public/`);
  await page.evaluate(() => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.onload = resolve;
    frame.src = '/app/framed';
    document.body.append(frame);
  }));
  assert.equal(application.provider.requests.length, 0);
  const framed = ada.seen.find(({ url }) => url.endsWith('/app/framed'));
  assert.equal(framed.status, 401);
  assert.match((await framed.headers)['content-type'], /^text\/html/);
});

test('login takes hints for the provider, and refuses a place to go to that is not ours', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(`${application.url}${PREFIX}/login?login_hint=grace&return_to=${encodeURIComponent('/app/there?x=1')}`);
  assert.equal(await page.inputValue('input[name=login]'), 'grace');
  await page.fill('input[name=password]', 'a password');
  await page.click('button[type=submit]');
  await consent(page);
  await page.waitForURL(`${application.url}/app/there?x=1`);

  for (const elsewhere of ['https://evil.example/', '//evil.example/', '/\\evil.example/', 'javascript:alert(1)', '/%09/evil.example']) {
    await page.goto(`${application.url}${PREFIX}/login?return_to=${encodeURIComponent(elsewhere)}`);
    if (page.url().startsWith(application.provider.issuer)) await atProvider(page, application);
    await page.waitForLoadState();
    assert.ok(page.url().startsWith(`${application.url}/`), `${elsewhere} led to ${page.url()}`);
  }
});

test('another person signs in where the account is changed, and the session before is gone', async (t) => {
  const application = await startApplication(t, { session: { parameters: { prompt: 'login consent' } } });
  const shared = await startPerson(t);
  const page = await shared.tab();
  await signIn(page, application, { name: 'ada' });
  const before = await shared.cookies(application.url);
  await page.goto(`${application.url}${PREFIX}/login?return_to=/app/`);
  await enter(page, 'grace');
  await consent(page);
  await page.waitForURL(`${application.url}/app/`);
  await page.locator('#answer', { hasText: 'grace' }).waitFor();

  const other = await startPerson(t);
  await other.context.addCookies(before);
  const replayed = await other.ask(`${application.url}/imodels/first`);
  assert.equal(replayed.status, 401, 'the session before has ended');
});
