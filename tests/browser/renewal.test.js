// Tokens end while people work: nobody notices, and one-time refresh tokens are used once.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { pause, until } from '../clients/support/program.js';
import { startApplication } from './support/application.js';
import { ask, atProvider, session, signIn, startPerson, work } from './support/browser.js';

// they wait for tokens to end
describe('renewal', { concurrency: 2 }, () => {
  test('five tabs work through several ends of a token, with one renewal each and no 401', async (t) => {
    const lifetime = 4;
    const application = await startApplication(t, { lifetime });
    const { provider, api } = application;
    const ada = await startPerson(t);
    const first = await ada.tab();
    const began = Date.now();
    await signIn(first, application);
    const tabs = [first];
    while (tabs.length < 5) {
      const tab = await ada.tab();
      await tab.goto(`${application.url}/app/`);
      tabs.push(tab);
    }
    const all = await Promise.all(tabs.map((tab) => work(tab, 11_000)));
    for (const statuses of all) assert.deepEqual(Object.keys(statuses), ['200'], JSON.stringify(all));

    const renewals = provider.tokens('refresh_token');
    assert.ok(renewals.every(({ result }) => result === 'success'), JSON.stringify(renewals));
    const shown = renewals.map(({ parameters }) => parameters.refresh_token);
    assert.equal(new Set(shown).size, shown.length, 'every refresh token was used once');
    const tokens = new Set(api.calls.map(({ token }) => token));
    assert.ok(tokens.size >= 3, `${tokens.size} tokens in eleven seconds`);
    assert.equal(renewals.length + 1, provider.issued.filter(({ kind }) => kind === 'access_token').length);
    // a token of four seconds is renewed once, not by each tab
    const seconds = (Date.now() - began) / 1_000;
    assert.ok(renewals.length <= seconds / 2, `${renewals.length} renewals in ${seconds} s`);
    assert.ok(api.calls.every(({ who }) => who === 'ada'));
  });

  test('who comes back after the token has ended goes on where they were', async (t) => {
    const application = await startApplication(t, { lifetime: 2 });
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    await pause(3_500);
    const answer = await ask(page, '/imodels/later');
    assert.equal(answer.status, 200);
    assert.equal(answer.body.who, 'ada');
  });

  test('when the refresh token is dead a script gets 401, and the page signs in again and is the same', async (t) => {
    const application = await startApplication(t, { lifetime: 2 });
    const { provider } = application;
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application, { to: '/app/models?sort=name' });
    await provider.revokeEverything();
    await pause(3_500);
    const { status, body } = await ask(page, '/imodels/later');
    assert.equal(status, 401);
    assert.equal(body.error.code, 'SignInRequired');
    assert.notEqual((await session(page)).body.signed_in, true);

    await page.goto(`${application.url}/app/models?sort=name&page=2`);
    await atProvider(page, application);
    await page.waitForURL(`${application.url}/app/models?sort=name&page=2`);
    assert.equal((await ask(page, '/imodels/later')).status, 200);
  });

  test('the provider is away while a token ends, and people are not signed out by it', async (t) => {
    const application = await startApplication(t, { lifetime: 2, inject: { wait: '1s' } });
    const { provider } = application;
    const ada = await startPerson(t);
    const page = await ada.tab();
    await signIn(page, application);
    provider.away = true;
    await pause(3_500);
    assert.equal((await ask(page, '/imodels/later')).status, 503);
    provider.away = false;
    await until(async () => (await ask(page, '/imodels/later')).status === 200);
  });
});
