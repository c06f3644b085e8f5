// Configurations as short as a test's sentence.
import { SCOPES } from './provider.js';

/** The proxy in front of one upstream, with one credential of one provider. */
export function inject({ provider, origin, credential, route = {}, listeners, ca, ...rest }) {
  return {
    workers: 2,
    providers: { idp: { issuer: provider.issuer, ...(ca && { tls: { extra_ca: ca } }) } },
    credentials: {
      agent: { provider: 'idp', scopes: SCOPES.slice(0, 1), ...credential },
    },
    listeners: listeners ?? [{ bind: '127.0.0.1:0' }],
    routes: [{ inject: 'agent', upstream: origin, ...route }],
    ...rest,
  };
}

/** A service application as most tests need it: the provider's side and the proxy's. */
export const SERVICE = {
  client: { client_id: 'service-a', client_secret: 'not a real secret' },
  credential: { client_id: 'service-a', client_secret: 'not a real secret' },
};

/** The claims of a JWT. */
export const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));

/** The token of an `Authorization: Bearer …`. */
export const bearer = (authorization) => /^Bearer (\S+)$/.exec(authorization ?? '')?.[1];
