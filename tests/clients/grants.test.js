// Every grant and client authentication that the certified server offers, asked for by the proxy.
import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { certificates, signingKey } from './support/certificates.js';
import { bearer, claims, inject, SERVICE } from './support/config.js';
import { startOrigin } from './support/origin.js';
import { directory, startProxy } from './support/program.js';
import { API, SCOPES, startProvider } from './support/provider.js';

/** Calls the upstream through the proxy and answers the claims of the token that arrived there. */
async function arrivesWith(proxy, origin, path_ = '/imodels?iTwinId=1') {
  const answer = await fetch(proxy.origin + path_);
  assert.equal(answer.status, 200, await answer.clone().text());
  const { authorization } = origin.requests.at(-1);
  assert.ok(bearer(authorization), `no bearer token arrived: ${authorization}`);
  return claims(bearer(authorization));
}

async function grant(t, { client, credential, provider: options = {}, ca, route }) {
  const provider = await startProvider(t, { clients: [client], ...options });
  const origin = await startOrigin(t);
  const proxy = await startProxy(
    t,
    inject({
      provider,
      origin: origin.origin,
      credential: { client_id: client.client_id, ...credential },
      ca,
      route,
    }),
  );
  return { provider, origin, proxy };
}

test('client_credentials, the secret by Basic with every awkward character', async (t) => {
  const secret = 's e+c/r:e%t&="\\';
  const { provider, origin, proxy } = await grant(t, {
    client: { client_id: 'service:a b+c', client_secret: secret },
    credential: { client_secret: secret },
  });
  const token = await arrivesWith(proxy, origin);
  assert.equal(token.client_id, 'service:a b+c');
  assert.equal(token.scope, 'itwin-platform');
  assert.equal(provider.tokenRequests[0].scheme, 'Basic');
  assert.equal('client_secret' in provider.tokenRequests[0].body, false);
});

test('client_credentials, the secret in the body', async (t) => {
  const { provider, origin, proxy } = await grant(t, {
    client: { ...SERVICE.client, token_endpoint_auth_method: 'client_secret_post' },
    credential: { client_secret: SERVICE.client.client_secret, client_auth: 'client_secret_post' },
  });
  assert.equal((await arrivesWith(proxy, origin)).client_id, 'service-a');
  assert.equal(provider.tokenRequests[0].scheme, '');
});

for (const algorithm of ['RS256', 'ES256']) {
  test(`client_credentials, private_key_jwt signed with ${algorithm}`, async (t) => {
    const key = await signingKey(t, algorithm);
    const { provider, origin, proxy } = await grant(t, {
      client: {
        client_id: 'service-k',
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: algorithm,
        jwks: { keys: [key.jwk] },
      },
      credential: { private_key_file: key.file, private_key_id: 'k1' },
    });
    assert.equal((await arrivesWith(proxy, origin)).client_id, 'service-k');
    assert.equal('client_secret' in provider.tokenRequests[0].body, false);
  });
}

for (const method of ['tls_client_auth', 'self_signed_tls_client_auth']) {
  test(`client_credentials over mutual TLS, registered as ${method}`, async (t) => {
    const { ca, server, client } = certificates(t);
    const { X509Certificate, createPublicKey } = await import('node:crypto');
    const certificate = new X509Certificate(client.cert.pem);
    const { origin, proxy } = await grant(t, {
      client: {
        client_id: 'service-m',
        token_endpoint_auth_method: method,
        ...(method === 'tls_client_auth'
          ? { tls_client_auth_san_dns: 'client.example.com' }
          : {
              jwks: {
                keys: [
                  {
                    ...createPublicKey(client.cert.pem).export({ format: 'jwk' }),
                    x5c: [certificate.raw.toString('base64')],
                  },
                ],
              },
            }),
      },
      credential: {
        client_auth: 'tls_client_auth',
        tls: { certificate: client.cert.file, key: client.key.file },
      },
      provider: { tls: { key: server.key.pem, cert: server.cert.pem, ca: ca.pem } },
      ca: ca.file,
    });
    assert.equal((await arrivesWith(proxy, origin)).client_id, 'service-m');
  });
}

test('password', async (t) => {
  const { origin, proxy } = await grant(t, {
    client: { client_id: 'service-p', client_secret: 'x', grant_types: ['password'] },
    credential: {
      grant: 'password',
      client_secret: 'x',
      username: 'svc@example.com',
      password: 'pass word&=',
    },
    provider: { users: { 'svc@example.com': 'pass word&=' } },
  });
  assert.equal((await arrivesWith(proxy, origin)).sub, 'svc@example.com');
});

const NATIVE = {
  client_id: 'native-a',
  token_endpoint_auth_method: 'none',
  application_type: 'native',
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  redirect_uris: ['http://127.0.0.1/callback'],
  scope: `openid offline_access ${SCOPES.join(' ')}`,
};

/** A provider that rotates refresh tokens, one of them in a file, and a way to start the proxy on it. */
async function refreshing(t, options) {
  const provider = await startProvider(t, { clients: [NATIVE], ...options });
  const origin = await startOrigin(t);
  const file = path.join(directory(t), 'refresh-token');
  const first = await provider.refreshToken('native-a');
  writeFileSync(file, `${first}\n`, { mode: 0o600 });
  const credential = {
    client_id: 'native-a',
    grant: 'refresh_token',
    client_auth: 'none',
    refresh_token_file: file,
  };
  const startOne = () =>
    startProxy(t, inject({ provider, origin: origin.origin, credential, route: {} }));
  return { provider, origin, file, first, startOne };
}

test('refresh_token: the rotated one is in the file, private, and a restart goes on with it', async (t) => {
  const { provider, origin, file, first, startOne } = await refreshing(t);
  const one = await startOne();
  assert.equal((await arrivesWith(one, origin)).sub, 'someone');
  const second = readFileSync(file, 'utf8').trim();
  assert.notEqual(second, first);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  await one.stop();

  const two = await startOne();
  assert.equal((await arrivesWith(two, origin)).sub, 'someone');
  assert.notEqual(readFileSync(file, 'utf8').trim(), second);
  assert.deepEqual(provider.tokenRequests.map((request) => request.result), ['success', 'success']);
});

test('refresh_token: fifty calls at once after a start cost one rotation', async (t) => {
  const { provider, startOne } = await refreshing(t);
  const proxy = await startOne();
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, n) => fetch(`${proxy.origin}/imodels/${n}`)),
  );
  assert.ok(answers.every((answer) => answer.status === 200));
  assert.equal(provider.tokenRequests.length, 1);
});

test('a resource parameter names the audience', async (t) => {
  const { provider, origin, proxy } = await grant(t, {
    client: SERVICE.client,
    credential: {
      ...SERVICE.credential,
      parameters: { resource: 'https://other.example.com/' },
    },
  });
  assert.equal((await arrivesWith(proxy, origin)).aud, 'https://other.example.com/');
  assert.equal(provider.tokenRequests[0].resource, 'https://other.example.com/');
});

test('a route narrows the scopes, and each set of scopes is one token', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t);
  const credential = { ...SERVICE.credential, scopes: ['imodels:read', 'imodels:modify'] };
  const config = inject({ provider, origin: origin.origin, credential });
  config.routes.unshift({
    path: '/imodels/**',
    methods: ['GET'],
    inject: { credential: 'agent', scopes: 'imodels:read' },
    upstream: origin.origin,
  });
  const proxy = await startProxy(t, config);
  assert.equal((await arrivesWith(proxy, origin, '/imodels/1')).scope, 'imodels:read');
  assert.deepEqual((await arrivesWith(proxy, origin, '/itwins')).scope.split(' ').sort(), [
    'imodels:modify',
    'imodels:read',
  ]);
  await arrivesWith(proxy, origin, '/imodels/2');
  await arrivesWith(proxy, origin, '/itwins');
  assert.equal(provider.issued, 2);
});

test('an opaque token is used as it is', async (t) => {
  const { origin, proxy } = await grant(t, {
    client: SERVICE.client,
    credential: SERVICE.credential,
    provider: { format: 'opaque' },
  });
  const answer = await fetch(`${proxy.origin}/imodels`);
  assert.equal(answer.status, 200);
  const token = bearer(origin.requests[0].authorization);
  assert.ok(token);
  assert.equal(token.includes('.'), false);
});

test('two secrets during a rotation: the old one serves until the provider knows the new one', async (t) => {
  const { provider, origin, proxy } = await grant(t, {
    client: SERVICE.client,
    credential: {
      client_secret: 'not known there yet',
      client_secret_previous: SERVICE.client.client_secret,
    },
  });
  assert.equal((await arrivesWith(proxy, origin)).client_id, 'service-a');
  assert.deepEqual(provider.tokenRequests.map((request) => request.result), ['error', 'success']);
});

test('a wrong secret: 503 in JSON that names the reason, not a hang, and no flood of attempts', async (t) => {
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t);
  const credential = { ...SERVICE.credential, client_secret: 'wrong' };
  const proxy = await startProxy(t, inject({ provider, origin: origin.origin, credential }), {
    ready: false,
  });
  const begun = Date.now();
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => fetch(`${proxy.origin}/imodels`)),
  );
  assert.ok(Date.now() - begun < 5_000, 'a refusal is not waited for');
  for (const answer of answers) {
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers.get('retry-after')) > 0);
    assert.match(answer.headers.get('content-type'), /^application\/json/);
    const { error } = await answer.json();
    assert.match(JSON.stringify(error), /invalid_client/);
  }
  assert.equal(origin.requests.length, 0);
  assert.ok(provider.tokenRequests.length <= 3, `${provider.tokenRequests.length} attempts`);
  assert.equal(proxy.lines.join('\n').includes('wrong'), false);
});

test('the audience is the API when nobody names one', async (t) => {
  const { origin, proxy } = await grant(t, { client: SERVICE.client, credential: SERVICE.credential });
  assert.equal((await arrivesWith(proxy, origin)).aud, API);
});
