// A web application as its operator sets it up: a registration at the provider, a front end, an API, and
// the proxy in front of both, reached at an address that stays while the proxy is replaced.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { startProxy } from '../../clients/support/program.js';
import { SCOPES, startProvider } from './provider.js';
import { startDoor } from './server.js';
import { startApi, startFront } from './upstream.js';

export const PREFIX = '/.itwin-auth';
const SECRET = 'not a real secret, but a long one';

/**
 * Starts all of it.
 *   session      keys of `sessions.web`, beside what every one needs
 *   credential   keys of `credentials.web`
 *   client       the registration (RFC 7591 names)
 *   lifetime     of access tokens in seconds
 *   framed       the provider's session is known in frames
 *   inject       keys of the API's `inject`
 *   routes       further ones, before the API's and the front end's; a function gets the upstreams
 *   tls          { certificate, key } files: the application is at https, by `name`
 */
export async function startApplication(t, options = {}) {
  const {
    session, credential, credentials, client, clients = [], lifetime, framed, inject, routes = [], tls, name = 'localhost', ...rest
  } = options;
  const door = await startDoor(t);
  const url = `${tls ? 'https' : 'http'}://${name}:${door.port}`;
  const provider = await startProvider(t, {
    lifetime,
    framed,
    clients: [
      {
        client_id: 'webapp-a',
        client_secret: SECRET,
        grant_types: ['authorization_code', 'refresh_token'],
        redirect_uris: [`${url}${PREFIX}/callback`],
        post_logout_redirect_uris: [`${url}${PREFIX}/signed-out`],
        // plain HTTP: it comes from this machine
        ...(!tls && {
          backchannel_logout_uri: `http://127.0.0.1:${door.port}${PREFIX}/backchannel-logout`,
          backchannel_logout_session_required: true,
        }),
        ...client,
      },
      ...clients.map((each) => (typeof each === 'function' ? each(url) : each)),
    ],
  });
  const [api, front] = [await startApi(t), await startFront(t)];
  const keys = makeKey(t);
  const config = {
    workers: 2,
    providers: { idp: { issuer: provider.issuer } },
    credentials: {
      web: {
        provider: 'idp',
        grant: 'authorization_code',
        client_id: 'webapp-a',
        client_secret: SECRET,
        scopes: ['openid', 'profile', 'email', 'offline_access', ...SCOPES.slice(0, 1)],
        ...credential,
      },
      ...credentials,
    },
    // without `consent` the provider gives nobody a refresh token (OIDC core section 11)
    sessions: {
      web: { credential: 'web', public_url: url, key_file: keys, parameters: { prompt: 'consent' }, ...session },
    },
    listeners: [{ bind: '127.0.0.1:0', ...(tls && { tls }) }],
    routes: [
      ...(typeof routes === 'function' ? routes({ api: api.origin, front: front.origin, provider: provider.issuer }) : routes),
      { path: '/imodels/**', admit: { session: 'web' }, inject: { credential: 'web', min_remaining: '1s', ...inject }, upstream: api.origin },
      { path: '/app/**', admit: { session: 'web' }, upstream: front.origin },
    ],
    ...rest,
  };
  const application = {
    url,
    name,
    provider,
    api,
    front,
    config,
    proxy: undefined,
    /** Ends the proxy as a service manager does, and starts it anew with the same files. */
    async restart() {
      door.shut();
      await application.proxy?.stop();
      application.proxy = await startProxy(t, config);
      door.behind = new URL(application.proxy.origin).host;
    },
  };
  /** The network to the proxy is gone while this is done. */
  application.without = async (something) => {
    const { behind } = door;
    door.shut();
    await something();
    door.behind = behind;
  };
  await application.restart();
  return application;
}

/** A key for sealing cookies, as the documentation says to make one. */
export function makeKey(t) {
  const home = mkdtempSync(path.join(tmpdir(), 'itwin-auth-proxy-browser-'));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  const file = path.join(home, 'cookie-key');
  writeFileSync(file, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
  return file;
}
