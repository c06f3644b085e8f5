// An independent JOSE library as the judge of our verdicts: every token of a large table goes through
// the running program and through npm `jose`. What we take it takes, but for one other name of an
// algorithm; where it takes more, the table says why we do not.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createLocalJWKSet, errors, jwtVerify } from 'jose';

import { startIssuer } from './support/issuer.js';
import { startOrigin } from './support/origin.js';
import { startProxy } from './support/program.js';
import { API, SCOPES, startProvider } from './support/provider.js';
import { ALGORITHMS, AUDIENCE, ONE_TEXT, OTHER_NAME, REFUSED, SCOPE, SKEW, TAKEN, tokens } from './support/tokens.js';

const SECOND = 'https://second.example';

/** What jose says: the reason of its refusal, or nothing. */
async function refusedByJose(token, keys, options) {
  try {
    await jwtVerify(token, keys, options).catch(async (error) => {
      if (error?.code !== 'ERR_JWKS_MULTIPLE_MATCHING_KEYS') throw error;
      // its documentation: each is tried
      for await (const key of error) {
        try {
          return await jwtVerify(token, key, options);
        } catch (inner) {
          if (!(inner instanceof errors.JWSSignatureVerificationFailed)) throw inner;
        }
      }
      throw new errors.JWSSignatureVerificationFailed();
    });
    return undefined;
  } catch (error) {
    return error.code ?? error.message;
  }
}

test('what we take jose takes, and each token that only we refuse has its reason', async (t) => {
  const issuer = await startIssuer(t);
  const table = tokens({ issuer: issuer.issuer, second: SECOND });
  issuer.jwks = table.jwks;
  const origin = await startOrigin(t, {
    answer(_, response) {
      response.end();
      return true;
    },
  });
  const proxy = await startProxy(t, {
    workers: 1,
    providers: { ids: { issuer: issuer.issuer, also: [SECOND] } },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      {
        admit: [{ bearer: { provider: 'ids', audiences: [AUDIENCE], scopes: [SCOPE] } }],
        upstream: origin.origin,
      },
    ],
  });
  const keys = createLocalJWKSet(table.jwks);
  const options = {
    issuer: [issuer.issuer, SECOND].flatMap((name) => [name, `${name}/`]),
    audience: AUDIENCE,
    algorithms: [...ALGORITHMS, 'Ed25519'],
    clockTolerance: SKEW,
    requiredClaims: ['exp'],
  };

  const begun = Date.now();
  const wrong = [];
  const counted = { taken: 0, refused: 0, stricter: 0 };
  const names = new Set();
  for (const { name, expected, make } of table.cases) {
    assert.ok(!names.has(name), `twice in the table: ${name}`);
    names.add(name);
    const token = make(Math.floor(Date.now() / 1000));
    const answer = await fetch(proxy.origin, { headers: { authorization: `Bearer ${token}` } });
    const body = await answer.text();
    const challenge = answer.headers.get('www-authenticate') ?? '';
    const says = `${answer.status} ${challenge}`;
    const jose = await refusedByJose(token, keys, options);
    const taken = answer.status === 200;
    if (taken) {
      // and once more, from memory
      const again = await fetch(proxy.origin, { headers: { authorization: `Bearer ${token}` } });
      await again.text();
      if (again.status !== 200) wrong.push(`${name}: taken once, then ${again.status}`);
    }
    const fault = (what) => wrong.push(`${name}: ${what}; we ${says}, jose ${jose ?? 'takes it'}`);
    if (!taken && (![401, 403].includes(answer.status) || !challenge.startsWith('Bearer '))) fault('no refusal');
    if (body.includes(token) || challenge.includes(token)) fault('the token is in the answer');
    if (taken && jose && expected !== OTHER_NAME) fault('taken by us, refused by jose');
    if (expected === TAKEN && (!taken || jose)) fault('to be taken by both');
    if (expected === REFUSED && (taken || !jose)) fault('to be refused by both');
    if (expected === OTHER_NAME) {
      if (!taken || !jose) fault('to be taken by us alone');
    } else if (expected !== TAKEN && expected !== REFUSED) {
      if (taken) fault('to be refused by us');
      if (jose && expected !== ONE_TEXT) fault(`no need for a reason of ours (${expected})`);
    }
    counted[taken ? 'taken' : jose ? 'refused' : 'stricter'] += 1;
  }
  t.diagnostic(`${table.cases.length} tokens: ${JSON.stringify(counted)}`);
  assert.deepEqual(wrong, []);
  assert.equal(origin.requests.length, 2 * counted.taken, 'what is refused reaches no service');
  assert.ok(counted.taken > 200 && counted.refused > 700 && counted.stricter > 200, JSON.stringify(counted));
  const most = 2 + (Date.now() - begun) / 10_000;
  assert.ok(issuer.fetches <= most, `strange tokens made us fetch the keys ${issuer.fetches} times`);
});

test('the tokens of a certified server pass where they are for, and nowhere else', async (t) => {
  const client = { client_id: 'service-a', client_secret: 'not a real secret' };
  const provider = await startProvider(t, { clients: [client] });
  const origin = await startOrigin(t);
  const guarded = (path, audiences, scopes) => ({
    path,
    admit: [{ bearer: { provider: 'idp', audiences: [audiences], scopes: [scopes] } }],
    upstream: origin.origin,
  });
  const proxy = await startProxy(t, {
    workers: 1,
    providers: { idp: { issuer: provider.issuer } },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      guarded('/api/**', API, SCOPES[0]),
      guarded('/other/**', 'https://other.example.com/', SCOPES[0]),
      guarded('/admin/**', API, SCOPES[2]),
    ],
  });
  const metadata = await (await fetch(`${provider.issuer}/.well-known/openid-configuration`)).json();
  const answer = await fetch(metadata.token_endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa('service-a:not+a+real+secret')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', scope: SCOPES[0], resource: API }),
  });
  const { access_token: token } = await answer.json();
  const asked = async (path) => {
    const said = await fetch(proxy.origin + path, { headers: { authorization: `Bearer ${token}` } });
    return [said.status, /error="([^"]*)"/.exec(said.headers.get('www-authenticate'))?.[1]];
  };
  assert.deepEqual(await asked('/api/a'), [200, undefined]);
  assert.deepEqual(await asked('/other/a'), [401, 'invalid_token']);
  assert.deepEqual(await asked('/admin/a'), [403, 'insufficient_scope']);
  assert.equal(origin.requests.length, 1);
  assert.equal(origin.requests[0].authorization, `Bearer ${token}`, 'the service may look at it again');
});
