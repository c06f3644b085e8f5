// A certified authorization server with its own sign-in pages, and a person with a browser: requests
// that follow redirects and submit the forms that are in the way.
import { generateKeyPairSync } from 'node:crypto';
import http from 'node:http';

import Provider from 'oidc-provider';

export const API = 'https://api.example.com/';
const SCOPE = 'openid profile email offline_access itwin-platform imodels:read';

const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

// It says on every start that its pages are for development.
for (const level of ['info', 'warn']) {
  const say = console[level];
  console[level] = (...message) => String(message[0]).startsWith('oidc-provider ') || say(...message);
}

/** Starts a provider that rotates refresh tokens, and takes the second use of one for theft. */
export async function startPeoplesProvider(t, { redirects, lifetime = 3600, reuse = false } = {}) {
  const server = http.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'native-desk',
        application_type: 'native',
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
        redirect_uris: redirects,
        scope: SCOPE,
      },
    ],
    scopes: ['openid', 'offline_access', 'itwin-platform', 'imodels:read'],
    claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
    conformIdTokenClaims: false,
    jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256', kid: 'test' }] },
    cookies: { keys: ['not a real secret'] },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => API,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          audience: API,
          scope: SCOPE,
          accessTokenTTL: lifetime,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    rotateRefreshToken: !reuse,
    ttl: {
      AccessToken: lifetime, AuthorizationCode: 60, DeviceCode: 60, Grant: 3600, IdToken: 3600, Interaction: 600,
      RefreshToken: 3600, Session: 3600,
    },
    findAccount: (ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `${id} Example`, email: `${id}@example.com` }),
    }),
  });
  const running = { issuer, requests: [], paths: [], refreshed: (result) => running.requests.filter(
    (one) => one.grant === 'refresh_token' && one.result === result) };
  const note = (result) => (ctx, error) => {
    const { grant_type: grant, scope, refresh_token: token } = ctx.oidc?.params ?? {};
    running.requests.push({ result, path: ctx.path, grant, scope, token, error: error?.error });
    if (ctx.body?.refresh_token) running.newest = ctx.body.refresh_token;
  };
  provider.on('grant.success', note('success'));
  provider.on('grant.error', note('error'));
  provider.on('pushed_authorization_request.success', note('success'));
  provider.on('authorization.success', note('success'));
  provider.on('server_error', (ctx, error) => console.error(error));
  running.revokeEverything = async () => (await provider.RefreshToken.find(running.newest))?.destroy();
  server.on('request', (request) => running.paths.push(request.url));
  server.on('request', provider.callback());
  running.down = () => new Promise((resolve) => {
    server.closeAllConnections();
    server.close(resolve);
  });
  t.after(() => server.listening && running.down());
  return running;
}

/** A browser without a screen: cookies, redirects, forms. */
export class Person {
  #cookies = new Map();
  visited = [];

  constructor(name = 'ann') {
    this.name = name;
  }

  async #request(url, options = {}) {
    const { host } = new URL(url);
    const jar = this.#cookies.get(host) ?? new Map();
    this.#cookies.set(host, jar);
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(url, { redirect: 'manual', ...options, headers: { ...options.headers, cookie } });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) jar.set(name, value);
      else jar.delete(name);
    }
    this.visited.push(url);
    return answer;
  }

  /**
   * Opens `url` and goes on until a page has no form. `says` answers by what a form is for: 'cancel'
   * declines. `stopAt` ends before that address is asked for.
   */
  async signIn(url, { says = 'yes', stopAt } = {}) {
    let [at, options] = [url, {}];
    let declined = false;
    for (let step = 0; step < 20; step += 1) {
      if (stopAt && at.startsWith(stopAt)) return { address: at };
      const answer = await this.#request(at, options);
      if (answer.status >= 300 && answer.status < 400) {
        [at, options] = [new URL(answer.headers.get('location'), at).href, {}];
        continue;
      }
      const page = await answer.text();
      const form = declined ? undefined : this.#form(page, at, says);
      declined ||= form?.[0].endsWith('/abort') ?? false;
      if (!form) return { address: at, status: answer.status, page, headers: answer.headers };
      [at, options] = form;
    }
    throw new Error(`no end: ${this.visited.join('\n')}`);
  }

  #form(page, at, says) {
    const abort = /href="([^"]*\/abort)"/.exec(page);
    if (says === 'cancel' && abort) return [new URL(abort[1], at).href, {}];
    const form = /<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/.exec(page);
    if (!form) return undefined;
    const fields = new URLSearchParams();
    for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
      const attribute = (name) => new RegExp(`${name}="([^"]*)"`).exec(input)?.[1];
      const name = attribute('name');
      if (!name) continue;
      const typed = { login: this.name, password: 'password', user_code: this.code }[name];
      fields.set(name, attribute('value') ?? typed ?? '');
    }
    return [new URL(form[1], at).href, { method: 'POST', body: fields }];
  }
}
