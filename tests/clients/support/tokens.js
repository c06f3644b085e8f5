// A table of good and bad access tokens, made with node:crypto alone: whoever judges them has no part
// in them.
//
// A case is a name, a function that makes the token at a given second, and what is expected of it:
//
//   TAKEN      by everybody
//   REFUSED    by everybody
//   a text     taken by a JOSE library, refused by us: why
//
// Cases come from lists of variants (of the header, of the claims, of the signature, of the text),
// each list crossed with others; the expectation of a combination follows from those of its parts.
import { generateKeyPairSync, constants, createHmac, sign as signOctets } from 'node:crypto';

export const TAKEN = 'taken';
export const REFUSED = 'refused';
/** The one thing that we take and a library does not. */
export const OTHER_NAME = 'RFC 9864 section 2.2: Ed25519 is a name of what EdDSA is with this key';
/** What a library makes of these depends on how its platform decodes base64. */
export const ONE_TEXT = 'RFC 7515 section 2: base64url without padding; one text for the same octets';

export const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
export const AUDIENCE = 'bentley-api-management';
export const SCOPE = 'itwin-platform';
/** Seconds that clocks may be apart; the default of the program. */
export const SKEW = 60;
/** Tests take time: how far from a limit a token is. */
const MARGIN = 20;

const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' };

export const ONE_MEANING = 'RFC 7515 section 4, RFC 7519 section 4: a name twice may mean another thing to the service behind';
const KIND = 'RFC 8725 section 3.11, RFC 9068 section 4: `typ` says that it is no access token';
const TYP = 'RFC 7515 section 4.1.9: `typ` is text';
const B64 = 'RFC 7797 sections 6 and 7: unencoded payloads are not for JWTs, and `crit` may have been cut off';
const DATE = 'RFC 7519 section 2: a NumericDate counts seconds since 1970; no clock shows this one';
const IDENTITY = 'RFC 7519 section 4.1.2, RFC 9068 section 2.2: it is text';
const ID_TOKEN = 'OpenID Connect Core section 2, RFC 8725 section 2.8: an ID token is for a client, not for an API';
const OTHER_KIND = 'RFC 8725 section 2.8: another kind of token of the same issuer';
const DEEP = 'a limit of ours: no claim that is known nests deeper than 16';
const LARGE = 'a limit of ours: 16 KiB a token, 8 KiB its header';
const FUTURE = 'RFC 7519 section 4.1.6: issued later than now, by more than clocks may be apart';
const SCOPES = 'RFC 6750 section 3.1: a scope is missing, which a JOSE library does not ask for';
const SCOPE_TYPE = 'RFC 8693 section 4.2: `scope` is text (or, with IMS and IdentityServer, a list of it)';
const AUDIENCE_TYPE = 'RFC 7519 section 4.1.3: `aud` is text, or a list of nothing else';
const MARK = 'RFC 8259 section 8.1: a byte order mark must not be added, and may be ignored or refused';
const UNICODE = 'RFC 8259 section 8.2: half of a surrogate pair is no text';
const ONE_ALGORITHM = 'RFC 8725 section 3.1: a key is for one algorithm; RS256 is the first that fits one without `alg`';

export const encode = (octets) => Buffer.from(octets).toString('base64url');

/** A key pair, with its public key as a JWK. */
export function pair(algorithm, kid, { size = 2048, named = true } = {}) {
  const { publicKey, privateKey } = CURVES[algorithm]
    ? generateKeyPairSync('ec', { namedCurve: CURVES[algorithm] })
    : algorithm === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('rsa', { modulusLength: size });
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', ...(named && { alg: algorithm }) };
  return { algorithm, kid, privateKey, publicKey, jwk };
}

/** The octets of a signature as RFC 7518 wants it. */
function signature(algorithm, privateKey, signed) {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`;
  const data = Buffer.from(signed);
  switch (algorithm.slice(0, 2)) {
    case 'PS':
      return signOctets(hash, data, {
        key: privateKey,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      });
    case 'ES':
      return signOctets(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    default:
      return signOctets(hash, data, privateKey);
  }
}

const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

/** `header` and `payload` are objects, or the very texts. */
export function signed(header, payload, by, algorithm = by.algorithm) {
  const start = `${encode(text(header))}.${encode(text(payload))}`;
  return `${start}.${encode(signature(algorithm, by.privateKey, start))}`;
}

/** The keys of an issuer, a shape of tokens, and all cases. */
export function tokens({ issuer, second }) {
  const keys = Object.fromEntries(ALGORITHMS.map((algorithm) => [algorithm, pair(algorithm, algorithm.toLowerCase())]));
  const extra = {
    /** Does not say what it is for. */
    unnamed: pair('RS256', 'unnamed', { named: false }),
    /** Two with one id. */
    twins: [pair('ES256', 'twin'), pair('ES256', 'twin')],
    large: pair('RS256', 'large', { size: 4096 }),
    /** Too small for the algorithm (RFC 7518 section 3.3). */
    small: pair('RS256', 'small', { size: 1024 }),
    encryption: pair('ES256', 'encryption'),
    edwards: pair('EdDSA', 'ed25519'),
  };
  extra.edwards.jwk.alg = 'Ed25519';
  extra.encryption.jwk.use = 'enc';
  delete extra.encryption.jwk.alg;
  const stranger = Object.fromEntries(ALGORITHMS.map((algorithm) => [algorithm, pair(algorithm, algorithm.toLowerCase())]));
  const jwks = {
    keys: [...Object.values(keys), extra.unnamed, ...extra.twins, extra.large, extra.small, extra.encryption, extra.edwards].map((key) => key.jwk),
  };

  const shapes = {
    ims: (now) => ({
      scope: [SCOPE, 'email'],
      client_id: 'webapp-1',
      aud: [`${issuer}/as/token.oauth2`, 'https://imsoidc.bentley.com/resources', AUDIENCE],
      sub: '8a3b6b3e-0000-4000-8000-000000000001',
      role: 'BENTLEY_EMPLOYEE',
      org: 'fab97774-0000-4000-8000-000000000000',
      amr: ['pwd', 'mfa'],
      iss: issuer,
      entitlement: ['SELECT_2006'],
      preferred_username: 'ann@example.com',
      sid: 's',
      nbf: now - 600,
      auth_time: now - 300,
      exp: now + 3600,
    }),
    identityServer: (now) => ({
      iss: issuer,
      nbf: now,
      iat: now,
      exp: now + 3600,
      aud: AUDIENCE,
      scope: [SCOPE, 'offline_access'],
      amr: ['pwd'],
      client_id: 'spa',
      sub: '1',
      auth_time: now,
      idp: 'local',
      sid: 'D6A8',
      jti: '0F2B',
    }),
    rfc9068: (now) => ({
      iss: issuer,
      sub: '5ba552d67',
      aud: AUDIENCE,
      exp: now + 3600,
      iat: now,
      jti: 'dbe39bf3a3ba4238a513f51d6e1691c4',
      client_id: 's6BhdRkqt3',
      scope: `openid ${SCOPE} reademail`,
    }),
  };
  const types = { ims: {}, identityServer: { typ: 'at+jwt' }, rfc9068: { typ: 'at+jwt' } };

  // [name, header or its text, expected, { by, algorithm }]
  function headers(algorithm) {
    const key = keys[algorithm];
    const plain = { alg: algorithm, kid: key.kid };
    const theirs = stranger[algorithm];
    const other = ALGORITHMS[(ALGORITHMS.indexOf(algorithm) + 3) % ALGORITHMS.length];
    const nest = (levels) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
    const own = { jwk: theirs.jwk, jku: 'https://evil.example/keys', x5u: 'https://evil.example/x5u', x5c: ['MIIB'] };
    const list = [
      ['plain', plain, TAKEN],
      ['as IMS writes it', { ...plain, 'pi.atm': 'a8me' }, TAKEN],
      ['kid first, spaces', ` {\n"kid" : "${key.kid}" ,\t"alg":"${algorithm}"} `, TAKEN],
      ['escaped names', `{"\\u0061lg":"${algorithm}","k\\u0069d":"${key.kid}"}`, TAKEN],
      ['no kid', { alg: algorithm }, TAKEN],
      ['x5t', { ...plain, x5t: 'AAAA', 'x5t#S256': 'AAAA' }, TAKEN],
      ['a foreign key in the header, not used', { ...plain, ...own }, TAKEN],
      ['nested 15 deep', `{"alg":"${algorithm}","kid":"${key.kid}","x":${nest(15)}}`, TAKEN],
      ['nested 16 deep', `{"alg":"${algorithm}","kid":"${key.kid}","x":${nest(16)}}`, DEEP],
      ['4 KiB', { ...plain, x5c: ['A'.repeat(4096)] }, TAKEN],
      ['7 KiB, 9 KiB as base64url', { ...plain, x5c: ['A'.repeat(7 << 10)] }, LARGE],
    ];
    for (const typ of ['JWT', 'jwt', 'at+jwt', 'AT+JWT', 'application/at+jwt', 'application/jwt']) {
      list.push([`typ ${typ}`, { ...plain, typ }, TAKEN]);
    }
    for (const typ of ['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'rt+jwt', 'id+jwt', 'application/dpop+jwt', 'token-introspection+jwt', 'entity-statement+jwt', 'at+jwt;v=1', 'text/at+jwt', 'JOSE', '']) {
      list.push([`typ ${typ}`, { ...plain, typ }, KIND]);
    }
    for (const typ of [null, 1, ['at+jwt'], { a: 'at+jwt' }, false]) {
      list.push([`typ ${JSON.stringify(typ)}`, { ...plain, typ }, TYP]);
    }
    for (const alg of ['none', 'None', 'NONE', '', algorithm.toLowerCase() === algorithm ? 'x' : algorithm.toLowerCase(), `${algorithm} `, 'HS256', 'HS512', 'ES256K', 'RS1', 'RSA1_5', 'dir', 'A128KW', 'Ed448', null, 256, [algorithm], { alg: algorithm }, true]) {
      list.push([`alg ${JSON.stringify(alg)}`, { ...plain, alg }, REFUSED]);
    }
    list.push(['no alg', { kid: key.kid }, REFUSED]);
    list.push([`alg ${other}`, { ...plain, alg: other }, REFUSED]);
    list.push([`alg and kid of ${other}`, { alg: other, kid: keys[other].kid }, REFUSED]);
    for (const kid of ['', 'other', 'K'.repeat(300), `${key.kid} `, key.kid.toUpperCase(), `${key.kid}\u0000`, '../../dev/null', "' OR 1=1 --", keys[other].kid, null, 1, [key.kid], { kid: key.kid }, true]) {
      list.push([`kid ${JSON.stringify(kid).slice(0, 40)}`, { ...plain, kid }, REFUSED]);
    }
    for (const crit of [['exp'], [], ['b64'], 'exp', null, ['alg'], ['http://example.com/UNDEFINED'], [1]]) {
      list.push([`crit ${JSON.stringify(crit)}`, { ...plain, crit, exp: 1, 'http://example.com/UNDEFINED': true }, REFUSED]);
    }
    list.push(['crit and b64 false', { ...plain, crit: ['b64'], b64: false }, REFUSED]);
    list.push(['crit and b64 true', { ...plain, crit: ['b64'], b64: true }, B64]);
    list.push(['b64 false', { ...plain, b64: false }, B64]);
    list.push(['b64 true', { ...plain, b64: true }, B64]);
    list.push(['alg twice', `{"alg":"none","alg":"${algorithm}","kid":"${key.kid}"}`, ONE_MEANING]);
    list.push(['kid twice', `{"alg":"${algorithm}","kid":"x","kid":"${key.kid}"}`, ONE_MEANING]);
    list.push(['a name twice, once escaped', `{"alg":"${algorithm}","kid":"${key.kid}","a":1,"\\u0061":1}`, ONE_MEANING]);
    list.push(['a name twice within', `{"alg":"${algorithm}","kid":"${key.kid}","a":{"b":1,"b":2}}`, ONE_MEANING]);
    list.push(['half a surrogate', `{"alg":"${algorithm}","kid":"${key.kid}","a":"\\ud800"}`, UNICODE]);
    list.push(['a byte order mark', `\ufeff{"alg":"${algorithm}","kid":"${key.kid}"}`, MARK]);
    for (const whole of ['', '[]', '"a"', 'null', '{', `{"alg":"${algorithm}","kid":"${key.kid}"}{}`, `{"alg":"${algorithm}","kid":"${key.kid}",}`, `{'alg':'${algorithm}'}`, `{"alg":"${algorithm}","kid":"${key.kid}"}\u0000`]) {
      list.push([`header ${JSON.stringify(whole).slice(0, 60)}`, whole, REFUSED]);
    }
    const by = { by: theirs };
    list.push(["a stranger's signature", plain, REFUSED, by]);
    list.push(["a stranger's signature, no kid", { alg: algorithm }, REFUSED, by]);
    list.push(["a stranger's signature and jwk", { ...plain, ...own }, REFUSED, by]);
    list.push(["a stranger's signature and jwk, no kid", { alg: algorithm, ...own }, REFUSED, by]);
    list.push(["a stranger's signature and jwk, kid unknown", { alg: algorithm, kid: 'theirs', ...own }, REFUSED, by]);
    return list;
  }

  // [name, changes of the claims (undefined takes one away) or a text made of them, expected]
  function claims(now, shape = 'ims') {
    const list = [
      ['unchanged', {}, TAKEN],
      ['exp as a fraction', { exp: now + 3600.5 }, TAKEN],
      ['exp as 1e10', (all) => text({ ...all, exp: 0 }).replace('"exp":0', '"exp":1e10'), TAKEN],
      ['exp within the skew', { exp: now - SKEW + MARGIN }, TAKEN],
      ['exp beyond the skew', { exp: now - SKEW - MARGIN }, REFUSED],
      ['exp 0', { exp: 0 }, REFUSED],
      ['exp negative', { exp: -1 }, REFUSED],
      ['exp in milliseconds', { exp: (now + 3600) * 1000 }, TAKEN],
      ['exp huge', (all) => text({ ...all, exp: 0 }).replace('"exp":0', '"exp":1e300'), DATE],
      ['exp infinite', (all) => text({ ...all, exp: 0 }).replace('"exp":0', '"exp":1e999'), DATE],
      ['exp NaN', (all) => text({ ...all, exp: 0 }).replace('"exp":0', '"exp":NaN'), REFUSED],
      ['exp with leading zero', (all) => text({ ...all, exp: 0 }).replace('"exp":0', '"exp":0999999999999'), REFUSED],
      ['exp hexadecimal', (all) => text({ ...all, exp: 0 }).replace('"exp":0', '"exp":0xffffffffff'), REFUSED],
      ['nbf within the skew', { nbf: now + SKEW - MARGIN }, TAKEN],
      ['nbf beyond the skew', { nbf: now + SKEW + MARGIN }, REFUSED],
      ['nbf 0', { nbf: 0 }, TAKEN],
      ['nbf negative', { nbf: -1 }, DATE],
      ['nbf huge', (all) => text({ ...all, nbf: 0 }).replace('"nbf":0', '"nbf":1e300'), REFUSED],
      ['nbf missing', { nbf: undefined }, TAKEN],
      ['iat missing', { iat: undefined }, TAKEN],
      ['iat as a fraction', { iat: now - 0.25 }, TAKEN],
      ['iat within the skew', { iat: now + SKEW - MARGIN }, TAKEN],
      ['iat beyond the skew', { iat: now + SKEW + MARGIN }, FUTURE],
      ['iat negative', { iat: -1 }, DATE],
      ['iss missing', { iss: undefined }, REFUSED],
      ['iss of the second name', { iss: second }, TAKEN],
      ['iss with a slash', { iss: `${issuer}/` }, TAKEN],
      ['iss of the second name with a slash', { iss: `${second}/` }, TAKEN],
      ['aud missing', { aud: undefined }, REFUSED],
      ['aud is ours', { aud: AUDIENCE }, TAKEN],
      ['aud is a list of ours', { aud: [AUDIENCE] }, TAKEN],
      ['aud is a long list', { aud: [...Array.from({ length: 300 }, (_, n) => `api-${n}`), AUDIENCE] }, TAKEN],
      ['aud is an empty list', { aud: [] }, REFUSED],
      ['aud with a number beside ours', { aud: [AUDIENCE, 1] }, AUDIENCE_TYPE],
      ['aud with a list around ours', { aud: [[AUDIENCE]] }, REFUSED],
      ['scope is text', { scope: SCOPE }, TAKEN],
      ['scope is text with others and spaces', { scope: ` a  ${SCOPE} b ` }, TAKEN],
      ['scope is a list', { scope: [SCOPE] }, TAKEN],
      ['scope is a list of texts with spaces', { scope: [`a ${SCOPE}`, 'b'] }, TAKEN],
      ['scp in place of scope', { scope: undefined, scp: [SCOPE] }, TAKEN],
      ['scp in place of scope, text', { scope: undefined, scp: `${SCOPE} b` }, TAKEN],
      ['scope is missing', { scope: undefined }, SCOPES],
      ['scope is empty', { scope: '' }, SCOPES],
      ['scope is an empty list', { scope: [] }, SCOPES],
      ['scp beside a scope without ours', { scope: 'other', scp: SCOPE }, SCOPES],
      ['scope is longer', { scope: `${SCOPE}x` }, SCOPES],
      ['scope begins like it', { scope: SCOPE.slice(0, -1) }, SCOPES],
      ['scope in capitals', { scope: SCOPE.toUpperCase() }, SCOPES],
      ['scope with commas', { scope: `a,${SCOPE}` }, SCOPES],
      ['scope with a tab', { scope: `a\t${SCOPE}` }, SCOPES],
      ['roles in place of scopes', { scope: undefined, roles: [SCOPE], permissions: [SCOPE] }, SCOPES],
      ['sub missing', { sub: undefined }, TAKEN],
      ['client_id missing', { client_id: undefined }, TAKEN],
      ['azp in place of client_id', { client_id: undefined, azp: 'spa' }, TAKEN],
      ['jti missing', { jti: undefined }, TAKEN],
      // a token that says that it is an access token may have one
      ['an ID token by its nonce', { nonce: 'n' }, types[shape].typ ? TAKEN : ID_TOKEN],
      ['an ID token by at_hash', { at_hash: 'h' }, ID_TOKEN],
      ['an ID token by c_hash', { c_hash: 'h' }, ID_TOKEN],
      ["Keycloak's ID token", { typ: 'ID' }, ID_TOKEN],
      ["Keycloak's refresh token", { typ: 'Refresh' }, OTHER_KIND],
      ["Keycloak's offline token", { typ: 'Offline' }, OTHER_KIND],
      ["Keycloak's logout token", { typ: 'Logout' }, OTHER_KIND],
      ["Keycloak's access token", { typ: 'Bearer' }, TAKEN],
      ['a logout token', { events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, OTHER_KIND],
      ['a security event', { events: {}, toe: now }, OTHER_KIND],
      ['a DPoP proof', { htm: 'GET', htu: issuer, ath: 'a' }, OTHER_KIND],
      ['exp twice', (all) => `{"exp":1,${text(all).slice(1)}`, ONE_MEANING],
      ['aud twice', (all) => `{"aud":"other",${text(all).slice(1)}`, ONE_MEANING],
      ['iss twice, the last another', (all) => `${text(all).slice(0, -1)},"iss":"https://evil.example"}`, REFUSED],
      ['sub twice', (all) => `{"sub":"root",${text(all).slice(1)}`, ONE_MEANING],
      ['a name twice, once escaped', (all) => `{"s\\u0075b":"root",${text(all).slice(1)}`, ONE_MEANING],
      ['a name twice within a claim', (all) => `{"x":[{"a":1,"a":1}],${text(all).slice(1)}`, ONE_MEANING],
      ['half a surrogate', (all) => `{"x":"\\udc00",${text(all).slice(1)}`, UNICODE],
      ['a byte order mark', (all) => `\ufeff${text(all)}`, MARK],
      ['spaces around', (all) => ` \n${JSON.stringify(all, null, 2)}\n `, TAKEN],
      ['something behind', (all) => `${text(all)}{}`, REFUSED],
      ['a list of it', (all) => `[${text(all)}]`, REFUSED],
      ['text of it', (all) => JSON.stringify(text(all)), REFUSED],
      ['cut off', (all) => text(all).slice(0, -1), REFUSED],
      ['with a comment', (all) => `/* a */${text(all)}`, REFUSED],
      ['with a comma at the end', (all) => `${text(all).slice(0, -1)},}`, REFUSED],
      ['names of the prototype', (all) => `{"__proto__":{"admin":true},"constructor":1,${text(all).slice(1)}`, TAKEN],
      ['iss of the prototype', (all) => `{"__proto__":{"iss":"${issuer}"},${text({ ...all, iss: undefined }).slice(1)}`, REFUSED],
      ['nested 15 deep', (all) => `{"x":${'['.repeat(15)}${']'.repeat(15)},${text(all).slice(1)}`, TAKEN],
      ['nested 16 deep', (all) => `{"x":${'['.repeat(16)}${']'.repeat(16)},${text(all).slice(1)}`, DEEP],
      ['nested 3,000 deep', (all) => `{"x":${'['.repeat(3000)}${']'.repeat(3000)},${text(all).slice(1)}`, DEEP],
      ['as large as Bentley\'s are', { entitlement: Array.from({ length: 60 }, (_, n) => `SELECT_${2000 + n}`) }, TAKEN],
      ['6 KiB', { x: 'x'.repeat(6 << 10) }, TAKEN],
      ['13 KiB, 17 KiB as base64url', { x: 'x'.repeat(13 << 10) }, LARGE],
      ['empty object', () => '{}', REFUSED],
      ['empty', () => '', REFUSED],
      ['not JSON', () => 'Payload', REFUSED],
      ['not UTF-8', (all) => Buffer.concat([Buffer.from('{"x":"'), Buffer.from([0xff]), Buffer.from(`",${text(all).slice(1)}`)]), REFUSED],
    ];
    // dates are numbers
    for (const claim of ['exp', 'nbf', 'iat']) {
      for (const wrong of [`${now}`, '', null, true, [now], { at: now }, new Date(now * 1000).toISOString()]) {
        list.push([`${claim} ${JSON.stringify(wrong)}`, { [claim]: wrong }, REFUSED]);
      }
    }
    for (const wrong of ['https://evil.example', `${issuer}.evil.example`, `${issuer}//`, `${issuer}/x`, ` ${issuer}`, `${issuer}#`, issuer.replace('http', 'HTTP'), issuer.replace('127.0.0.1', 'localhost'), issuer.slice(0, -1), '', '/', null, 1, [issuer], { iss: issuer }, true]) {
      list.push([`iss ${JSON.stringify(wrong)}`, { iss: wrong }, REFUSED]);
    }
    for (const wrong of ['other', '', `${AUDIENCE} `, `${AUDIENCE} other`, AUDIENCE.toUpperCase(), `${AUDIENCE}/`, `x${AUDIENCE}`, '*', null, 1, true, { [AUDIENCE]: AUDIENCE }, ['other'], [`${issuer}/as/token.oauth2`, 'https://imsoidc.bentley.com/resources'], [null], ['']]) {
      list.push([`aud ${JSON.stringify(wrong)}`, { aud: wrong }, REFUSED]);
    }
    for (const wrong of [null, 1, true, { a: SCOPE }, [SCOPE, 1], [[SCOPE]], [null]]) {
      list.push([`scope ${JSON.stringify(wrong)}`, { scope: wrong }, SCOPE_TYPE]);
    }
    for (const claim of ['sub', 'client_id']) {
      for (const wrong of [null, 1, true, ['a'], { a: 'a' }]) {
        list.push([`${claim} ${JSON.stringify(wrong)}`, { [claim]: wrong }, IDENTITY]);
      }
    }
    return list;
  }

  // [name, what becomes of the good token's text, expected, which good tokens this is for]
  function texts(algorithm) {
    const length = Buffer.from(signature(algorithm, keys[algorithm].privateKey, ''), 'latin1').length;
    const part = (number, change) => (token) =>
      token.split('.').map((one, n) => (n === number ? change(one) : one)).join('.');
    const octets = (change) => part(2, (one) => encode(change(Buffer.from(one, 'base64url'))));
    const flip = (at) => octets((all) => {
      all[at < 0 ? all.length + at : at] ^= 1;
      return all;
    });
    const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    // the same octets, written with bits that mean nothing
    const loose = (one) => one.slice(0, -1) + ALPHABET[ALPHABET.indexOf(one.at(-1)) + 1];
    const list = [
      ['as it is', (token) => token, TAKEN],
      ['signature empty', part(2, () => ''), REFUSED],
      ['signature missing', (token) => token.slice(0, token.lastIndexOf('.')), REFUSED],
      ['signature of nothing but zeros', octets((all) => Buffer.alloc(all.length)), REFUSED],
      ['signature of nothing but ones', octets((all) => Buffer.alloc(all.length, 255)), REFUSED],
      ['signature an octet shorter', octets((all) => all.subarray(0, -1)), REFUSED],
      ['signature an octet longer', octets((all) => Buffer.concat([all, Buffer.alloc(1)])), REFUSED],
      ['signature a zero in front', octets((all) => Buffer.concat([Buffer.alloc(1), all])), REFUSED],
      ['signature twice', octets((all) => Buffer.concat([all, all])), REFUSED],
      ['signature reversed', octets((all) => all.reverse()), REFUSED],
      ['signature a character shorter', (token) => token.slice(0, -1), REFUSED],
      ['signature with a bit changed at the start', flip(0), REFUSED],
      ['signature with a bit changed in the middle', flip(length >> 1), REFUSED],
      ['signature with a bit changed at the end', flip(-1), REFUSED],
      ['payload with a character changed', part(1, (one) => one.replace(/^ey./, 'eyA')), REFUSED],
      ['header and payload swapped', (token) => token.replace(/^([^.]*)\.([^.]*)/, '$2.$1'), REFUSED],
      ['header empty', part(0, () => ''), REFUSED],
      ['payload empty', part(1, () => ''), REFUSED],
      ['a part more', (token) => `${token}.AAAA`, REFUSED],
      ['a part more in front', (token) => `AAAA.${token}`, REFUSED],
      ['five parts', (token) => `${token}.AAAA.AAAA`, REFUSED],
      ['a dot at the end', (token) => `${token}.`, REFUSED],
      ['quotes around', (token) => `"${token}"`, REFUSED],
      ['encoded once more', (token) => encode(token), REFUSED],
      ['in capitals', (token) => token.toUpperCase(), REFUSED],
      ['JSON serialization', (token) => {
        const [header, payload, end] = token.split('.');
        return JSON.stringify({ protected: header, payload, signature: end });
      }, REFUSED],
      ['padding at the end', (token) => `${token}=`, ONE_TEXT],
      ['padding, two', (token) => `${token}==`, ONE_TEXT],
      ['base64 in place of base64url', part(2, (one) => one.replaceAll('-', '+').replaceAll('_', '/')), ONE_TEXT, (token) => /[-_][^.]*$/.test(token)],
    ];
    // a last character of four or two bits that mean nothing
    if (length % 3 !== 0) list.push(['bits that mean nothing', part(2, loose), ONE_TEXT]);
    return list;
  }

  function expectedOf(...parts) {
    if (parts.includes(REFUSED)) return REFUSED;
    return parts.find((part) => part !== TAKEN) ?? TAKEN;
  }

  function changed(claims_, changes) {
    return typeof changes === 'function' ? changes(claims_) : { ...claims_, ...changes };
  }

  const cases = [];
  const add = (name, expected, make) => cases.push({ name, expected, make });
  const good = (shape, algorithm) => ({ alg: algorithm, kid: keys[algorithm].kid, ...types[shape] });

  // every algorithm, every header, every text
  for (const [number, algorithm] of ALGORITHMS.entries()) {
    const shape = Object.keys(shapes)[number % 3];
    for (const [name, header, expected, { by = keys[algorithm] } = {}] of headers(algorithm)) {
      add(`${algorithm}, ${shape}: ${name}`, expected, (now) => signed(header, shapes[shape](now), by, algorithm));
    }
    for (const [name, change, expected, fits = () => true] of texts(algorithm)) {
      add(`${algorithm}, ${shape}: ${name}`, expected, (now) => {
        for (let n = 0; ; n += 1) {
          const token = signed(good(shape, algorithm), { ...shapes[shape](now), n }, keys[algorithm]);
          if (fits(token)) return change(token);
        }
      });
    }
  }
  // every shape, all claims; the algorithms in turn
  for (const shape of Object.keys(shapes)) {
    for (const [number, [name, , expected]] of claims(0, shape).entries()) {
      const algorithm = ALGORITHMS[number % ALGORITHMS.length];
      add(`${shape}, ${algorithm}: ${name}`, expected, (now) =>
        signed(good(shape, algorithm), changed(shapes[shape](now), claims(now)[number][1]), keys[algorithm]));
    }
  }
  // pairs of a header and claims: no good half helps a bad one
  const all = headers('ES256');
  for (const [number, [header, value, first, { by = keys.ES256 } = {}]] of all.entries()) {
    for (let step = 0; step < 5; step += 1) {
      const which = (number * 7 + step * 31) % claims(0).length;
      const [claim, , second_] = claims(0)[which];
      if (claim === 'an ID token by its nonce') continue; // `typ` decides
      // together they may be too large, and either is refused for that
      if (first === LARGE || second_ === LARGE) continue;
      add(`${header} with ${claim}`, expectedOf(first, second_), (now) =>
        signed(value, changed(shapes.ims(now), claims(now)[which][1]), by, 'ES256'));
    }
  }
  // the public key as a secret of HMAC
  for (const algorithm of ['RS256', 'ES256', 'EdDSA']) {
    const { publicKey, kid, jwk } = keys[algorithm];
    const secrets = {
      PEM: publicKey.export({ type: 'spki', format: 'pem' }),
      DER: publicKey.export({ type: 'spki', format: 'der' }),
      JWK: JSON.stringify(jwk),
      value: Buffer.from(jwk.n ?? jwk.x, 'base64url'),
      empty: '',
    };
    for (const [form, secret] of Object.entries(secrets)) {
      for (const hash of ['256', '384', '512']) {
        add(`HS${hash} with the public key of ${algorithm} as ${form}`, REFUSED, (now) => {
          const start = `${encode(text({ alg: `HS${hash}`, kid }))}.${encode(text(shapes.ims(now)))}`;
          return `${start}.${createHmac(`sha${hash}`, secret).update(start).digest('base64url')}`;
        });
      }
    }
  }
  // what nobody signed
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '', 'ES256']) {
    for (const end of ['', '.', '.AA', '.bm9uZQ']) {
      add(`alg ${alg}, unsigned, then "${end}"`, REFUSED, (now) =>
        `${encode(text({ alg, kid: 'es256' }))}.${encode(text(shapes.ims(now)))}${end}`);
    }
  }
  // keys that are not as others
  add('4,096 bits', TAKEN, (now) => signed({ alg: 'RS256', kid: 'large' }, shapes.ims(now), extra.large));
  add('1,024 bits', REFUSED, (now) => signed({ alg: 'RS256', kid: 'small' }, shapes.ims(now), extra.small));
  add('a key for encryption', REFUSED, (now) => signed({ alg: 'ES256', kid: 'encryption' }, shapes.ims(now), extra.encryption));
  for (const algorithm of ALGORITHMS.slice(0, 6)) {
    add(`a key without alg, ${algorithm}`, algorithm === 'RS256' ? TAKEN : ONE_ALGORITHM, (now) =>
      signed({ alg: algorithm, kid: 'unnamed' }, shapes.ims(now), extra.unnamed, algorithm));
  }
  for (const [number, twin] of extra.twins.entries()) {
    add(`twin ${number}`, TAKEN, (now) => signed({ alg: 'ES256', kid: 'twin' }, shapes.ims(now), twin));
  }
  add('Ed25519, and the key says EdDSA', OTHER_NAME, (now) =>
    signed({ alg: 'Ed25519', kid: 'eddsa' }, shapes.ims(now), keys.EdDSA));
  add('Ed25519, as the key says', TAKEN, (now) => signed({ alg: 'Ed25519', kid: 'ed25519' }, shapes.ims(now), extra.edwards));
  // signed rightly, but by another form of the algorithm than JOSE has
  add('ES256 as DER', REFUSED, (now) => {
    const start = `${encode(text(good('ims', 'ES256')))}.${encode(text(shapes.ims(now)))}`;
    return `${start}.${signOctets('sha256', Buffer.from(start), keys.ES256.privateKey).toString('base64url')}`;
  });
  for (const [name, saltLength] of [['no salt', 0], ['a salt of 20', 20], ['the longest salt', constants.RSA_PSS_SALTLEN_MAX_SIGN]]) {
    add(`PS256 with ${name}`, REFUSED, (now) => {
      const start = `${encode(text(good('ims', 'PS256')))}.${encode(text(shapes.ims(now)))}`;
      const key = { key: keys.PS256.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength };
      return `${start}.${signOctets('sha256', Buffer.from(start), key).toString('base64url')}`;
    });
  }
  for (const [algorithm, hash] of [['RS256', 'sha1'], ['RS256', 'sha512'], ['ES256', 'sha512'], ['ES384', 'sha256']]) {
    add(`${algorithm} over ${hash}`, REFUSED, (now) => {
      const start = `${encode(text(good('ims', algorithm)))}.${encode(text(shapes.ims(now)))}`;
      const key = { key: keys[algorithm].privateKey, dsaEncoding: 'ieee-p1363' };
      return `${start}.${signOctets(hash, Buffer.from(start), key).toString('base64url')}`;
    });
  }
  // what is no JWS at all
  for (const odd of ['opaque', '.-.', '.~..', '...~', '....', 'a.b.c', 'eyJ', '0'.repeat(64), 'null', 'e30.e30.e30', 'eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA']) {
    add(`the text ${odd.slice(0, 30)}`, REFUSED, () => odd);
  }
  return { jwks, cases };
}
