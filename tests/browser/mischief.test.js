// What other sites' pages, old tabs and curious people do with our addresses.
import assert from 'node:assert/strict';
import http from 'node:http';
import { test } from 'node:test';

import { PREFIX, startApplication } from './support/application.js';
import { ask, atProvider, consent, enter, signIn, startPerson } from './support/browser.js';
import { listen } from './support/server.js';

/** A page of somebody else: of another site by the name 127.0.0.1, of the same site by localhost. */
async function startStranger(t, name) {
  const server = await listen(t, http.createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end('<!doctype html><title>Win a prize</title><p>Click here');
  }));
  return `http://${name}:${server.address().port}`;
}

/** Sends a form from where the page is, as a click on a button would. */
function post(page, action, fields = {}) {
  return page.evaluate(([action, fields]) => {
    const form = document.createElement('form');
    Object.assign(form, { method: 'post', action });
    for (const [name, value] of Object.entries(fields)) {
      const input = document.createElement('input');
      Object.assign(input, { name, value, type: 'hidden' });
      form.append(input);
    }
    document.body.append(form);
    form.submit();
  }, [action, fields]);
}

/** Where the provider sends the browser back to, with what it is sent there; it does not arrive. */
async function lostCallback(page, application) {
  await page.goto(`${application.url}/app/lost`);
  const sent = page.waitForRequest(`${application.url}${PREFIX}/callback**`);
  await application.without(async () => {
    await atProvider(page, application).catch(() => {});
    await sent;
    await page.waitForURL('chrome-error://**');
    // or it would try again by itself
    await page.goto('about:blank');
  });
  return (await sent).url();
}

/** A page of ours that says what happened and leads on. */
async function leadsOn(page, person) {
  const { status, headers } = person.seen.at(-1);
  assert.ok(status >= 400, `${status} ${page.url()}`);
  assert.match((await headers)['content-type'], /^text\/html/);
  assert.ok(await page.getByRole('link').or(page.getByRole('button')).count(), await page.content());
}

test('a callback that nobody asked for is a page with a way on', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  for (const query of ['', '?code=abc', '?code=abc&state=def', '?error=access_denied&state=x', '?error=<script>alert(1)</script>&error_description=<b>bold</b>', `?state=${'a'.repeat(3_000)}`]) {
    await page.goto(`${application.url}${PREFIX}/callback${query}`);
    await leadsOn(page, ada);
    assert.equal(ada.seen.at(-1).status, 400, query);
    assert.ok(!(await page.content()).includes('<script>alert') && !(await page.content()).includes('<b>bold'), query);
    assert.deepEqual(await ada.cookies(application.url), []);
  }
  assert.equal(application.provider.tokens('authorization_code').length, 0, 'no code was sent to the provider');
});

test('a callback of somebody else\'s sign-in signs nobody in', async (t) => {
  const application = await startApplication(t);
  const [mallory, ada] = [await startPerson(t), await startPerson(t)];
  const stolen = await lostCallback(await mallory.tab(), application);
  const page = await ada.tab();
  await page.goto(stolen);
  await leadsOn(page, ada);
  assert.equal((await ada.ask(`${application.url}/imodels/first`)).status, 401);
  assert.equal(application.provider.tokens('authorization_code').length, 0);
});

test('back and reload after signing in are no error', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  let callback;
  page.on('request', (request) => {
    if (request.url().includes(`${PREFIX}/callback`)) callback = request.url();
  });
  await signIn(page, application, { to: '/app/models' });
  // the callback once more, as a browser that restores its tabs does
  const answer = await page.goto(callback);
  const ended = page.url().startsWith(`${application.url}/app`) || answer.status() < 500;
  assert.ok(ended, `${answer.status()} ${page.url()}`);
  assert.equal(application.provider.tokens('authorization_code').length, 1, 'the code was used once');
  await page.goto(`${application.url}/app/models`);
  assert.equal((await ask(page, '/imodels/first')).status, 200, 'the session is as it was');
});

test('two tabs sign in at once, and both end where they wanted to go', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const [one, two] = [await ada.tab(), await ada.tab()];
  await one.goto(`${application.url}/app/one`);
  await two.goto(`${application.url}/app/two`);
  await enter(one);
  await consent(one);
  await one.waitForURL(`${application.url}/app/one`);
  await atProvider(two, application);
  await two.waitForURL(`${application.url}/app/two`);
  assert.equal((await ask(one, '/imodels/first')).body.who, 'ada');
  assert.equal((await ask(two, '/imodels/first')).body.who, 'ada');
});

test('the state of one tab does not go with the code of another', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  const one = new URL(await lostCallback(page, application));
  const two = new URL(await lostCallback(page, application));
  one.searchParams.set('code', two.searchParams.get('code'));
  await page.goto(one.href);
  await leadsOn(page, ada);
  assert.ok(application.provider.tokens('authorization_code').every(({ result }) => result === 'error'));
  assert.equal((await ada.ask(`${application.url}/imodels/first`)).status, 401);
});

test('sign-ins that are begun and left do not fill the cookie jar', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  for (let n = 0; n < 12; n += 1) await page.goto(`${application.url}/app/${n}`);
  assert.ok((await ada.cookies(application.url)).length <= 5);
  await atProvider(page, application);
  await page.waitForURL(`${application.url}/app/11`);
});

for (const [whose, name] of [['another site', '127.0.0.1'], ['a neighbour on the same site', 'localhost']]) {
  test(`a page of ${whose} can change nothing`, async (t) => {
    const application = await startApplication(t);
    const stranger = await startStranger(t, name);
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    await page.locator('#answer', { hasText: 'ada' }).waitFor();
    const before = application.api.calls.length;

    const other = await ada.tab();
    await other.goto(stranger);
    await post(other, `${application.url}/imodels/first`, { name: 'changed' });
    await other.waitForURL(`${application.url}/**`);
    assert.ok([401, 403].includes(ada.seen.at(-1).status), `${ada.seen.at(-1).status}`);

    await other.goto(stranger);
    await post(other, `${application.url}${PREFIX}/logout`);
    await other.waitForURL((url) => !url.href.startsWith(stranger));
    await other.goto(stranger);
    for (const method of ['POST', 'DELETE', 'PUT']) {
      const failed = await other.evaluate(([url, method]) => fetch(url, { method, credentials: 'include', body: 'x' }).then(() => false, () => true), [`${application.url}/imodels/first`, method]);
      assert.ok(failed, method);
    }
    await other.evaluate((url) => fetch(url, { method: 'POST', credentials: 'include', mode: 'no-cors', body: 'x' }), `${application.url}/imodels/first`);
    assert.equal(application.api.calls.length, before, 'nothing reached the API');

    const readable = await other.evaluate((url) => fetch(url, { credentials: 'include' }).then(() => true, () => false), `${application.url}/imodels/first`);
    assert.ok(!readable, 'nothing can be read');
    const told = await other.evaluate((url) => fetch(url, { credentials: 'include' }).then(() => true, () => false), `${application.url}${PREFIX}/session`);
    assert.ok(!told, 'nor who is signed in');
    const opened = await other.evaluate((url) => new Promise((resolve) => {
      const socket = new WebSocket(url);
      socket.onopen = () => resolve(true);
      socket.onerror = () => resolve(false);
    }), `${application.url.replace('http', 'ws')}/imodels/socket`);
    assert.ok(!opened, 'no WebSocket');
    assert.equal(application.api.open.size, 0);

    assert.equal((await ask(page, '/imodels/first')).status, 200, 'the session is as it was');
  });
}

test('what is refused says why, in JSON for scripts', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  await signIn(await ada.tab(), application);
  for (const site of ['same-site', 'cross-site']) {
    const { status, body } = await ada.ask(`${application.url}/imodels/first`, { method: 'POST', site });
    assert.equal(status, 403);
    assert.equal(body.error.code, 'CrossSite');
  }
});

test('a link to sign out from another site asks first', async (t) => {
  const application = await startApplication(t);
  const stranger = await startStranger(t, '127.0.0.1');
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await page.goto(stranger);
  await page.evaluate((url) => { location.href = url; }, `${application.url}${PREFIX}/logout`);
  await page.waitForURL(`${application.url}${PREFIX}/logout`);
  assert.equal((await ada.ask(`${application.url}/imodels/first`)).status, 200, 'not yet');
  await page.getByRole('button').first().click();
  await page.waitForURL(`${application.provider.issuer}/**`);
  assert.equal((await ada.ask(`${application.url}/imodels/first`)).status, 401);
});

test('a link from another site leads a signed-in person in', async (t) => {
  const application = await startApplication(t);
  const stranger = await startStranger(t, '127.0.0.1');
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await page.goto(stranger);
  await page.evaluate((url) => { location.href = url; }, `${application.url}/app/linked`);
  await page.waitForURL(`${application.url}/app/linked`);
  await page.locator('#answer', { hasText: 'ada' }).waitFor();
});

test('the front ends that are named may use the routes, preflights and all', async (t) => {
  const friend = await startStranger(t, 'localhost');
  const application = await startApplication(t, { session: { origins: [friend] } });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(friend);
  const call = (path, options) => ask(page, `${application.url}${path}`, { credentials: 'include', ...options });

  const stranger = await call('/imodels/first', { method: 'PUT', headers: { 'x-custom': '1' }, body: 'x' });
  assert.equal(stranger.status, 401, 'the preflight was answered, the request challenged');
  assert.equal(stranger.body.error.code, 'SignInRequired');

  await signIn(page, application);
  await page.goto(friend);
  const changed = await call('/imodels/first', { method: 'PUT', headers: { 'x-custom': '1' }, body: 'x' });
  assert.equal(changed.status, 200);
  assert.equal(application.api.calls.at(-1).method, 'PUT');
  assert.ok(application.api.calls.every(({ method }) => method !== 'OPTIONS'));
  assert.equal((await call(`${PREFIX}/session`)).status, 200);
});

test('sign-ins from one address are limited, and people are told when to try again', async (t) => {
  const application = await startApplication(t, { session: { sign_ins_per_minute: 3 } });
  const ada = await startPerson(t);
  const page = await ada.tab();
  let answer;
  for (let n = 0; n < 4; n += 1) answer = await page.goto(`${application.url}/app/${n}`);
  assert.equal(answer.status(), 429);
  assert.ok(Number((await answer.allHeaders())['retry-after']) > 0);
  assert.match((await answer.allHeaders())['content-type'], /^text\/html/);
});

test('nobody sees who is signed in without being it', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  const mallory = await startPerson(t);
  const { body } = await mallory.ask(`${application.url}${PREFIX}/session`);
  assert.ok(!JSON.stringify(body).includes('ada'));
});
