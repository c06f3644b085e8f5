// Front ends that sign in by themselves, with Bentley's own client: straight at the provider, and
// unchanged through the proxy, which hands their calls on as they are.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startProxy } from '../clients/support/program.js';
import { atProvider, startPerson } from './support/browser.js';
import { startComparison } from './support/comparison.js';
import { SCOPES, startProvider } from './support/provider.js';
import { startDoor } from './support/server.js';
import { startApi } from './support/upstream.js';

const SCOPE = `openid profile ${SCOPES[0]}`;
const registration = (here) => ({
  client_id: 'spa-b',
  token_endpoint_auth_method: 'none',
  grant_types: ['authorization_code'],
  redirect_uris: [`${here}/callback`],
  post_logout_redirect_uris: [`${here}/`],
});

test('browser-authorization signs in at the provider, and the token lies in the browser', async (t) => {
  let settings;
  const site = await startComparison(t, () => settings);
  const provider = await startProvider(t, { clients: [registration(site)] });
  const api = await startApi(t, { cors: true });
  settings = { authority: provider.issuer, api: `${api.origin}/imodels/first`, scope: SCOPE };

  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(`${site}/`);
  await page.waitForURL(`${provider.issuer}/**`);
  await atProvider(page, { provider });
  await page.getByText('ada').waitFor();

  const held = await page.evaluate(() => JSON.stringify({ ...localStorage }));
  const { token } = provider.issued.find(({ kind }) => kind === 'access_token');
  assert.ok(held.includes(token), 'what the other tests look for would be found where it is');
});

test('its pages work through the proxy unchanged, and sign in at its authority', async (t) => {
  const door = await startDoor(t);
  const url = `http://localhost:${door.port}`;
  let settings;
  const site = await startComparison(t, () => settings);
  const secret = { client_id: 'service-c', client_secret: 'not a real secret' };
  const provider = await startProvider(t, {
    clients: [
      registration(`${url}/own`),
      { ...secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
    ],
  });
  const api = await startApi(t);
  settings = { authority: `${url}/authority`, api: `${url}/models/first`, scope: SCOPE };
  const proxy = await startProxy(t, {
    providers: { idp: { issuer: provider.issuer } },
    credentials: { service: { provider: 'idp', ...secret, scopes: [SCOPES[0]] } },
    listeners: [{ bind: '127.0.0.1:0' }],
    authorities: [{ credential: 'service' }],
    routes: [
      { path: '/models/**', upstream: api.origin },
      { path: '/own/**', upstream: site },
    ],
  });
  door.behind = new URL(proxy.origin).host;

  const ada = await startPerson(t);
  const page = await ada.tab();
  await page.goto(`${url}/own/`);
  await page.waitForURL(`${provider.issuer}/**`);
  await atProvider(page, { provider });
  await page.getByText('ada').waitFor();

  assert.equal(api.calls.at(-1).who, 'ada');
  assert.equal(provider.tokens('authorization_code').at(-1).result, 'success');
  assert.ok(
    ada.seen.some(({ method, url: asked }) => method === 'POST' && asked.startsWith(`${url}/authority/`)),
    'the code was exchanged through the proxy',
  );
  assert.deepEqual(await ada.cookies(url), [], 'routes without a session set no cookie');
});
