// A service that knows nothing of the proxy but the keys that it publishes: npm `jose` checks the
// identity JWTs that it is sent.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createRemoteJWKSet, jwtVerify } from 'jose';

import { startOrigin } from './support/origin.js';
import { startProxy } from './support/program.js';
import { API, SCOPES, startProvider } from './support/provider.js';

test('a service checks who calls with the keys that the proxy publishes', async (t) => {
  const client = { client_id: 'service-a', client_secret: 'not a real secret' };
  const provider = await startProvider(t, { clients: [client] });
  const origin = await startOrigin(t);
  const proxy = await startProxy(t, {
    workers: 1,
    providers: { idp: { issuer: provider.issuer } },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      {
        admit: [{ bearer: { provider: 'idp', audiences: [API] } }],
        identity: { jwt: {}, token: 'remove' },
        upstream: origin.origin,
      },
    ],
    signing: { path: '/.itwin-auth/jwks.json' },
  });
  const token = await tokenOf(provider);
  const call = async () => {
    const headers = { authorization: `Bearer ${token}`, 'x-itwin-identity': 'forged', x_itwin_subject: 'forged' };
    const answer = await fetch(`${proxy.origin}/data`, { headers });
    assert.equal(answer.status, 200);
    await answer.text();
    return origin.requests.at(-1);
  };
  const seen = await call();
  assert.equal(seen.authorization, undefined);
  assert.equal(seen.headers['x-itwin-caller'], 'bearer');
  assert.equal(seen.headers['x-itwin-client-id'], 'service-a');
  assert.equal(seen.headers.x_itwin_subject, undefined);
  const rules = {
    issuer: 'itwin-auth-proxy',
    audience: origin.origin,
    typ: 'itwin-identity+jwt',
    algorithms: ['ES256'],
    requiredClaims: ['iat', 'exp', 'client_id', 'subject_issuer'],
    maxTokenAge: 60,
  };
  for (const keys of [`${proxy.origin}/.itwin-auth/jwks.json`, `${proxy.admin}/jwks.json`]) {
    const { payload } = await jwtVerify(seen.headers['x-itwin-identity'], createRemoteJWKSet(new URL(keys)), rules);
    assert.equal(payload.client_id, 'service-a');
    assert.equal(payload.subject_issuer, provider.issuer);
    assert.ok(payload.exp - payload.iat <= 60);
  }
  assert.equal((await call()).headers['x-itwin-identity'], seen.headers['x-itwin-identity'], 'signed once');
});

async function tokenOf(provider) {
  const metadata = await (await fetch(`${provider.issuer}/.well-known/openid-configuration`)).json();
  const answer = await fetch(metadata.token_endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa('service-a:not+a+real+secret')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: SCOPES[0], resource: API }),
  });
  const { access_token: token } = await answer.json();
  assert.ok(token);
  return token;
}
