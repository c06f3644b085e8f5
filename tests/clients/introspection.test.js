// Opaque tokens of a certified provider and of the sandbox, shown to the proxy in front of an API.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SERVICE } from './support/config.js';
import { startOrigin } from './support/origin.js';
import { pause, startProxy, startSandbox } from './support/program.js';
import { API, startProvider } from './support/provider.js';

const API_CLIENT = { client_id: 'imodels-api', client_secret: 'of the API' };

/** A proxy in front of an API that takes tokens of one provider. */
async function guarding(t, { issuer, api, audience, introspection }) {
  const origin = await startOrigin(t);
  const proxy = await startProxy(t, {
    workers: 2,
    providers: {
      idp: {
        issuer,
        introspection: { client_id: api.client_id, client_secret: api.client_secret, ...introspection },
      },
    },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      {
        upstream: origin.origin,
        admit: { bearer: { provider: 'idp', audiences: audience, scopes: 'itwin-platform' } },
      },
    ],
  });
  const call = async (token) => {
    const answer = await fetch(proxy.origin, { headers: { authorization: `Bearer ${token}` } });
    const body = await answer.json();
    return { status: answer.status, code: body.error?.code, headers: answer.headers };
  };
  return { origin, proxy, call };
}

async function form(url, fields, { client_id: id, client_secret: secret }) {
  const pair = `${encodeURIComponent(id)}:${encodeURIComponent(secret)}`;
  const answer = await fetch(url, {
    method: 'POST',
    body: new URLSearchParams(fields),
    headers: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` },
  });
  return answer.status === 200 && answer.headers.get('content-type')?.includes('json')
    ? answer.json()
    : { status: answer.status };
}

async function token(issuer, path, fields = {}) {
  const grant = { grant_type: 'client_credentials', scope: 'itwin-platform', ...fields };
  return (await form(`${issuer}${path}`, grant, SERVICE.client)).access_token;
}

test('a certified provider is asked about its opaque tokens, once each', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client], apis: [API_CLIENT], format: 'opaque' });
  const { call, origin } = await guarding(t, { issuer: provider.issuer, api: API_CLIENT, audience: API });
  const good = await token(provider.issuer, '/token');
  assert.ok(!good.includes('.'));
  for (const answer of await Promise.all(Array.from({ length: 50 }, () => call(good)))) {
    assert.equal(answer.status, 200, JSON.stringify(answer));
  }
  assert.equal(provider.questions.length, 1);
  assert.equal(origin.requests[0].authorization, `Bearer ${good}`);

  const narrow = await token(provider.issuer, '/token', { scope: 'imodels:read' });
  assert.deepEqual([(await call(narrow)).status, (await call(narrow)).code], [403, 'InsufficientScope']);
  const foreign = await token(provider.issuer, '/token', { resource: 'https://other.example.com/' });
  assert.equal((await call(foreign)).status, 401);
  assert.equal((await call('nonsense')).code, 'TokenInvalid');
  // an active token, but none for access
  const renewing = await provider.refreshToken('service-a');
  assert.equal((await call(renewing)).status, 401);
});

test('a revoked token passes until the bound of what is remembered, and not after it', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client], apis: [API_CLIENT], format: 'opaque' });
  const { call } = await guarding(t, {
    issuer: provider.issuer,
    api: API_CLIENT,
    audience: API,
    introspection: { cache: '2s' },
  });
  const revoked = await token(provider.issuer, '/token');
  assert.equal((await call(revoked)).status, 200);
  await form(`${provider.issuer}/token/revocation`, { token: revoked }, SERVICE.client);
  assert.equal((await call(revoked)).status, 200);
  await pause(2_100);
  assert.equal((await call(revoked)).status, 401);
});

test('a JWT of a certified provider needs no question', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client], apis: [API_CLIENT] });
  const { call } = await guarding(t, { issuer: provider.issuer, api: API_CLIENT, audience: API });
  assert.equal((await call(await token(provider.issuer, '/token'))).status, 200);
  assert.equal(provider.questions.length, 0);
});

test('while a provider is gone, what is known serves and the rest is told to come again', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client], apis: [API_CLIENT], format: 'opaque' });
  const { call } = await guarding(t, { issuer: provider.issuer, api: API_CLIENT, audience: API });
  const [known, other] = [await token(provider.issuer, '/token'), await token(provider.issuer, '/token')];
  assert.equal((await call(known)).status, 200);
  await provider.down();
  const answer = await call(other);
  assert.deepEqual([answer.status, answer.code], [503, 'IntrospectionUnavailable']);
  assert.ok(Number(answer.headers.get('retry-after')) > 0);
  assert.equal((await call(known)).status, 200);
  await provider.up();
  await pause(2_100);
  assert.equal((await call(other)).status, 200);
});

test('an API that the provider does not know is told so in the log, loudly', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client], apis: [API_CLIENT], format: 'opaque' });
  const api = { ...API_CLIENT, client_secret: 'wrong' };
  const { call, proxy } = await guarding(t, { issuer: provider.issuer, api, audience: API });
  assert.equal((await call(await token(provider.issuer, '/token'))).status, 503);
  await proxy.line((line) => (line.includes('refuses the introspection client') ? true : undefined));
  assert.match(await proxy.metrics(), /introspections_total\{provider="idp",result="unauthorized"\} 1/);
});

for (const shape of ['opaque', 'identity-server', 'ims']) {
  test(`tokens of the sandbox pass: ${shape}`, async (t) => {
    const sandbox = await startSandbox(t, ['--algorithm', 'es256', '--tokens', shape]);
    const api = { client_id: sandbox.api_id, client_secret: sandbox.api_secret };
    const { call } = await guarding(t, { issuer: sandbox.issuer, api, audience: 'bentley-api-management' });
    const client = { client_id: sandbox.client_id, client_secret: sandbox.client_secret };
    const grant = { grant_type: 'client_credentials', scope: 'itwin-platform' };
    const issued = await form(`${sandbox.issuer}/connect/token`, grant, client);
    assert.equal((await call(issued.access_token)).status, 200);
    const { introspection_requests: questions } = await sandbox.counts();
    assert.equal(questions, shape === 'opaque' ? 1 : 0);
  });
}
