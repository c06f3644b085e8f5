// Registrations that know only the implicit flow: tokens come by a form that the browser posts, and new
// ones by asking the provider once more.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { certificates } from '../clients/support/certificates.js';
import { directory, pause } from '../clients/support/program.js';
import { startApplication } from './support/application.js';
import { ask, atProvider, session, signIn, startPerson, startTrustingPerson, work } from './support/browser.js';

async function startOld(t, options = {}) {
  const { server } = certificates(t, 'DNS:app.example.com');
  return startApplication(t, {
    name: 'app.example.com',
    tls: { certificate: server.cert.file, key: server.key.file },
    client: { grant_types: ['implicit'], response_types: ['id_token token'] },
    credential: { flow: 'implicit', scopes: ['openid', 'profile', 'email', 'itwin-platform'] },
    ...options,
    session: { parameters: {}, ...options.session },
  });
}

/** Waits until three quarters of a token's life are over, when it is renewed. */
async function old(provider, lifetime) {
  const { at } = provider.issued.find(({ kind }) => kind === 'access_token');
  // as the proxy has it, it began when it arrived, which may be a moment later
  await pause(at + lifetime * 820 - Date.now());
}

/** Loads an address in a frame that nobody sees, to its end. */
function inFrame(page, address) {
  return page.evaluate((address) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.hidden = true;
    frame.onload = () => resolve(frame.remove());
    frame.src = address;
    document.body.append(frame);
  }), address);
}
const authorizations = ({ requests }) => requests.filter(({ endpoint }) => endpoint === 'authorization');

// they wait for tokens to get old
describe('the implicit flow', { concurrency: 3 }, () => {
  test('people sign in through a posted form, and no token is kept where scripts are', async (t) => {
    const application = await startOld(t);
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application, { to: '/app/models?sort=name' });
    assert.equal(page.url(), `${application.url}/app/models?sort=name`);
    assert.equal((await ask(page, '/imodels/first')).body.who, 'ada');
    const asked = application.provider.requests.find(({ endpoint }) => endpoint === 'authorization').parameters;
    assert.equal(asked.response_mode, 'form_post');
    assert.equal(asked.response_type.split(' ').sort().join(' '), 'id_token token');
    assert.ok(asked.nonce);

    const [kept, left] = [await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])), await page.content()];
    for (const { token } of application.provider.issued) assert.ok(!kept.includes(token) && !left.includes(token));
    for (const { url } of ada.seen) for (const { token } of application.provider.issued) assert.ok(!url.includes(token), url);
  });

  test('a token that gets old is renewed by asking the provider, and the person is not', async (t) => {
    const application = await startOld(t, { lifetime: 24 });
    const { provider } = application;
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application, { to: '/app/models?sort=name' });
    const before = await ada.cookies(application.url);
    await old(provider, 24);
    await page.goto(`${application.url}/app/models?sort=size`);
    assert.equal(page.url(), `${application.url}/app/models?sort=size`);
    assert.equal((await ask(page, '/imodels/first')).status, 200);
    assert.equal(authorizations(provider).at(-1).parameters.prompt, 'none');

    // it is the same session as before, not one more
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL((url) => !url.pathname.startsWith('/app'));
    const thief = await startPerson(t);
    await thief.context.addCookies(before);
    const elsewhere = await thief.tab();
    await elsewhere.goto(`${application.url}/app/`);
    assert.ok(elsewhere.url().startsWith(provider.issuer), elsewhere.url());
  });

  test('a page that stays open renews in a hidden frame, and goes on working', async (t) => {
    const application = await startOld(t, { lifetime: 8, framed: true });
    const ada = await startTrustingPerson(t, directory(t));
    const page = await ada.tab();
    await signIn(page, application);
    const { body: told } = await session(page);
    assert.ok(told.renew, JSON.stringify(told));
    for (let n = 0; n < 3; n += 1) {
      await inFrame(page, told.renew);
      assert.deepEqual(Object.keys(await work(page, 3_000)), ['200'], `after ${n + 1} renewals`);
    }
    const asked = authorizations(application.provider).map(({ result, parameters }) => [result, parameters.prompt]);
    assert.deepEqual(asked.slice(1), Array(3).fill(['success', 'none']));
  });

  test('where the browser keeps the provider\'s cookies from frames, a renewal there changes nothing', async (t) => {
    const application = await startOld(t, { framed: true });
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    const { body: told } = await session(page);
    await inFrame(page, told.renew);
    const last = authorizations(application.provider).at(-1);
    assert.deepEqual([last.error, last.parameters.prompt], ['login_required', 'none']);
    assert.equal((await ask(page, '/imodels/first')).status, 200);
  });

  test('a provider that does not renew without the person is not asked again and again', async (t) => {
    const application = await startOld(t, { lifetime: 24 });
    const { provider } = application;
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    await ada.context.clearCookies({ domain: '127.0.0.1' });
    await old(provider, 24);
    for (const path of ['/app/one', '/app/two']) {
      await page.goto(`${application.url}${path}`);
      assert.equal(page.url(), `${application.url}${path}`, 'the token is good for a while yet');
    }
    assert.equal(authorizations(provider).filter(({ parameters }) => parameters.prompt === 'none').length, 1);
  });

  test('when the provider no longer knows the person, they sign in again', async (t) => {
    const application = await startOld(t, { lifetime: 3 });
    const { provider } = application;
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    await ada.context.clearCookies({ domain: '127.0.0.1' });
    await pause(4_500);
    await page.goto(`${application.url}/app/models?sort=size`);
    await page.waitForURL(`${provider.issuer}/**`);
    await atProvider(page, application);
    await page.waitForURL(`${application.url}/app/models?sort=size`);
    assert.equal((await ask(page, '/imodels/first')).status, 200);
  });

  test('the operator is told at start what to ask for', async (t) => {
    const application = await startOld(t);
    const warns = (line) => line.includes('"warn"') && line.includes('implicit');
    await application.proxy.line((line) => warns(line) || undefined);
    const warnings = application.proxy.lines.filter(warns);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0], /code/);
  });
});
