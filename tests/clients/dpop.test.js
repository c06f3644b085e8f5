// An independent resource server's check of DPoP (npm `oauth4webapi`, RFC 9449 section 4.3) as the
// judge of ours: each token and proof of a table goes through the running program and through it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { allowInsecureRequests, validateJwtAccessToken } from 'oauth4webapi';

import { startIssuer } from './support/issuer.js';
import { startOrigin } from './support/origin.js';
import { startProxy } from './support/program.js';
import { ALGORITHMS, AUDIENCE, ONE_MEANING, REFUSED, SCOPE, TAKEN, encode, pair, signed } from './support/tokens.js';

const OLD = 'RFC 9449 section 11.1: proofs are young, `max_age` and `clock_skew` say how young';
const USED = 'RFC 9449 section 11.1: a proof is taken once';
const LONG = 'RFC 9449 section 11.1: what is remembered of a proof is bounded';
const USE = 'RFC 7517 section 4.2: the key says that it is for something else';
const UNIQUE = 'RFC 9449 section 4.2: the empty text tells no proof from another';
const CONFIRMATION = 'RFC 7800 section 3.1: a token that says that it is bound, and not to what';
/** What we take and the judge does not. */
const LOOSER = {
  NORMAL: 'RFC 9449 section 4.3, RFC 3986 section 6.2.2.2: an escape that was not needed is the same path',
  UNUSED: 'RFC 9449 section 7.2: a proof says nothing of a token that is not bound',
};

const hash = (text) => createHash('sha256').update(text).digest('base64url');

/** RFC 7638 section 3. */
function thumbprint({ kty, crv, x, y, e, n }) {
  const members = { RSA: { e, kty, n }, EC: { crv, kty, x, y }, OKP: { crv, kty, x } }[kty];
  return hash(JSON.stringify(members));
}

function bare({ kty, crv, x, y, e, n }) {
  return JSON.parse(JSON.stringify({ kty, crv, x, y, e, n }));
}

/** Cases: `make(now)` answers what a request shows: `{ scheme, token, proof }`. */
function table({ issuer, url, key }) {
  const cases = [];
  const other = pair('ES256', 'other');
  let number = 0;
  function token(now, cnf, changes = {}) {
    number += 1;
    const claims = {
      iss: issuer, sub: 'ann', aud: AUDIENCE, exp: now + 3600, iat: now, jti: `t${number}`, client_id: 'c', scope: SCOPE, cnf,
    };
    return signed({ alg: key.algorithm, kid: key.kid, typ: 'at+jwt' }, { ...claims, ...changes }, key);
  }
  /** A case whose token is right; the proof's header and claims are changed. */
  function proof(name, expected, { holder = holders.ES256, by = holder, header = {}, claims = {}, text, twice } = {}) {
    cases.push({
      name,
      expected,
      make(now) {
        const bound = token(now, { jkt: thumbprint(holder.jwk) });
        number += 1;
        const head = { typ: 'dpop+jwt', alg: by.algorithm, jwk: bare(holder.jwk), ...header };
        const body = { jti: `p${number}`, htm: 'GET', htu: url, iat: now, ath: hash(bound), ...(typeof claims === 'function' ? claims(now) : claims) };
        const [one, two] = text ? text(head, body) : [head, body];
        const made = signed(one, two, by, by.algorithm);
        return { scheme: 'DPoP', token: bound, proof: made, twice };
      },
    });
  }
  function shown(name, expected, make) {
    cases.push({
      name,
      expected,
      make(now) {
        const holder = holders.ES256;
        const prove = (of) => {
          number += 1;
          return signed(
            { typ: 'dpop+jwt', alg: 'ES256', jwk: bare(holder.jwk) },
            { jti: `s${number}`, htm: 'GET', htu: url, iat: now, ath: hash(of) },
            holder,
          );
        };
        return make({ now, jkt: thumbprint(holder.jwk), prove, bound: (cnf, changes) => token(now, cnf, changes) });
      },
    });
  }
  const holders = Object.fromEntries(ALGORITHMS.map((algorithm) => [algorithm, pair(algorithm, 'holder')]));
  for (const algorithm of ALGORITHMS) {
    const holder = holders[algorithm];
    proof(`${algorithm}`, TAKEN, { holder });
    proof(`${algorithm}, the jwk says what it is for`, TAKEN, { holder, header: { jwk: { ...bare(holder.jwk), alg: algorithm, use: 'sig', kid: 'x' } } });
    proof(`${algorithm}, signed by another key`, REFUSED, { holder, by: pair(algorithm, 'x') });
    proof(`${algorithm}, with the private key shown`, REFUSED, { holder, header: { jwk: holder.privateKey.export({ format: 'jwk' }) } });
    proof(`${algorithm}, by the issuer's key`, REFUSED, { holder, header: { jwk: bare(key.jwk) }, by: key });
    for (const alg of ['none', 'HS256', 'x', ALGORITHMS[(ALGORITHMS.indexOf(algorithm) + 3) % 10]]) {
      proof(`${algorithm} that says ${alg}`, REFUSED, { holder, header: { alg } });
    }
  }
  for (const typ of ['DPoP+JWT', 'application/dpop+jwt']) proof(`typ ${typ}`, TAKEN, { header: { typ } });
  for (const typ of ['JWT', 'at+jwt', 'dpop', 'dpop+jwt2', '', null, 1, undefined, ['dpop+jwt']]) proof(`typ ${JSON.stringify(typ)}`, REFUSED, { header: { typ } });
  for (const jwk of [undefined, null, 'x', [], {}, 1, { kty: 'oct', k: 'AAAA' }, bare(other.jwk), { kty: 'EC', crv: 'P-256' }]) proof(`jwk ${JSON.stringify(jwk)}`.slice(0, 60), REFUSED, { header: { jwk } });
  proof('the key by its id alone', REFUSED, { header: { jwk: undefined, kid: 'holder', jku: 'https://evil.example' } });
  proof('a key for encryption', USE, { header: { jwk: { ...bare(holders.ES256.jwk), use: 'enc' } } });
  proof('crit', REFUSED, { header: { crit: ['x'], x: 1 } });
  proof('unknown members', TAKEN, { header: { x: 1, kid: 'k', jku: 'https://evil.example' }, claims: { x: { y: 1 }, nonce: undefined } });
  for (const claim of ['jti', 'htm', 'htu', 'iat', 'ath']) {
    for (const wrong of [undefined, null, 1, '', true, ['a'], { a: 1 }]) proof(`${claim} ${JSON.stringify(wrong)}`, claim === 'jti' && wrong === '' ? UNIQUE : REFUSED, { claims: { [claim]: wrong } });
    proof(`${claim} twice`, ONE_MEANING, { text: (head, body) => [head, `{"${claim}":"x",${JSON.stringify(body).slice(1)}`] });
  }
  proof('typ twice', ONE_MEANING, { text: (head, body) => [`{"typ":"x",${JSON.stringify(head).slice(1)}`, body] });
  proof('jwk twice', ONE_MEANING, { text: (head, body) => [`{"jwk":${JSON.stringify(bare(other.jwk))},${JSON.stringify(head).slice(1)}`, body] });
  for (const htm of ['POST', 'get', 'GET ', 'HEAD', '*']) proof(`htm ${htm}`, REFUSED, { claims: { htm } });
  const { host, port } = new URL(url);
  for (const htu of [`${url}?a=b`, `${url}#a`, `${url}?a#b`, url.replace('http', 'HTTP'), `http://${host}/imodels/../imodels/1`, `http://${host}/./imodels/1`]) proof(`htu ${htu.replace(port, 'PORT')}`, TAKEN, { claims: { htu } });
  proof('htu with an escape that was not needed', LOOSER.NORMAL, { claims: { htu: url.replace(/1$/, '%31') } });
  for (const htu of [`${url}/`, url.slice(0, -1), url.replace('imodels', 'IMODELS'), url.replace('http', 'https'), url.replace(port, '1'), url.replace(`:${port}`, ''), url.replace('127.0.0.1', 'localhost'), `http://${host}`, '/imodels/1', `//${host}/imodels/1`, 'x', `http://a@${host}/imodels/1`, `http://${host}/imodels%2F1`, `http://evil.example/imodels/1`, `${url}\\`, ` `]) proof(`htu ${htu.replace(port, 'PORT')}`, REFUSED, { claims: { htu } });
  for (const [away, expected] of [[-30, TAKEN], [30, TAKEN], [-0.5, TAKEN], [-240, OLD], [240, OLD], [-400, REFUSED], [400, REFUSED], [-1e9, REFUSED], [1e9, REFUSED]]) {
    proof(`iat ${away} s away`, expected, { claims: (now) => ({ iat: now + away }) });
  }
  proof('iat as text', REFUSED, { claims: (now) => ({ iat: `${now}` }) });
  proof('iat in milliseconds', REFUSED, { claims: (now) => ({ iat: now * 1000 }) });
  proof('exp long ago', REFUSED, { claims: (now) => ({ exp: now - 3600 }) });
  proof('nbf far ahead', REFUSED, { claims: (now) => ({ nbf: now + 3600 }) });
  proof('ath of another token', REFUSED, { claims: { ath: hash('other') } });
  proof('ath in hexadecimal', REFUSED, { claims: { ath: createHash('sha256').update('x').digest('hex') } });
  proof('jti of 300 octets', LONG, { claims: { jti: 'j'.repeat(300) } });
  proof('the same proof twice', USED, { twice: true });

  shown('a token that is not bound, by Bearer', TAKEN, ({ bound }) => ({ scheme: 'Bearer', token: bound(undefined) }));
  shown('a bound token by Bearer without a proof', REFUSED, ({ bound, jkt }) => ({ scheme: 'Bearer', token: bound({ jkt }) }));
  shown('a bound token by DPoP without a proof', REFUSED, ({ bound, jkt }) => ({ scheme: 'DPoP', token: bound({ jkt }) }));
  for (const [name, scheme, cnf, expected] of [
    ['a bound token by Bearer with its proof', 'Bearer', (jkt) => ({ jkt }), REFUSED],
    ['a bound token by dPoP with its proof', 'dPoP', (jkt) => ({ jkt }), TAKEN],
    ['a token that is not bound, by DPoP', 'DPoP', () => undefined, REFUSED],
    ['a token that is not bound, by Bearer, with a proof', 'Bearer', () => undefined, LOOSER.UNUSED],
    ['two ways of being bound', 'DPoP', (jkt) => ({ jkt, 'x5t#S256': jkt }), REFUSED],
    ['an unknown way beside', 'DPoP', (jkt) => ({ jkt, x: 1 }), REFUSED],
    ['bound to a certificate', 'Bearer', (jkt) => ({ 'x5t#S256': jkt }), REFUSED],
    ['bound in an unknown way', 'Bearer', () => ({ jwk: { kty: 'EC' } }), REFUSED],
    ['cnf null', 'DPoP', () => null, REFUSED],
    ['cnf text', 'DPoP', (jkt) => jkt, REFUSED],
    ['cnf a list', 'DPoP', (jkt) => [{ jkt }], REFUSED],
    ['cnf empty, by DPoP', 'DPoP', () => ({}), REFUSED],
    ['jkt a number', 'DPoP', () => ({ jkt: 1 }), REFUSED],
    ['jkt a list', 'DPoP', (jkt) => ({ jkt: [jkt] }), REFUSED],
    ['jkt with padding', 'DPoP', (jkt) => ({ jkt: `${jkt}=` }), REFUSED],
    ['jkt in another case', 'DPoP', (jkt) => ({ jkt: jkt.toUpperCase() }), REFUSED],
    ['jkt empty', 'DPoP', () => ({ jkt: '' }), REFUSED],
  ]) {
    shown(name, expected, ({ bound, jkt, prove }) => {
      const made = bound(cnf(jkt));
      return { scheme, token: made, proof: prove(made) };
    });
  }
  shown('cnf empty, by Bearer', CONFIRMATION, ({ bound }) => ({ scheme: 'Bearer', token: bound({}) }));
  shown('an expired token with a good proof', REFUSED, ({ bound, jkt, prove, now }) => {
    const made = bound({ jkt }, { exp: now - 200 });
    return { scheme: 'DPoP', token: made, proof: prove(made) };
  });
  shown('two proofs', REFUSED, ({ bound, jkt, prove }) => {
    const made = bound({ jkt });
    return { scheme: 'DPoP', token: made, proof: [prove(made), prove(made)] };
  });
  for (const [name, change] of [
    ['cut', (one) => one.slice(0, -1)],
    ['without its signature', (one) => one.slice(0, one.lastIndexOf('.') + 1)],
    ['with a part more', (one) => `${one}.AAAA`],
    ['of zeros', (one) => one.replace(/[^.]*$/, encode(Buffer.alloc(64)))],
    ['that is the token', (_, token_) => token_],
    ['that is text', () => 'x'],
  ]) {
    shown(`a proof ${name}`, REFUSED, ({ bound, jkt, prove }) => {
      const made = bound({ jkt });
      return { scheme: 'DPoP', token: made, proof: change(prove(made), made) };
    });
  }
  return cases;
}

test('a bound token passes with the proofs that another resource server takes', async (t) => {
  const issuer = await startIssuer(t);
  const key = pair('ES384', 'k');
  issuer.jwks = { keys: [key.jwk] };
  const origin = await startOrigin(t, {
    answer(_, response) {
      response.end();
      return true;
    },
  });
  const proxy = await startProxy(t, {
    workers: 2,
    providers: { ids: { issuer: issuer.issuer } },
    listeners: [{ bind: '127.0.0.1:0' }],
    routes: [
      {
        admit: [{ bearer: { provider: 'ids', audiences: [AUDIENCE], scopes: [SCOPE], bound: 'checked' } }],
        upstream: origin.origin,
      },
    ],
  });
  const url = `${proxy.origin}/imodels/1`;
  const server = { issuer: issuer.issuer, jwks_uri: `${issuer.issuer}/keys` };
  const judged = async (request) => {
    try {
      await validateJwtAccessToken(server, request, AUDIENCE, { [allowInsecureRequests]: true, signingAlgorithms: [...ALGORITHMS, 'Ed25519'] });
      return undefined;
    } catch (error) {
      return `${error.message} ${error.code ?? ''}`;
    }
  };

  const wrong = [];
  let taken = 0;
  const cases = table({ issuer: issuer.issuer, url, key });
  for (const { name, expected, make } of cases) {
    const { scheme, token, proof, twice } = make(Math.floor(Date.now() / 1000));
    const headers = new Headers({ authorization: `${scheme} ${token}` });
    for (const one of [proof ?? []].flat()) headers.append('dpop', one);
    const asked = `${url}?top=1`;
    if (twice) taken += (await fetch(asked, { headers })).status === 200;
    const answer = await fetch(asked, { headers });
    await answer.text();
    const judge = await judged(new Request(asked, { headers }));
    const ok = answer.status === 200;
    if (ok) taken += 1;
    const said = `we ${answer.status} ${answer.headers.get('www-authenticate') ?? ''}, the judge ${judge ?? 'takes it'}`;
    const want = Object.values(LOOSER).includes(expected)
      ? [true, false]
      : { [TAKEN]: [true, true], [REFUSED]: [false, false] }[expected] ?? [false, true];
    if (ok !== want[0] || (judge === undefined) !== want[1]) wrong.push(`${name}: ${expected}; ${said}`);
    if (!ok && ![400, 401].includes(answer.status)) wrong.push(`${name}: no refusal: ${said}`);
  }
  t.diagnostic(`${cases.length} tokens and proofs, ${taken} taken`);
  assert.deepEqual(wrong, []);
  assert.equal(origin.requests.length, taken);
});
