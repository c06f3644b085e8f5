// Plants secrets everywhere, makes everything go wrong at the most talkative level, and searches what
// the program showed anybody.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { test } from 'node:test';
import path from 'node:path';

import { startOrigin } from './support/origin.js';
import { command, directory, startProxy } from './support/program.js';

const canary = (name) => `canary-${name}-${randomBytes(12).toString('hex')}`;

/** A provider that likes to quote what it was sent. The client's identifier says how it answers. */
async function startGossip(t, tokens, assertion) {
  const gossip = { asked: {} };
  const good = () => [200, { access_token: tokens(), token_type: 'Bearer', expires_in: 3600 }];
  const modes = {
    good,
    'good-once': (sent) => (gossip.asked['good-once'] > 4 ? modes.quotes(sent) : good()),
    quotes: (sent) => [400, { error: 'invalid_client', error_description: `no: ${sent} \u001b[31m\r\n{"level":"info"}` }],
    'quotes-oddly': (sent) => [400, { error: sent, error_uri: sent }],
    html: (sent) => [200, `<html>${sent}</html>`],
    fails: (sent) => [500, sent],
    empty: () => [200, ''],
    'not-text': (sent) => [200, { access_token: { is: tokens() }, sent }],
    unusable: () => [200, { access_token: `${tokens()}\n`, token_type: 'Bearer', expires_in: 3600 }],
    'other-type': () => [200, { access_token: tokens(), token_type: tokens(), expires_in: 60 }],
    redirects: (sent) => [302, sent],
  };
  const server = http.createServer(async (request, response) => {
    response.setHeader('content-type', 'application/json');
    if (request.url.includes('.well-known')) {
      response.end(JSON.stringify({ issuer: gossip.issuer, token_endpoint: `${gossip.issuer}/token` }));
      return;
    }
    let body = '';
    for await (const chunk of request) body += chunk;
    const { authorization = '' } = request.headers;
    if (request.url.startsWith('/sts-good')) {
      response.end(JSON.stringify({ RequestedSecurityToken: assertion() }));
      return;
    }
    const client = request.url.startsWith('/sts') ? JSON.parse(body).AppId : Buffer.from(authorization.replace('Basic ', ''), 'base64').toString().split(':')[0]
      || new URLSearchParams(body).get('client_id');
    gossip.asked[client] = (gossip.asked[client] ?? 0) + 1;
    const [status, answer] = modes[client](`${authorization} ${body}`);
    if (status === 302) response.setHeader('location', `${gossip.issuer}/${encodeURIComponent(answer)}`);
    response.statusCode = status;
    response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  gossip.issuer = `http://127.0.0.1:${server.address().port}`;
  gossip.modes = Object.keys(modes);
  return gossip;
}

/** Every form in which a value may turn up. */
function forms(value) {
  const base64 = (text) => Buffer.from(text).toString('base64').replace(/=+$/, '');
  return [value, encodeURIComponent(value), base64(value), ...['', '0', '00'].map((pad) => base64(pad + value).slice(4, -4))];
}

test('no secret, token or query value is shown by log, status, metrics, errors or commands', async (t) => {
  const planted = {};
  const plant = (name) => (planted[name] ??= canary(name));
  const tokens = () => plant(`token-${Object.keys(planted).length}`);
  const assertion = () =>
    '<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:1.0:assertion" AssertionID="' + plant('assertion')
    + '"><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><KeyInfo><X509Data><X509Certificate>TUlJ</X509Certificate>'
    + '</X509Data></KeyInfo></Signature></saml:Assertion>';
  const gossip = await startGossip(t, tokens, assertion);
  const origin = await startOrigin(t, {
    async answer(request, response) {
      if (request.url.startsWith('/refused')) {
        // an upstream that quotes the token, in places that are looked at
        response.writeHead(401, {
          'www-authenticate': `Bearer error="invalid_token", error_description="${request.headers.authorization}"`,
        });
        response.end(request.headers.authorization);
        return true;
      }
      if (request.url.startsWith('/hangs-up')) {
        request.socket.destroy();
        return true;
      }
      if (request.url.startsWith('/nonsense')) {
        request.socket.end(`${request.headers.authorization}\r\n\r\n`);
        return true;
      }
      if (request.url.startsWith('/login')) {
        response.writeHead(302, { location: `${gossip.issuer}/login?code=${plant('code')}` });
        response.end();
        return true;
      }
      return false;
    },
  });
  const secretFile = path.join(directory(t), 'secret');
  writeFileSync(secretFile, plant('file'), { mode: 0o600 });
  const store = path.join(directory(t), 'tokens');
  const one = { provider: 'idp', grant: 'client_credentials', scopes: ['itwin-platform'] };
  const kinds = {
    basic: { client_secret: plant('secret'), client_secret_previous: plant('previous') },
    post: { client_secret_file: secretFile, client_auth: 'client_secret_post' },
    env: { client_secret_env: 'THE_SECRET' },
    user: { grant: 'password', client_secret: plant('second'), username: 'u', password: plant('password') },
  };
  const assertionFile = path.join(directory(t), 'assertion');
  writeFileSync(assertionFile, Buffer.from(assertion()).toString('base64'), { mode: 0o600 });
  const user = { grant: 'saml_bearer', client_secret: plant('third'), username: 'u', password: plant('sts-password') };
  const sts = (name) => ({ url: `${gossip.issuer}/sts-${name}` });
  Object.assign(kinds, {
    // the STS is good, and what follows is not
    saml: { ...user, sts: { ...sts('good'), delegation_url: `${gossip.issuer}/sts-good` } },
    sts: { ...user, sts: sts('bad') },
    delegation: { ...user, sts: { ...sts('good'), delegation_url: `${gossip.issuer}/sts-bad` } },
    asserted: { grant: 'saml_bearer', client_secret: plant('fourth'), assertion: { file: assertionFile } },
    acting: { grant: 'jwt_bearer', client_secret: plant('fifth'), assertion: { credential: 'basic-good' } },
  });
  const credentials = {};
  for (const [kind, form] of Object.entries(kinds)) {
    for (const mode of gossip.modes) {
      credentials[`${kind}-${mode}`] = { ...one, client_id: mode, ...form, ...(form.sts && { sts: { ...form.sts, app_id: mode } }) };
    }
  }
  const config = {
    providers: { idp: { issuer: gossip.issuer } },
    credentials,
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: Object.keys(credentials).map((credential) => ({
      name: credential,
      hosts: `${credential}.localhost`,
      path: '/**',
      inject: { credential, wait: '300ms' },
      upstream: origin.origin,
      admit: [{ key: { header: 'x-key', secret: plant('key') } }],
    })),
    token_store: { path: store, key: plant('store') },
    log: { level: 'trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace', format: 'json' },
  };
  const env = { THE_SECRET: plant('env'), RUST_LOG: 'trace', RUST_BACKTRACE: '1' };
  const proxy = await startProxy(t, config, { env, ready: false });

  const own = [];
  const call = (credential, target, headers = {}) => new Promise((resolve) => {
    const request = http.request(proxy.origin + target, {
      headers: {
        host: `${credential}.localhost`,
        'x-key': planted.key,
        cookie: `a=${plant('cookie')}`,
        ...headers,
      },
    }, async (response) => {
      let body = '';
      for await (const chunk of response) body += chunk;
      // what the upstream itself says, also in a 401 that we comment on, is the caller's to see
      const status = response.headers['proxy-status'] ?? '';
      own.push(status.includes('error=') ? JSON.stringify(response.headers) + body : status);
      resolve(response.statusCode);
    });
    request.on('error', resolve);
    request.end();
  });
  const statuses = new Set();
  for (const credential of Object.keys(credentials)) {
    for (const target of ['/imodels', '/refused', '/hangs-up', '/nonsense', '/login', '/a%2fb']) {
      const query = `?sig=${encodeURIComponent(plant('query'))}`;
      statuses.add(await call(credential, target + query, { authorization: `Bearer ${plant('caller')}` }));
    }
    statuses.add(await call(credential, '/imodels', { 'x-key': plant('wrong-key') }));
    statuses.add(await call(credential, '/imodels', { authorization: [`Bearer ${plant('one')}`, `Bearer ${plant('two')}`] }));
    statuses.add(await call(credential, '/imodels', { authorization: `Basic ${plant('other-scheme')}` }));
  }
  for (const expected of [200, 400, 401, 502, 503]) {
    assert.ok(statuses.has(expected), `${expected} among ${[...statuses]}`);
  }
  assert.deepEqual(Object.keys(gossip.asked).sort(), [...gossip.modes].sort(), 'every kind of answer was given');

  const shown = { errors: own.join('\n') };
  shown.status = JSON.stringify(await proxy.status());
  shown.metrics = await proxy.metrics();
  for (const args of [['check'], ['check', '--print'], ['check', '--live'], ['explain', 'GET', 'http://basic-good.localhost/imodels']]) {
    const { stdout, stderr } = await command([...args, '--config', proxy.file], { env });
    shown[args.join(' ')] = stdout + stderr;
  }
  assert.deepEqual(await proxy.stop(), { code: 0, signal: null });
  shown.log = proxy.lines.join('\n');
  shown.store = readFileSync(store, 'latin1');

  assert.ok(proxy.requestLines.length > 50, 'requests are logged');
  assert.ok(proxy.requestLines.some((line) => line.reason?.includes(': ')), 'the log has the chains of reasons');
  for (const [where, text] of Object.entries(shown)) {
    assert.ok(text.length > 0, `${where} says something`);
    for (const [name, value] of Object.entries(planted)) {
      for (const form of forms(value)) {
        const at = text.indexOf(form);
        assert.equal(at, -1, `${where} shows ${name}: ${text.slice(Math.max(0, at - 300), at + 80)}`);
      }
    }
    if (where !== 'store') assert.doesNotMatch(text, /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/, where);
  }
});
