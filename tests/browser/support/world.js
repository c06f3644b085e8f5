// A provider, a service and the proxy between them, each of which a test can make ill and well again.
import { generateKeyPairSync } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

import { exportJWK, SignJWT } from 'jose';

import { command, directory, startProxy, until } from '../../clients/support/program.js';
import { listen, startDoor } from './server.js';

const AUDIENCE = 'a-service';
/** Of tokens, in seconds: short, so that what is wrong with the provider is noticed soon. */
const LIFETIME = 8;

/** `away`, `secret` (the one it takes) and `ahead` (of its clock, in milliseconds) may be changed. */
async function startProvider(t) {
  const provider = { away: false, secret: 'the first secret', ahead: 0, keys: [] };
  const server = http.createServer(async (request, response) => {
    const say = (status, value) => {
      response.writeHead(status, {
        'content-type': 'application/json',
        date: new Date(Date.now() + provider.ahead).toUTCString(),
      });
      response.end(JSON.stringify(value));
    };
    let body = '';
    for await (const chunk of request) body += chunk;
    if (provider.away) return say(503, { error: 'temporarily_unavailable' });
    if (request.url === '/keys') return say(200, { keys: provider.keys.map(({ jwk }) => jwk) });
    if (request.url === '/token') {
      const basic = Buffer.from((request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString();
      const shown = new URLSearchParams(body).get('client_secret') ?? decodeURIComponent(basic.split(':')[1]?.replaceAll('+', ' ') ?? '');
      if (shown !== provider.secret) return say(401, { error: 'invalid_client' });
      return say(200, { access_token: `opaque-${Date.now()}`, token_type: 'Bearer', expires_in: LIFETIME });
    }
    return say(200, {
      issuer: provider.issuer,
      token_endpoint: `${provider.issuer}/token`,
      jwks_uri: `${provider.issuer}/keys`,
      grant_types_supported: ['client_credentials'],
    });
  });
  await listen(t, server);
  provider.issuer = `http://127.0.0.1:${server.address().port}`;
  /** Signs with another key from now on, and forgets the one before. */
  provider.rotate = async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const kid = `key-${(provider.rotations = (provider.rotations ?? 0) + 1)}`;
    provider.keys = [{ privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } }];
  };
  await provider.rotate();
  /** A token that a caller shows. */
  provider.token = () => {
    const [{ privateKey, jwk }] = provider.keys;
    return new SignJWT({ client_id: 'a-caller' })
      .setProtectedHeader({ alg: 'ES256', kid: jwk.kid, typ: 'at+jwt' })
      .setIssuer(provider.issuer)
      .setAudience(AUDIENCE)
      .setSubject('a-caller')
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(privateKey);
  };
  return provider;
}

/** Everything; `telemetry` goes into the configuration. */
export async function startWorld(t, { telemetry } = {}) {
  const home = directory(t);
  const provider = await startProvider(t);
  const service = http.createServer((request, response) => {
    request.resume();
    response.end('{}');
  });
  await listen(t, service);
  const door = await startDoor(t);
  door.behind = `127.0.0.1:${service.address().port}`;
  const secret = path.join(home, 'secret');
  // as secrets are delivered: whole, by renaming
  const replace = (file, text) => {
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  };
  replace(secret, provider.secret);
  const upstream = `http://127.0.0.1:${door.port}`;
  const config = (more = []) => ({
    providers: { idp: { issuer: provider.issuer } },
    credentials: {
      agent: {
        provider: 'idp', grant: 'client_credentials', client_id: 'a-client', client_secret_file: secret, scopes: ['things'],
      },
    },
    admin: { bind: '127.0.0.1:0', socket: path.join(home, 'admin.sock') },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      { name: 'things', path: '/things/**', inject: { credential: 'agent', min_remaining: '1s' }, upstream },
      { name: 'callers', path: '/callers/**', admit: { bearer: { provider: 'idp', audiences: [AUDIENCE] } }, upstream },
      ...more,
    ],
    ...(telemetry && { telemetry }),
  });
  const proxy = await startProxy(t, config());
  const world = {
    provider,
    proxy,
    door,
    behind: door.behind,
    upstream,
    /** Writes another secret where the proxy reads it. */
    writeSecret: (text) => replace(secret, text),
    /** Writes another configuration, with these routes as well, or any text. */
    configure(more) {
      const text = typeof more === 'string' ? more : JSON.stringify(config(more), null, 2);
      replace(proxy.file, text);
    },
    /** One call with the credential, one with a caller's token; their statuses. */
    async call() {
      const things = fetch(`${proxy.origin}/things/1`);
      const callers = fetch(`${proxy.origin}/callers/1`, { headers: { authorization: `Bearer ${await provider.token()}` } });
      return Promise.all([things, callers].map(async (answer) => (await answer).status));
    },
    async doctor() {
      const { stdout } = await command(['doctor', '--json', '--config', proxy.file, '--admin', new URL(proxy.admin).host]);
      return JSON.parse(stdout);
    },
  };
  await until(async () => (await world.call()).every((status) => status === 200));
  return world;
}

