// The fixture itself: what the other tests lean on is there, asked without the proxy.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { API, startProvider } from './support/provider.js';

async function ask(issuer, fields, headers = {}) {
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams(fields),
    headers,
  });
  return { status: answer.status, ...(await answer.json()) };
}
const basic = (id, secret) => ({
  authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`,
});
const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

test('the provider answers client_credentials with a JWT for the API', async (t) => {
  const provider = await startProvider(t, {
    clients: [{ client_id: 'service-a', client_secret: 's e c+ret/' }],
    lifetime: 20,
  });
  const answer = await ask(
    provider.issuer,
    { grant_type: 'client_credentials', scope: 'itwin-platform' },
    basic('service-a', 's e c+ret/'),
  );
  assert.equal(answer.status, 200, JSON.stringify([answer, provider.tokenRequests]));
  assert.equal(answer.expires_in, 20);
  assert.equal(claims(answer.access_token).aud, API);
  assert.equal(provider.issued, 1);
});

test('a rotated refresh token is good once', async (t) => {
  const provider = await startProvider(t, {
    clients: [
      {
        client_id: 'native-a',
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/callback'],
        scope: 'openid offline_access itwin-platform imodels:read imodels:modify',
      },
    ],
  });
  const first = await provider.refreshToken('native-a');
  const fields = { grant_type: 'refresh_token', client_id: 'native-a', refresh_token: first };
  const answer = await ask(provider.issuer, fields);
  assert.equal(answer.status, 200, JSON.stringify([answer, provider.tokenRequests]));
  assert.notEqual(answer.refresh_token, first);
  assert.equal(claims(answer.access_token).aud, API);
  assert.equal((await ask(provider.issuer, fields)).error, 'invalid_grant');
});

test('the password grant knows right from wrong', async (t) => {
  const provider = await startProvider(t, {
    clients: [{ client_id: 'service-p', client_secret: 'x', grant_types: ['password'] }],
    users: { 'svc@example.com': 'pass word' },
  });
  const fields = { grant_type: 'password', username: 'svc@example.com', scope: 'itwin-platform' };
  const good = await ask(provider.issuer, { ...fields, password: 'pass word' }, basic('service-p', 'x'));
  assert.equal(good.status, 200, JSON.stringify([good, provider.tokenRequests]));
  assert.equal(claims(good.access_token).sub, 'svc@example.com');
  const bad = await ask(provider.issuer, { ...fields, password: 'no' }, basic('service-p', 'x'));
  assert.equal(bad.error, 'invalid_grant');
});

test('taken down it refuses connections, and comes back on the same port', async (t) => {
  const provider = await startProvider(t, { clients: [{ client_id: 'service-a', client_secret: 's' }] });
  await provider.down();
  await assert.rejects(fetch(`${provider.issuer}/.well-known/openid-configuration`));
  await provider.up();
  const document = await (await fetch(`${provider.issuer}/.well-known/openid-configuration`)).json();
  assert.equal(document.issuer, provider.issuer);
});
