// People sign in at the sandbox through a certified client library: the mock is right by another's opinion, and
// what it can be told to get wrong is wrong by it, too.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as oauth from 'oauth4webapi';

import { startSandbox } from './support/program.js';

const INSECURE = { [oauth.allowInsecureRequests]: true };
const CALLBACK = 'http://127.0.0.1:54321/callback';
const WEB_CALLBACK = 'http://localhost:8080/.itwin-auth/callback';
const SCOPE = 'openid profile email offline_access itwin-platform';
const DESK = { client_id: 'native-sandbox' };
const WEB = { client_id: 'webapp-sandbox' };
const SECRET = oauth.ClientSecretPost('sandbox-secret');

/** A browser without a screen: keeps cookies, sends forms, and does not follow the way back to the client. */
class Visitor {
  #cookies = new Map();

  async #fetch(url, options = {}) {
    const cookie = [...this.#cookies].map((pair) => pair.join('=')).join('; ');
    const answer = await fetch(url, { ...options, redirect: 'manual', headers: { cookie } });
    for (const set of answer.headers.getSetCookie()) {
      const [name, value] = set.split(';')[0].split('=');
      this.#cookies.set(name, value);
    }
    return { location: answer.headers.get('location'), url, html: await answer.text() };
  }

  /** Opens `url`, signs in as `mail`, allows; returns where the browser is sent in the end. */
  async open(url, mail = 'ada@sandbox.example') {
    let page = await this.#fetch(url);
    for (let pages = 0; !page.location && pages < 5; pages += 1) {
      const action = /<form method="post" action="([^"]+)"/.exec(page.html)?.[1];
      if (!action || action.startsWith('http')) return page;
      const code = /name="user_code"[^>]*value="([^"]*)"/.exec(page.html)?.[1];
      const fields = { login: mail, password: 'sandbox-password', decision: 'allow', user_code: code ?? '' };
      page = await this.#fetch(new URL(action, page.url), { method: 'POST', body: new URLSearchParams(fields) });
    }
    return page;
  }
}

async function provider(t, ...args) {
  const sandbox = await startSandbox(t, args);
  const issuer = new URL(sandbox.issuer);
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, INSECURE));
  const fault = async (order) => {
    const answer = await fetch(`${sandbox.issuer}/__faults`, { method: 'POST', body: JSON.stringify(order) });
    assert.equal(answer.status, 204);
  };
  return { sandbox, as, fault, visitor: new Visitor() };
}

/** One sign-in from beginning to end, all of it checked by the library. */
async function signIn({ as, visitor }, { client = DESK, auth = oauth.None(), callback = CALLBACK, push = false } = {}) {
  const [verifier, state, nonce] = [
    oauth.generateRandomCodeVerifier(),
    oauth.generateRandomState(),
    oauth.generateRandomNonce(),
  ];
  let parameters = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: callback,
    response_type: 'code',
    scope: SCOPE,
    state,
    nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  if (push) {
    const answer = await oauth.pushedAuthorizationRequest(as, client, auth, parameters, INSECURE);
    const { request_uri } = await oauth.processPushedAuthorizationResponse(as, client, answer);
    parameters = new URLSearchParams({ client_id: client.client_id, request_uri });
  }
  const { location } = await visitor.open(`${as.authorization_endpoint}?${parameters}`);
  const back = oauth.validateAuthResponse(as, client, new URL(location), state);
  const answer = await oauth.authorizationCodeGrantRequest(as, client, auth, back, callback, verifier, INSECURE);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer, {
    expectedNonce: nonce,
    requireIdToken: true,
  });
  await oauth.validateApplicationLevelSignature(as, answer, INSECURE);
  return { tokens, claims: oauth.getValidatedIdTokenClaims(tokens) };
}

for (const algorithm of ['rs256', 'es256']) {
  test(`people sign in with a code and tokens are renewed and revoked (${algorithm})`, async (t) => {
    const world = await provider(t, '--algorithm', algorithm);
    const { as } = world;
    const { tokens, claims } = await signIn(world);
    assert.equal(claims.email, 'ada@sandbox.example');
    const said = await oauth.userInfoRequest(as, DESK, tokens.access_token, INSECURE);
    assert.equal((await oauth.processUserInfoResponse(as, DESK, claims.sub, said)).name, 'Ada Byron');
    const refresh = (token) => oauth.refreshTokenGrantRequest(as, DESK, oauth.None(), token, INSECURE);
    const renewed = await oauth.processRefreshTokenResponse(as, DESK, await refresh(tokens.refresh_token));
    assert.notEqual(renewed.refresh_token, tokens.refresh_token);
    assert.equal(oauth.getValidatedIdTokenClaims(renewed).sub, claims.sub);
    const revoked = await oauth.revocationRequest(as, DESK, oauth.None(), renewed.refresh_token, INSECURE);
    await oauth.processRevocationResponse(revoked);
    await assert.rejects(
      oauth.processRefreshTokenResponse(as, DESK, await refresh(renewed.refresh_token)),
      ({ error }) => error === 'invalid_grant',
    );
  });
}

test('a web application with a secret pushes its request', async (t) => {
  const world = await provider(t);
  const { claims } = await signIn(world, { client: WEB, auth: SECRET, callback: WEB_CALLBACK, push: true });
  assert.equal(claims.aud, 'webapp-sandbox');
});

test('a program without a browser is let in by a code that a person enters', async (t) => {
  const { as, visitor } = await provider(t);
  const asked = await oauth.deviceAuthorizationRequest(as, DESK, oauth.None(), { scope: SCOPE }, INSECURE);
  const device = await oauth.processDeviceAuthorizationResponse(as, DESK, asked);
  const poll = async () => {
    await new Promise((resolve) => setTimeout(resolve, device.interval * 1000));
    const answer = await oauth.deviceCodeGrantRequest(as, DESK, oauth.None(), device.device_code, INSECURE);
    return oauth.processDeviceCodeResponse(as, DESK, answer);
  };
  await assert.rejects(poll(), ({ error }) => error === 'authorization_pending');
  const done = await visitor.open(device.verification_uri_complete);
  assert.match(done.html, /The device is connected/);
  assert.ok((await poll()).refresh_token);
});

test('tokens of the old flow are good', async (t) => {
  const { as, visitor } = await provider(t);
  const client = { client_id: 'legacy-sandbox' };
  const [nonce, state] = ['n-1', 's-1'];
  const parameters = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri: WEB_CALLBACK,
    response_type: 'id_token token',
    response_mode: 'form_post',
    scope: 'openid itwin-platform',
    nonce,
    state,
  });
  const { html } = await visitor.open(`${as.authorization_endpoint}?${parameters}`);
  const fields = [...html.matchAll(/type="hidden" name="(\w+)" value="([^"]*)"/g)].map(([, name, value]) => [name, value]);
  const form = new URLSearchParams(fields);
  assert.equal(form.get('iss'), as.issuer);
  const { createRemoteJWKSet, jwtVerify } = await import('jose');
  const keys = createRemoteJWKSet(new URL(as.jwks_uri));
  const { payload } = await jwtVerify(form.get('id_token'), keys, { issuer: as.issuer, audience: client.client_id });
  const hash = await crypto.subtle.digest('SHA-256', Buffer.from(form.get('access_token')));
  assert.equal(payload.at_hash, Buffer.from(hash).subarray(0, 16).toString('base64url'));
  assert.equal(payload.nonce, nonce);
});

// What the library does not look at (`at_hash` of the code flow, times of sign-in) is not in here.
const REFUSED = {
  wrong_state: {},
  missing_state: {},
  missing_iss: {},
  foreign_iss: {},
  duplicate: { name: 'code' },
  html_in_error: {},
  refuse: { error: 'temporarily_unavailable' },
  replayed_code: {},
  wrong_nonce: {},
  missing_nonce: {},
  missing_subject: {},
  wrong_issuer: {},
  other_client: {},
  two_audiences: {},
  expired: {},
  from_the_future: {},
  foreign_key: {},
  alg_none: {},
  hs256: {},
  logout_token: {},
  access_token: {},
};

test('what the sandbox gets wrong is refused', async (t) => {
  const world = await provider(t);
  const web = { client: WEB, auth: SECRET, callback: WEB_CALLBACK };
  await signIn(world, web);
  for (const [kind, more] of Object.entries(REFUSED)) {
    await t.test(kind, async () => {
      await world.fault({ sign_in: { kind, ...more, times: { next: 1 } } });
      await assert.rejects(signIn(world, web));
      await signIn(world, web);
    });
  }
  await t.test('push_refused', async () => {
    await world.fault({ sign_in: { kind: 'push_refused', times: { next: 1 } } });
    await assert.rejects(signIn(world, { ...web, push: true }));
  });
  await t.test('redirect at the token endpoint', async () => {
    const redirect = { kind: 'redirect', status: 307, to: `${world.as.issuer}/elsewhere`, at: 'token' };
    await world.fault({ idp: { ...redirect, times: { next: 1 } } });
    await assert.rejects(signIn(world, web));
  });
});
