// A certified authorization server (npm oidc-provider) with the sign-in and consent pages it comes with,
// on a free loopback port: authorization code, implicit, pushed requests, rotated refresh tokens, logout
// by the browser and by back channel. It remembers what it issued, so that a test can look for it.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import http from 'node:http';

import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider from 'oidc-provider';

import { listen } from './server.js';

export const API = 'https://api.example.com/';
export const SCOPES = ['itwin-platform', 'imodels:read'];

/** Makes the tokens of one person 4 KB together, as Bentley's are. */
const ENTITLEMENTS = Array.from({ length: 55 }, () => randomBytes(16).toString('hex'));

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const signing = { ...pair.privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' };
const keys = createLocalJWKSet({
  keys: [{ ...pair.publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'test' }],
});

// It says on every start that its pages are for development.
for (const level of ['info', 'warn']) {
  const say = console[level];
  console[level] = (...message) => String(message[0]).startsWith('oidc-provider ') || say(...message);
}

/**
 * Starts a provider.
 *   clients    client metadata (RFC 7591 names)
 *   lifetime   of access tokens in seconds
 *   framed     its session is known in frames of other sites' pages, as large providers' are
 */
export async function startProvider(t, { clients, lifetime = 3600, framed = false }) {
  const server = http.createServer();
  await listen(t, server);
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: clients.map((client) => ({ scope: `openid profile email offline_access ${SCOPES.join(' ')}`, ...client })),
    scopes: ['openid', 'offline_access', ...SCOPES],
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email'] },
    // old registrations of web sites expect them in the ID token
    conformIdTokenClaims: false,
    responseTypes: ['code', 'id_token', 'id_token token', 'none'],
    jwks: { keys: [signing] },
    cookies: { keys: ['not a real secret'] },
    clientBasedCORS: () => true,
    // the back channel is on loopback, from which its own client keeps away
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => API,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          audience: API,
          scope: SCOPES.join(' '),
          accessTokenTTL: lifetime,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ entitlement: ENTITLEMENTS }),
    rotateRefreshToken: true,
    ttl: {
      AccessToken: lifetime,
      AuthorizationCode: 60,
      ClientCredentials: lifetime,
      DeviceCode: 60,
      Grant: 3600,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: 3600,
      Session: 3600,
    },
    findAccount: (ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `${id} Example`, preferred_username: id, email: `${id}@example.com` }),
    }),
  });

  const running = {
    issuer,
    provider,
    /** While set, it answers everything with 503. */
    away: false,
    /** What arrived: `{ endpoint, parameters, result, error }`. */
    requests: [],
    /** Every token that was handed out: `{ kind, token, at }`. */
    issued: [],
    /** Back-channel logouts: the client and whether it took it. */
    told: [],
    /** Requests for tokens by this grant. */
    tokens: (grant) => running.requests.filter((request) => request.endpoint === 'token' && request.grant === grant),
    async revokeEverything() {
      for (const { kind, token } of running.issued) {
        if (kind === 'refresh_token') await (await provider.RefreshToken.find(token))?.destroy();
      }
    },
  };
  const note = (endpoint, result) => (ctx, error) => {
    const parameters = { ...ctx.oidc?.params };
    running.requests.push({ endpoint, result, grant: parameters.grant_type, parameters, error: error?.error });
    for (const kind of ['access_token', 'refresh_token', 'id_token']) {
      if (ctx.body?.[kind]) running.issued.push({ kind, token: ctx.body[kind], at: Date.now() });
    }
  };
  provider.on('grant.success', note('token', 'success'));
  provider.on('grant.error', note('token', 'error'));
  provider.on('authorization.error', note('authorization', 'error'));
  provider.on('authorization.success', (ctx, parameters) => {
    note('authorization', 'success')(ctx);
    for (const kind of ['access_token', 'id_token']) {
      if (parameters?.[kind]) running.issued.push({ kind, token: parameters[kind], at: Date.now() });
    }
  });
  provider.on('pushed_authorization_request.success', note('pushed', 'success'));
  provider.on('end_session.success', note('end_session', 'success'));
  provider.on('end_session.error', note('end_session', 'error'));
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'revocation') note('revocation', ctx.status === 200 ? 'success' : 'error')(ctx);
  });
  provider.on('backchannel.success', (ctx, client) => running.told.push({ client: client.clientId, taken: true }));
  provider.on('backchannel.error', (ctx, error, client) =>
    running.told.push({ client: client.clientId, taken: false, error: error.message }));
  provider.on('server_error', (ctx, error) => console.error(error));
  const serve = provider.callback();
  server.on('request', (request, response) => {
    if (framed) allowInFrames(response);
    if (!running.away) return serve(request, response);
    response.writeHead(503);
    return response.end();
  });
  return running;
}

/** Its cookies go with requests of other sites' pages; browsers want `Secure` for that. */
function allowInFrames(response) {
  const setHeader = response.setHeader.bind(response);
  response.setHeader = (name, value) => setHeader(
    name,
    name.toLowerCase() === 'set-cookie'
      ? [value].flat().map((cookie) => `${cookie.replace(/; (samesite=\w+|secure)/gi, '')}; Secure; SameSite=None`)
      : value,
  );
}

/** The claims of an access token that is good at this moment; nothing if it is not. */
export async function check(token) {
  try {
    // `exp` is whole seconds from a moment that was cut to whole seconds
    return (await jwtVerify(token ?? '', keys, { audience: API, clockTolerance: 1 })).payload;
  } catch {
    return undefined;
  }
}
