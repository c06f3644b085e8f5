// A certified authorization server (npm oidc-provider) on a free loopback port.
//
// Access tokens are JWTs (RFC 9068) for the one API it knows, or opaque ones; lifetimes are real and
// short where a test asks for that. The server can be taken down and put back on the same port, and
// it remembers what arrived at its token endpoint.
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';

import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

export const API = 'https://api.example.com/';
export const SCOPES = ['itwin-platform', 'imodels:read', 'imodels:modify'];

const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

/** What every test client is unless it says otherwise: a service that only asks for tokens. */
function serviceClient(client) {
  return {
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    scope: SCOPES.join(' '),
    ...client,
  };
}

/**
 * Starts a provider.
 *   clients     client metadata (RFC 7591 names)
 *   lifetime    of access tokens in seconds
 *   format      of access tokens: 'jwt' | 'opaque'
 *   users       { name: password } for the password grant (RFC 6749 section 4.3)
 *   rotate      refresh tokens are rotated
 *   apis        client metadata of APIs, which may ask about tokens (RFC 7662)
 *   tls         { key, cert, ca } PEM; https with client certificates asked for
 */
export async function startProvider(t, options) {
  const { clients, apis = [], lifetime = 3600, format = 'jwt', users = {}, rotate = true, tls } = options;
  const server = tls
    ? https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false })
    : http.createServer();
  await listen(server, 0);
  const { port } = server.address();
  const issuer = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;

  const api = {
    audience: API,
    scope: SCOPES.join(' '),
    accessTokenTTL: lifetime,
    accessTokenFormat: format,
    jwt: { sign: { alg: 'RS256' } },
  };
  const provider = new Provider(issuer, {
    clients: [...clients.map(serviceClient), ...apis.map((api) => serviceClient({ grant_types: [], ...api }))],
    scopes: ['openid', 'offline_access', ...SCOPES],
    jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256', kid: 'test' }] },
    clientAuthMethods: [
      'none',
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      'tls_client_auth',
      'self_signed_tls_client_auth',
    ],
    enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: {
        enabled: true,
        allowedPolicy: (ctx, client) => apis.some((api) => api.client_id === client.clientId),
      },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => API,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({ ...api, audience: resource }),
      },
      mTLS: {
        enabled: true,
        selfSignedTlsClientAuth: true,
        tlsClientAuth: true,
        getCertificate: (ctx) => {
          const peer = ctx.socket.getPeerCertificate?.(false);
          return peer?.raw && new X509Certificate(peer.raw);
        },
        certificateAuthorized: (ctx) => ctx.socket.authorized,
        certificateSubjectMatches: (ctx, property, expected) => {
          const peer = ctx.socket.getPeerCertificate(false);
          return property === 'tls_client_auth_san_dns'
            ? (peer.subjectaltname ?? '').split(', ').includes(`DNS:${expected}`)
            : false;
        },
      },
    },
    rotateRefreshToken: rotate,
    issueRefreshToken: () => true,
    ttl: {
      AccessToken: lifetime,
      ClientCredentials: lifetime,
      RefreshToken: 3600,
      Grant: 3600,
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  });
  registerPasswordGrant(provider, users, api);
  registerTokenExchange(provider, api);

  const tokenRequests = [];
  const note = (result) => (ctx, error) => {
    tokenRequests.push({
      result,
      grant: ctx.oidc?.params?.grant_type,
      client: ctx.oidc?.client?.clientId,
      scope: ctx.oidc?.params?.scope,
      resource: ctx.oidc?.params?.resource,
      scheme: ctx.get('authorization').split(' ')[0],
      body: { ...ctx.oidc?.body },
      error: error?.error,
      detail: error?.error_detail,
    });
  };
  provider.on('grant.success', note('success'));
  provider.on('grant.error', note('error'));

  const sockets = new Set();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const questions = [];
  server.on('request', (request) => {
    if (request.url === '/token/introspection') questions.push(request.headers);
  });
  server.on('request', provider.callback());

  const running = {
    issuer,
    provider,
    tokenRequests,
    /** What arrived at its introspection endpoint. */
    questions,
    /** Access tokens that were handed out. */
    get issued() {
      return tokenRequests.filter((request) => request.result === 'success').length;
    },
    /** The machine is gone: connections are cut, new ones refused. */
    async down() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
    /** Back on the same port, with its memory. */
    up: () => listen(server, port),
    refreshToken: (clientId, account = 'someone') => mintRefreshToken(provider, clientId, account),
  };
  t.after(async () => {
    if (server.listening) await running.down();
  });
  return running;
}

/** A refresh token as a person who signed in elsewhere would have brought it. */
async function mintRefreshToken(provider, clientId, accountId) {
  const client = await provider.Client.find(clientId);
  const grant = new provider.Grant({ accountId, clientId });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(API, SCOPES.join(' '));
  const grantId = await grant.save();
  const token = new provider.RefreshToken({
    accountId,
    client,
    grantId,
    gty: 'authorization_code',
    scope: `openid offline_access ${SCOPES.join(' ')}`,
    resource: API,
    authTime: Math.floor(Date.now() / 1000),
    claims: {},
  });
  return token.save();
}

/** RFC 6749 section 4.3, which the certified profiles left out. */
function registerPasswordGrant(provider, users, api) {
  async function password(ctx) {
    const { client, params } = ctx.oidc;
    if (!Object.hasOwn(users, params.username) || users[params.username] !== params.password) {
      throw new errors.InvalidGrant('unknown user or wrong password');
    }
    const grant = new provider.Grant({ accountId: params.username, clientId: client.clientId });
    const token = new provider.AccessToken({
      accountId: params.username,
      client,
      gty: 'password',
      scope: params.scope,
      grantId: await grant.save(),
    });
    token.resourceServer = new provider.ResourceServer(API, api);
    ctx.oidc.entity('AccessToken', token);
    ctx.body = {
      access_token: await token.save(),
      token_type: token.tokenType,
      expires_in: token.expiration,
      scope: token.scope,
    };
  }
  provider.registerGrantType('password', password, ['username', 'password', 'scope', 'resource']);
}

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

/** RFC 8693: a JWT of its own for the API, for another that is the same user's, for the asked resource. */
function registerTokenExchange(provider, api) {
  const { kty, n, e } = signing;
  const keys = createLocalJWKSet({ keys: [{ kty, n, e, alg: 'RS256', kid: 'test' }] });
  async function exchange(ctx) {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('subject_token_type');
    if (params.requested_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('requested_token_type');
    const shown = await jwtVerify(params.subject_token, keys, { issuer: provider.issuer, audience: API }).catch(
      () => undefined,
    );
    if (!shown) throw new errors.InvalidRequest('the subject token is not good');
    if (shown.payload.scope.split(' ').includes('imodels:modify')) throw new errors.InvalidTarget();
    const grant = new provider.Grant({ accountId: shown.payload.sub, clientId: client.clientId });
    const token = new provider.AccessToken({
      accountId: shown.payload.sub,
      client,
      gty: 'token_exchange',
      scope: params.scope,
      grantId: await grant.save(),
    });
    token.resourceServer = new provider.ResourceServer(params.resource, { ...api, audience: params.resource });
    ctx.oidc.entity('AccessToken', token);
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: ACCESS_TOKEN,
      token_type: token.tokenType,
      expires_in: token.expiration,
      scope: token.scope,
    };
  }
  provider.registerGrantType(TOKEN_EXCHANGE, exchange, [
    'subject_token',
    'subject_token_type',
    'requested_token_type',
    'resource',
    'scope',
  ]);
}

function listen(server, port) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
}
