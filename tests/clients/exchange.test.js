// Callers' tokens, exchanged at a certified provider and at the sandbox for tokens that another service takes.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bearer, claims, SERVICE } from './support/config.js';
import { startOrigin } from './support/origin.js';
import { startProxy, startSandbox } from './support/program.js';
import { API, startProvider, TOKEN_EXCHANGE } from './support/provider.js';

const BEHIND = 'https://behind.example.com/';

/** A route to a service that is told of the caller. */
const TOLD = { identity: { token: { exchange: 'behind' } } };

/** A proxy in front of a service that takes tokens for `BEHIND` only. */
async function exchanging(t, { issuer, audience, client, routes = [TOLD] }) {
  const origin = await startOrigin(t);
  const proxy = await startProxy(t, {
    workers: 2,
    providers: { idp: { issuer } },
    credentials: {
      behind: {
        provider: 'idp',
        grant: 'token_exchange',
        scopes: 'itwin-platform',
        parameters: { resource: BEHIND },
        ...client,
      },
    },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: routes.map((route) => ({
      upstream: origin.origin,
      admit: { bearer: { provider: 'idp', audiences: audience } },
      ...route,
    })),
  });
  const call = async (token, path = '/') => {
    const answer = await fetch(proxy.origin + path, { headers: { authorization: `Bearer ${token}` } });
    return { status: answer.status, text: await answer.text() };
  };
  return { origin, call };
}

async function issued(url, fields, { client_id: id, client_secret: secret }) {
  const grant = { grant_type: 'client_credentials', scope: 'itwin-platform', ...fields };
  const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
  const headers = { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
  const answer = await fetch(url, { method: 'POST', body: new URLSearchParams(grant), headers });
  return (await answer.json()).access_token;
}

test('a certified provider exchanges the token of a caller, once, for the same holder', async (t) => {
  const exchanger = { client_id: 'the proxy', client_secret: 'p/w+d' };
  const provider = await startProvider(t, {
    clients: [SERVICE.client, { ...exchanger, grant_types: [TOKEN_EXCHANGE] }],
  });
  const { origin, call } = await exchanging(t, { issuer: provider.issuer, audience: API, client: exchanger });
  const token = await issued(`${provider.issuer}/token`, {}, SERVICE.client);
  const answers = await Promise.all(Array.from({ length: 20 }, () => call(token)));
  assert.ok(answers.every(({ status }) => status === 200), JSON.stringify(answers[0]));
  const exchanges = provider.tokenRequests.filter(({ grant }) => grant === TOKEN_EXCHANGE);
  assert.equal(exchanges.length, 1);
  assert.deepEqual([exchanges[0].result, exchanges[0].client], ['success', 'the proxy']);
  for (const request of origin.requests) {
    const { aud, sub, scope } = claims(bearer(request.authorization));
    assert.deepEqual([aud, sub, scope], [BEHIND, 'service-a', 'itwin-platform']);
  }

  const refused = await issued(`${provider.issuer}/token`, { scope: 'imodels:modify' }, SERVICE.client);
  const answer = await call(refused);
  assert.equal(answer.status, 403);
  assert.match(answer.text, /TokenNotExchanged.*invalid_target/);
  assert.equal(origin.requests.length, 20);
});

test('routes act on behalf of each caller, with the scopes of each', async (t) => {
  const exchanger = { client_id: 'the proxy', client_secret: 'p/w+d' };
  const other = { client_id: 'service-b', client_secret: 'not a real secret either' };
  const provider = await startProvider(t, {
    clients: [SERVICE.client, other, { ...exchanger, grant_types: [TOKEN_EXCHANGE] }],
  });
  const inject = { credential: 'behind', on_behalf_of: 'caller' };
  const { origin, call } = await exchanging(t, {
    issuer: provider.issuer,
    audience: API,
    client: exchanger,
    routes: [{ path: '/imodels/**', inject: { ...inject, scopes: ['imodels:read'] } }, { inject }],
  });
  const tokens = [];
  for (const client of [SERVICE.client, other]) tokens.push(await issued(`${provider.issuer}/token`, {}, client));
  const calls = ['/imodels/1', '/other', '/imodels/2', '/other'].flatMap((path) => tokens.map((token) => [token, path]));
  for (const [token, path] of calls) assert.equal((await call(token, path)).status, 200);

  const seen = origin.requests.map(({ authorization }) => claims(bearer(authorization)));
  assert.deepEqual(
    seen.map(({ aud, sub, scope }) => [aud, sub, scope]),
    calls.map(([token, path]) => [
      BEHIND,
      claims(token).sub,
      path.startsWith('/imodels/') ? 'imodels:read' : 'itwin-platform',
    ]),
  );
  const exchanges = provider.tokenRequests.filter(({ grant }) => grant === TOKEN_EXCHANGE);
  assert.equal(exchanges.length, 4, 'one for each caller and set of scopes');

  assert.equal((await call(await issued(`${provider.issuer}/token`, {}, exchanger), '/other')).status, 401);
  assert.equal(origin.requests.length, calls.length);
});

for (const shape of ['identity-server', 'ims']) {
  test(`the sandbox exchanges its tokens: ${shape}`, async (t) => {
    const sandbox = await startSandbox(t, ['--algorithm', 'es256', '--tokens', shape]);
    const client = { client_id: sandbox.client_id, client_secret: sandbox.client_secret };
    const { origin, call } = await exchanging(t, {
      issuer: sandbox.issuer,
      audience: 'bentley-api-management',
      client,
    });
    const shown = await issued(`${sandbox.issuer}/connect/token`, {}, client);
    assert.equal((await call(shown)).status, 200);
    const { aud, sub, act } = claims(bearer(origin.requests[0].authorization));
    assert.deepEqual([aud].flat(), [BEHIND]);
    assert.equal(sub, claims(shown).sub);
    assert.equal(act.client_id, sandbox.client_id);

    // one that may do too little
    const narrow = await issued(`${sandbox.issuer}/connect/token`, { scope: 'imodels:read' }, client);
    const answer = await call(narrow);
    assert.equal(answer.status, 403);
    assert.match(answer.text, /invalid_scope/);
    assert.equal(origin.requests.length, 1);
  });
}
