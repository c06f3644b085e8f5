// Sessions end: here, at the provider, by the provider's word; and people come back.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { until } from '../clients/support/program.js';
import { PREFIX, startApplication } from './support/application.js';
import { ask, atProvider, session, signIn, startPerson } from './support/browser.js';

/** Presses the front end's button, and the provider's. */
async function signOut(page, application) {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Yes, sign me out' }).click();
  await page.waitForURL(`${application.url}/**`);
}

/** An event stream and a WebSocket, open; `ended` is which of them have ended. */
async function openStreams(page) {
  await page.evaluate(async () => {
    window.ended = [];
    const events = new EventSource('/imodels/events');
    events.onerror = () => {
      events.close();
      window.ended.push('events');
    };
    await new Promise((resolve) => { events.onmessage = resolve; });
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/imodels/socket`);
    socket.onclose = () => window.ended.push('socket');
    await new Promise((resolve) => { socket.onopen = resolve; });
    socket.send('hello');
    await new Promise((resolve) => { socket.onmessage = resolve; });
  });
}
const streamsClosed = (page) => page.waitForFunction(() => window.ended.length === 2);

/** The provider's own sign-out page, asked by nobody but the person. */
async function signOutAtProvider(person, application) {
  const page = await person.tab();
  await page.goto(`${application.provider.issuer}/session/end`);
  await page.getByRole('button', { name: 'Yes, sign me out' }).click();
  await page.waitForURL('**/session/end/success**');
  await page.close();
}

test('signing out ends the session here and at the provider, and a copied cookie is worth nothing', async (t) => {
  const application = await startApplication(t);
  const { provider } = application;
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  const copied = await ada.cookies(application.url);
  assert.ok(copied.length > 0);
  await signOut(page, application);

  assert.equal(page.url().split('?')[0], `${application.url}${PREFIX}/signed-out`);
  assert.ok(provider.requests.some(({ endpoint }) => endpoint === 'end_session'));
  assert.ok(provider.requests.some(({ endpoint }) => endpoint === 'revocation'), 'the refresh token was given back');
  assert.deepEqual(await ada.cookies(application.url), []);
  assert.equal((await ada.ask(`${application.url}/imodels/first`)).status, 401);

  const thief = await startPerson(t);
  await thief.context.addCookies(copied);
  assert.equal((await thief.ask(`${application.url}/imodels/first`)).status, 401);
});

test('after signing out nothing but the person signs in again', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await signOut(page, application);
  await page.reload();
  assert.ok(page.url().startsWith(`${application.url}${PREFIX}/signed-out`), page.url());

  await page.getByRole('link').or(page.getByRole('button')).first().click();
  await page.waitForURL(`${application.provider.issuer}/**`);
  await atProvider(page, application, 'grace');
  await page.waitForURL(`${application.url}/**`);
  assert.equal((await ask(page, '/imodels/first')).body.who, 'grace');
});

test('streams end with their session', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await openStreams(page);
  const other = await ada.tab();
  await other.goto(`${application.url}/app/`);
  await signOut(other, application);
  await streamsClosed(page);
  await until(() => application.api.open.size === 0);
});

test('signing out at the provider ends the session here: by its back channel, in every tab', async (t) => {
  const application = await startApplication(t);
  const { provider } = application;
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await openStreams(page);
  await signOutAtProvider(ada, application);
  assert.deepEqual(provider.told, [{ client: 'webapp-a', taken: true }]);

  await streamsClosed(page);
  const answer = await ask(page, '/imodels/first');
  assert.equal(answer.status, 401);
  assert.equal(answer.body.error.code, 'SignInRequired');
  assert.deepEqual(await ada.cookies(application.url), [], 'the answer cleared the cookie');

  await page.goto(`${application.url}/app/back-again`);
  await atProvider(page, application);
  await page.waitForURL(`${application.url}/app/back-again`);
  assert.equal((await ask(page, '/imodels/first')).status, 200);
});

test('the back channel ends the sessions that it names, and nobody else\'s', async (t) => {
  const application = await startApplication(t);
  const [ada, grace] = [await startPerson(t), await startPerson(t)];
  const [hers, also] = [await ada.tab(), await grace.tab()];
  await signIn(hers, application, { name: 'ada' });
  await signIn(also, application, { name: 'grace' });
  await signOutAtProvider(ada, application);
  assert.equal((await ask(hers, '/imodels/first')).status, 401);
  assert.equal((await ask(also, '/imodels/first')).body.who, 'grace');
});

test('a proxy that has just been started takes the back channel\'s word for sessions it has not yet seen', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await application.restart();
  await signOutAtProvider(ada, application);
  assert.deepEqual(application.provider.told, [{ client: 'webapp-a', taken: true }]);
  assert.equal((await ask(page, '/imodels/first')).status, 401);
});

test('a proxy that has just been started signs people out at the provider, too', async (t) => {
  const application = await startApplication(t);
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await application.restart();
  await signOut(page, application);
  assert.ok(application.provider.requests.some(({ endpoint }) => endpoint === 'end_session'));
});

test('a frame in a page of the provider\'s ends the session that it names', async (t) => {
  const application = await startApplication(t);
  const { provider } = application;
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  const { token } = provider.issued.find(({ kind }) => kind === 'id_token');
  const { sid } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  const other = await ada.tab();
  await other.goto(`${provider.issuer}/.well-known/openid-configuration`);
  for (const [named, status] of [['another', 200], [sid, 401]]) {
    await other.evaluate((url) => new Promise((resolve) => {
      const frame = document.createElement('iframe');
      frame.onload = resolve;
      frame.src = url;
      document.body.append(frame);
    }), `${application.url}${PREFIX}/frontchannel-logout?${new URLSearchParams({ iss: provider.issuer, sid: named })}`);
    assert.equal((await ask(page, '/imodels/first')).status, status, named);
  }
});

test('streams that may finish do, and nothing new is begun', async (t) => {
  const application = await startApplication(t, { session: { streams: 'finish' } });
  const ada = await startPerson(t);
  const page = await ada.tab();
  await signIn(page, application);
  await openStreams(page);
  await signOutAtProvider(ada, application);
  assert.equal((await ask(page, '/imodels/first')).status, 401);
  const heard = await page.evaluate(() => new Promise((resolve) => {
    const events = new EventSource('/imodels/events');
    events.onerror = () => resolve(events.readyState);
  }));
  assert.equal(heard, 2, 'a new stream is refused for good');
  assert.deepEqual(await page.evaluate(() => window.ended), []);
  assert.equal(application.api.open.size, 2);
});

test('signing out ends where the operator says', async (t) => {
  const application = await startApplication(t, {
    session: { signed_out: '/goodbye' },
    client: { post_logout_redirect_uris: [] },
    routes: ({ front }) => [{ path: '/goodbye', upstream: front }],
  });
  const ada = await startPerson(t);
  const page = await ada.tab();
  application.provider.provider.Client.find('webapp-a').then((client) => {
    client.postLogoutRedirectUris = [`${application.url}/goodbye`, `${application.url}${PREFIX}/signed-out`];
  });
  await signIn(page, application);
  await signOut(page, application);
  assert.equal(page.url().split('?')[0], `${application.url}/goodbye`);
  assert.notEqual((await session(page)).body.signed_in, true);
});
