// A real nginx that asks for decisions (auth_request), as docs/gateways.md has it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';

import { SignJWT, exportJWK, generateKeyPair } from 'jose';

import { startOrigin } from './support/origin.js';
import { directory, startProxy } from './support/program.js';

/** A port that was free a moment ago: nginx cannot say which one the kernel gave it. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * What comes back for these bytes, which must ask for `Connection: close`. Our side stays open until then: while nginx
 * waits for a decision, a caller that closed its half is one that has gone away (499), and is sent nothing.
 */
async function raw(origin, bytes) {
  const { hostname, port } = new URL(origin);
  const socket = net.connect(Number(port), hostname);
  socket.write(bytes);
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

async function startNginx(t, { origin, decide }) {
  const home = directory(t);
  const port = await freePort();
  const config = path.join(home, 'nginx.conf');
  writeFileSync(config, `
daemon off; master_process off; pid ${home}/nginx.pid; error_log ${home}/error.log; events {}
http {
  access_log off;
  client_body_temp_path ${home}/body; proxy_temp_path ${home}/proxy; fastcgi_temp_path ${home}/fastcgi;
  uwsgi_temp_path ${home}/uwsgi; scgi_temp_path ${home}/scgi;
  server {
    listen 127.0.0.1:${port};
    location / {
      auth_request /decide;
      auth_request_set $challenge $upstream_http_www_authenticate;
      auth_request_set $subject $upstream_http_x_itwin_subject;
      auth_request_set $client $upstream_http_x_itwin_client_id;
      add_header WWW-Authenticate $challenge always;
      proxy_set_header X-Itwin-Subject $subject;
      proxy_set_header X-Itwin-Client-Id $client;
      proxy_pass ${origin};
    }
    location = /decide {
      internal;
      proxy_pass ${decide};
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-Proto $scheme;
      proxy_set_header X-Original-Host $host:$server_port;
      proxy_set_header X-Original-URI $request_uri;
    }
  }
}
`);
  const child = spawn('nginx', ['-c', config, '-e', path.join(home, 'error.log')], { stdio: 'inherit' });
  t.after(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
  });
  for (let tries = 0; ; tries += 1) {
    const socket = net.connect(port, '127.0.0.1');
    const up = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (up) return `http://127.0.0.1:${port}`;
    assert.ok(tries < 500 && child.exitCode === null, 'nginx did not start');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('nginx lets only those requests pass that the proxy says yes to', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256', use: 'sig' };
  const server = http.createServer((request, response) => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const value = request.url === '/keys'
      ? { keys: [jwk] }
      : { issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/keys` };
    response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const origin = await startOrigin(t);
  const proxy = await startProxy(t, {
    providers: { idp: { issuer } },
    listeners: [{ bind: '127.0.0.1:0', mode: 'decide', gateway: 'nginx' }],
    routes: [
      { path: '/public/**', admit: 'anyone' },
      { path: '/host', hosts: ['public.test'], admit: 'anyone' },
      { path: '/host', hosts: ['admin.test'], admit: [{ bearer: { audiences: ['api'] } }] },
      { path: '/imodels/**', methods: ['GET', 'PUT'], admit: [{ bearer: { audiences: ['api'], scopes: ['write'] } }] },
    ],
    admin: { bind: '127.0.0.1:0' },
  });
  const nginx = await startNginx(t, { origin: origin.origin, decide: proxy.origin });
  const token = (claims, end = '1h') =>
    new SignJWT({ scope: 'write', client_id: 'webapp', ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .setIssuer(issuer).setAudience('api').setSubject('ann').setExpirationTime(end)
      .sign(privateKey);
  const ask = async (target, { authorization, headers = {}, ...more } = {}) => {
    const response = await fetch(nginx + target, {
      ...more,
      headers: { ...(authorization && { authorization }), ...headers },
    });
    await response.arrayBuffer();
    return response;
  };
  const good = `Bearer ${await token()}`;

  assert.equal((await ask('/public/x')).status, 200);
  assert.equal((await ask('/imodels/1?x=%2F', { authorization: good })).status, 200);
  assert.equal(origin.requests.at(-1).path, '/imodels/1?x=%2F');
  // whom the service is told of is whom the token names, whatever the caller says
  const root = { 'x-itwin-subject': 'root' };
  await ask('/imodels/1', { authorization: good, headers: root });
  assert.equal(origin.requests.at(-1).headers['x-itwin-subject'], 'ann');
  assert.equal(origin.requests.at(-1).headers['x-itwin-client-id'], 'webapp');
  await ask('/public/x', { headers: root });
  assert.equal(origin.requests.at(-1).headers['x-itwin-subject'], undefined);
  const body = { method: 'PUT', body: 'x'.repeat(100_000) };
  assert.equal((await ask('/imodels/1', { authorization: good, ...body })).status, 200);

  const served = origin.requests.length;
  const missing = await ask('/imodels/1');
  assert.equal(missing.status, 401);
  assert.match(missing.headers.get('www-authenticate'), /^Bearer realm=/);
  const late = await ask('/imodels/1', { authorization: `Bearer ${await token({}, '-1h')}` });
  assert.equal(late.status, 401);
  assert.match(late.headers.get('www-authenticate'), /error="invalid_token"/);
  const poor = await ask('/imodels/1', { authorization: `Bearer ${await token({ scope: 'read' })}` });
  assert.equal(poor.status, 403);
  assert.equal((await ask('/imodels/1', { method: 'DELETE', authorization: good })).status, 403);
  assert.equal((await ask('/elsewhere', { authorization: good })).status, 403);
  assert.equal((await ask('/imodels/1?access_token=x')).status, 403);
  // what a caller says of its request, nginx says better
  const forged = { 'x-original-uri': '/public/x', 'x-original-method': 'GET', 'x-forwarded-uri': '/public/x' };
  assert.equal((await ask('/imodels/1', { headers: forged })).status, 401);
  // nginx serves the host of the request line, whatever the Host field says
  const lines = [`GET http://admin.test/host HTTP/1.1`, 'Host: public.test', 'Connection: close', '', ''];
  const told = await raw(nginx, lines.join('\r\n'));
  assert.match(told, /^HTTP\/1\.1 401 /);
  assert.equal(origin.requests.length, served, 'nothing of this reached the service');
});
