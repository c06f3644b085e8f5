// Software that fetches its own tokens, pointed at the authority that the proxy stands in for: the
// real packages of three generations, with dummy secrets and without a change.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';

import * as oauth from 'oauth4webapi';

import { bearer, claims, SERVICE } from './support/config.js';
import { curl } from './support/curl.js';
import { startIssuer } from './support/issuer.js';
import { agent } from './support/legacy.js';
import { startOrigin } from './support/origin.js';
import { command, directory, logLine, startProxy, startSandbox, until } from './support/program.js';
import { API, SCOPES, startProvider } from './support/provider.js';
import { pair, signed } from './support/tokens.js';

const require = createRequire(import.meta.url);
const { IntrospectionClient, ServiceAuthorizationClient } = require('@itwin/service-authorization');
const SCOPE = SCOPES[0];

async function world(t, { provider: options = {}, authority = {}, scopes = [SCOPE], ...rest } = {}) {
  const provider = await startProvider(t, { clients: [SERVICE.client], ...options });
  const origin = await startOrigin(t);
  const proxy = await startProxy(t, {
    workers: 2,
    providers: { idp: { issuer: provider.issuer } },
    credentials: { agent: { provider: 'idp', scopes, ...SERVICE.credential } },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [{ inject: 'agent', upstream: origin.origin }],
    authorities: [{ credential: 'agent', ...authority }],
    ...rest,
  });
  return { provider, origin, proxy, address: `${proxy.origin}/authority` };
}

const service = (authority, scope = SCOPE) =>
  new ServiceAuthorizationClient({ authority, clientId: 'any', clientSecret: 'a dummy + secret/', scope });

test('service-authorization: 20 calls at once cost one token request upstream', async (t) => {
  const { provider, proxy, address } = await world(t);
  const client = service(address);
  const tokens = await Promise.all(Array.from({ length: 20 }, () => client.getAccessToken()));
  assert.equal(new Set(tokens).size, 1);
  assert.match(tokens[0], /^Bearer ey/);
  assert.equal(claims(bearer(tokens[0])).client_id, SERVICE.client.client_id);
  assert.equal(provider.tokenRequests.length, 1, JSON.stringify(provider.tokenRequests));
  // the log says each time whose token was handed out
  const handed = () => proxy.requestLines.filter((line) => line.credential === 'agent');
  await until(() => handed().length === 20);
  const logged = proxy.lines.join('\n');
  assert.ok(!logged.includes(bearer(tokens[0])), 'and never the token');
});

test('service-authorization: the authority may be written with a slash at its end', async (t) => {
  const { address } = await world(t);
  assert.match(await service(`${address}/`).getAccessToken(), /^Bearer ey/);
});

test('service-authorization: its IntrospectionClient checks tokens with the keys that pass through', async (t) => {
  // it wants `scope` as a list, as IMS has it
  const issuer = await startIssuer(t);
  const key = pair('RS256', 'one');
  issuer.jwks = { keys: [key.jwk] };
  const seconds = Math.floor(Date.now() / 1000);
  const claims = { iss: issuer.issuer, scope: [SCOPE], client_id: 'x', exp: seconds + 600 };
  const token = `Bearer ${signed({ alg: 'RS256', kid: 'one' }, claims, key)}`;
  const proxy = await startProxy(
    t,
    {
      providers: { idp: { issuer: issuer.issuer } },
      credentials: { agent: { provider: 'idp', scopes: [SCOPE], ...SERVICE.credential } },
      listeners: [{ bind: '127.0.0.1:0' }],
      routes: [],
      authorities: [{}],
    },
    { ready: false },
  );
  const address = `${proxy.origin}/authority`;
  const client = new IntrospectionClient({ issuerUrl: address });
  const judged = await client.introspect(token);
  assert.equal(judged.active, true);
  assert.equal(judged.scope, SCOPE);
});

test('service-authorization: a provider that is down from the start, and comes', async (t) => {
  const { provider, address } = await (async () => {
    const provider = await startProvider(t, { clients: [SERVICE.client] });
    await provider.down();
    const proxy = await startProxy(
      t,
      {
        providers: { idp: { issuer: provider.issuer } },
        credentials: { agent: { provider: 'idp', scopes: [SCOPE], ...SERVICE.credential } },
        listeners: [{ bind: '127.0.0.1:0' }],
        routes: [],
        authorities: [{}],
      },
      { ready: false },
    );
    return { provider, address: `${proxy.origin}/authority` };
  })();
  const client = service(address);
  const waiting = client.getAccessToken().then(
    (token) => ({ token }),
    (error) => ({ error }),
  );
  await provider.up();
  const first = await waiting;
  // it asks three times more; if that was too early it says so, and the next call is good
  const token = first.token ?? (await service(address).getAccessToken());
  assert.match(token, /^Bearer ey/);
});

test('oauth4webapi: client_credentials in the body, and the metadata as they are', async (t) => {
  const { provider, address } = await world(t, { scopes: SCOPES });
  const http = { [oauth.allowInsecureRequests]: true };
  const found = await fetch(`${address}/.well-known/openid-configuration`);
  const metadata = await found.json();
  assert.equal(metadata.issuer, provider.issuer, 'as the tokens say it');
  assert.equal(metadata.token_endpoint, `${address}/connect/token`);
  const client = { client_id: 'any' };
  for (const auth of [oauth.ClientSecretPost('x'), oauth.ClientSecretBasic('y'), oauth.None()]) {
    const parameters = new URLSearchParams({ scope: SCOPES[1] });
    const answer = await oauth.clientCredentialsGrantRequest(metadata, client, auth, parameters, http);
    const token = await oauth.processClientCredentialsResponse(metadata, client, answer);
    assert.equal(token.scope, SCOPES[1]);
    assert.equal(token.token_type, 'bearer');
    assert.ok(token.expires_in > 900 && token.expires_in <= 3600);
    assert.equal(claims(token.access_token).scope, SCOPES[1]);
  }
});

test('a client of its own gets its own answers: refresh tokens, wrong secrets, introspection', async (t) => {
  const { provider, address } = await world(t, {
    provider: {
      format: 'opaque',
      clients: [
        SERVICE.client,
        {
          client_id: 'person',
          client_secret: 'not a real secret either',
          grant_types: ['authorization_code', 'refresh_token'],
          response_types: ['code'],
          redirect_uris: ['http://127.0.0.1/callback'],
        },
      ],
      apis: [{ client_id: 'api', client_secret: 'a secret of the API' }],
    },
  });
  const ask = (path, form, id, secret) =>
    fetch(`${address}${path}`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${id}:${encodeURIComponent(secret)}`)}` },
      body: new URLSearchParams(form),
    });
  const form = { grant_type: 'refresh_token', refresh_token: await provider.refreshToken('person') };
  const own = await ask('/connect/token', form, 'person', 'not a real secret either');
  assert.equal(own.status, 200);
  const { refresh_token: next, access_token: token } = await own.json();
  assert.notEqual(next, form.refresh_token, 'rotated, and the new one came through');
  const wrong = await ask('/connect/token', { grant_type: 'refresh_token', refresh_token: 'x' }, 'person', 'wrong');
  assert.equal((await wrong.json()).error, 'invalid_client');
  const asked = await ask('/connect/introspect', { token }, 'api', 'a secret of the API');
  assert.equal(asked.status, 200);
  assert.equal((await asked.json()).active, true);
  assert.ok(provider.tokenRequests.some((one) => one.client === 'person'));
});

test('1.x: imjs_buddi_url alone moves an agent', async (t) => {
  const { provider, origin, proxy } = await world(t, { url_discovery: {} });
  const found = await agent('v1', {
    imjs_buddi_url: `${proxy.origin}/WebService`,
    AGENT_SCOPE: SCOPE,
    AGENT_CALLS: '10',
  });
  assert.equal(found.failed, undefined, found.failed);
  assert.equal(new Set([...found.tokens, found.again]).size, 1);
  assert.equal(claims(bearer(found.again)).client_id, SERVICE.client.client_id);
  assert.equal(found.hub, `${proxy.origin}/imodelhub/sv1.1`);
  assert.equal(found.reality, `${proxy.origin}/contextshare/v2.5`);
  assert.equal(found.connect, `${proxy.origin}/contextregistry/sv1.0`);
  assert.equal(provider.tokenRequests.length, 1);
  assert.deepEqual(origin.requests, [], 'nothing went past the authority');
});

test('1.x: a key that is not configured is named in the agent\'s own error', async (t) => {
  const { proxy } = await world(t, { authorities: [], url_discovery: {} });
  const found = await agent('v1', { imjs_buddi_url: `${proxy.origin}/WebService`, AGENT_SCOPE: SCOPE });
  assert.match(found.failed, /Failed to discover URL for service identified by "IMSOpenID"/);
  const line = await proxy.line((text) => (text.includes('url_discovery.urls') ? text : undefined));
  assert.match(line, /IMSOpenID/);
});

test('2.x: imjs_itwin_platform_authority alone moves an agent', async (t) => {
  const { provider, proxy, address } = await world(t);
  const found = await agent('v2', {
    imjs_itwin_platform_authority: address,
    AGENT_SCOPE: SCOPE,
    AGENT_CALLS: '10',
  });
  assert.equal(found.failed, undefined, found.failed);
  assert.equal(new Set([...found.tokens, found.again]).size, 1);
  assert.equal(claims(bearer(found.again)).aud, API);
  assert.equal(provider.tokenRequests.length, 1);
  // it looked for the other metadata first
  const first = await proxy.line((text) => {
    const fields = logLine(text);
    return fields?.path?.includes('oauth-authorization-server') ? fields : undefined;
  });
  assert.equal(first.status, 404);
});

test('2.x: its IntrospectionClient asks the provider through the authority', async (t) => {
  const { address } = await world(t, {
    provider: {
      clients: [SERVICE.client],
      format: 'opaque',
      apis: [{ client_id: 'api', client_secret: 'secret-of-the-api' }],
    },
  });
  const answer = await fetch(`${address}/connect/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  const { access_token: token } = await answer.json();
  const asked = (known) =>
    agent('v2', {
      imjs_itwin_platform_authority: address,
      AGENT_API: 'api:secret-of-the-api',
      AGENT_TOKEN: known,
    });
  const good = await asked(token);
  assert.equal(good.introspected?.active, true, JSON.stringify(good));
  assert.equal(good.introspected.client_id, SERVICE.client.client_id);
  assert.equal((await asked('nobody-s')).introspected.active, false);
});

/** What an agent that knows of nothing but a proxy needs: an authority, and hosts that are opened. */
async function intercepting(t) {
  const sandbox = await startSandbox(t, ['--imodels', '7']);
  const home = directory(t);
  const hosts = ['buddi.bentley.com', 'ims.bentley.com', 'api.bentley.com'];
  const made = await command(['ca', 'init', '--hosts', hosts.join(','), '--out', home]);
  assert.equal(made.code, 0, made.stderr);
  const [certificate, key] = ['ca.crt', 'ca.key'].map((name) => path.join(home, name));
  const proxy = await startProxy(t, {
    workers: 2,
    interception: { certificate, key, hosts },
    providers: { sandbox: { issuer: sandbox.issuer } },
    credentials: {
      agent: {
        provider: 'sandbox',
        client_id: sandbox.client_id,
        client_secret: sandbox.client_secret,
        scopes: ['itwin-platform'],
      },
    },
    listeners: [
      { bind: '127.0.0.1:0', mode: 'forward' },
      { bind: '127.0.0.1:0', tls: { minted: true } },
    ],
    authorities: [{ path: '/', hosts: 'ims.bentley.com' }],
    url_discovery: { hosts: 'buddi.bentley.com', urls: { IMSOpenID: 'https://ims.bentley.com' } },
    routes: [
      { hosts: 'api.bentley.com', inject: 'agent', upstream: sandbox.hub },
      { hosts: 'ims.bentley.com', upstream: sandbox.issuer },
    ],
  });
  return { sandbox, proxy, certificate };
}

test('2.x: HTTPS_PROXY alone moves an agent that asks Bentley\'s own addresses', async (t) => {
  const { sandbox, proxy, certificate } = await intercepting(t);
  const found = await agent('v2', {
    HTTPS_PROXY: proxy.origins[0],
    NODE_EXTRA_CA_CERTS: certificate,
    AGENT_SCOPE: 'itwin-platform',
    AGENT_ITWIN: sandbox.itwin_id,
  });
  assert.equal(found.failed, undefined, found.failed);
  assert.match(found.again, /^Bearer ey/);
  assert.equal(found.iModels.length, 7);
  const counts = await sandbox.counts();
  assert.equal(counts.tokens_issued, 1, 'one for its sign-in and for its calls');
});

test('in the place of ims.bentley.com the metadata are those that clients know', async (t) => {
  const { proxy, certificate } = await intercepting(t);
  const { port } = new URL(proxy.origins[1]);
  const ask = (url, ...args) =>
    curl(['--cacert', certificate, '--connect-to', `::127.0.0.1:${port}`, ...args, url]);
  const metadata = (await ask('https://ims.bentley.com/.well-known/openid-configuration')).json();
  assert.equal(metadata.token_endpoint, 'https://ims.bentley.com/connect/token');
  const token = await ask(metadata.token_endpoint, '-d', 'grant_type=client_credentials&client_id=x&client_secret=y');
  assert.match(token.json().access_token, /^ey/);
  const rest = await ask('https://ims.bentley.com/connect/authorize?client_id=x');
  assert.doesNotMatch(rest.header, /proxy-status/i, 'the rest is answered by the provider');
  const elsewhere = await ask('https://api.bentley.com/connect/token', '-d', 'grant_type=client_credentials');
  assert.notEqual(elsewhere.status, 200);
  assert.doesNotMatch(elsewhere.header, /proxy-status/i, 'of the hub');
});

test('tokens of five minutes: agents that renew ten minutes early ask each time, and the provider once', async (t) => {
  const { provider, address } = await world(t, { provider: { clients: [SERVICE.client], lifetime: 300 } });
  for (let n = 0; n < 5; n += 1) {
    const answer = await fetch(`${address}/connect/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    });
    const { expires_in: left } = await answer.json();
    assert.ok(left > 150 && left <= 300, `${left}`);
  }
  assert.equal(provider.tokenRequests.length, 1);
});

test('a token for the asking, with nothing but fetch', async (t) => {
  const { provider, proxy } = await world(t, { authorities: [], token_requests: {} });
  const ask = (headers) => fetch(`${proxy.origin}/token?credential=agent`, { headers });
  const refused = await ask({});
  assert.equal(refused.status, 403);
  const answer = await ask({ 'X-Itwin-Token-Request': 'yes' });
  const { access_token: token } = await answer.json();
  assert.equal((await provider.verify?.(token))?.payload?.client_id ?? claims(token).client_id, 'service-a');
  assert.equal(answer.headers.get('cache-control'), 'no-store');
});
