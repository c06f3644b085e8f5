// Trusting the authority of an interception, as `ca export` says for each kind of software: each recipe is run as it is
// printed, and the software then calls api.bentley.com, whose name leads to us. What it changes is seen by nobody else: it
// runs in a mount namespace of its own.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { bearer, inject, SERVICE } from './support/config.js';
import { startOrigin } from './support/origin.js';
import { command, directory, PROGRAM, startProxy } from './support/program.js';
import { startProvider } from './support/provider.js';

const HOST = 'api.bentley.com';

async function world(t) {
  const home = directory(t);
  const made = await command(['ca', 'init', '--hosts', HOST, '--out', home]);
  assert.equal(made.code, 0, made.stderr);
  const provider = await startProvider(t, { clients: [SERVICE.client] });
  const origin = await startOrigin(t);
  const [certificate, key] = ['ca.crt', 'ca.key'].map((name) => path.join(home, name));
  const proxy = await startProxy(
    t,
    inject({
      provider,
      origin: origin.origin,
      credential: SERVICE.credential,
      route: { hosts: [HOST] },
      listeners: [{ bind: '127.0.0.1:0', tls: { minted: true } }],
      interception: { certificate, key, hosts: [HOST] },
    }),
  );
  const { port } = new URL(proxy.origin);
  writeFileSync(path.join(home, 'hosts'), `127.0.0.1 localhost ${HOST}\n::1 localhost\n`);
  const url = `https://${HOST}:${port}/imodels?$top=1`;
  return { home, certificate, key, origin, port, url };
}

/** Runs a script where the service's name leads to us; `{ code, stdout, stderr }`. */
async function where({ home, url }, script, { before = '' } = {}) {
  const work = path.join(home, 'work');
  mkdirSync(work, { recursive: true });
  const all = `set -e\nmount --bind "${home}/hosts" /etc/hosts\n${before}\ncd "${work}"\n${script}\n`;
  const own = process.getuid() === 0 ? '-m' : '-rm';
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, URL: url, CA: path.join(home, 'ca.crt'), PROGRAM };
  try {
    const options = { env, timeout: 60_000, maxBuffer: 1 << 24 };
    const { stdout, stderr } = await promisify(execFile)('unshare', [own, 'sh', '-c', all], options);
    return { code: 0, stdout, stderr };
  } catch (error) {
    if (typeof error.code !== 'number') throw error;
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

const NODE = `node -e "
  const https = require('node:https');
  https.get(process.env.URL, (r) => { r.pipe(process.stdout); }).on('error', (e) => { console.error(e.code); process.exit(1); });"`;
const NODE_FETCH = `node -e "
  fetch(process.env.URL).then(async (r) => process.stdout.write(await r.text()), (e) => { console.error(e.cause.code); process.exit(1); });"`;
const REQUESTS = `python3 -c 'import os, requests; print(requests.get(os.environ["URL"]).text)'`;
const URLLIB = `python3 -c 'import os, urllib.request as u; print(u.urlopen(os.environ["URL"]).read().decode())'`;
const CURL = `curl --silent --show-error --globoff "$URL"`;
const JAVA = `cat > Call.java <<'END'
import java.net.URI; import java.net.http.*;
public class Call { public static void main(String[] a) throws Exception {
  var request = HttpRequest.newBuilder(URI.create(System.getenv("URL"))).build();
  System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body()); } }
END
java Call.java`;
// What update-ca-certificates writes goes to copies.
const OWN_STORE = `
  mkdir -p "$(dirname "$CA")/certs" && cp -a /etc/ssl/certs/. "$(dirname "$CA")/certs"
  mount --bind "$(dirname "$CA")/certs" /etc/ssl/certs
  mount -t tmpfs none /usr/local/share/ca-certificates`;

for (const [name, software, call] of [
  ["Node's https", 'node', NODE],
  ["Node's fetch", 'node', NODE_FETCH],
  ["Python's requests", 'python', REQUESTS],
  ["Python's urllib", 'python', URLLIB],
  ["Java's HttpClient", 'java', JAVA],
  ['curl', 'curl', CURL],
  ['curl with the store of Debian', 'debian', CURL],
  ["Python's urllib with the store of Debian", 'debian', `export SSL_CERT_DIR=/etc/ssl/certs\n${URLLIB}`],
]) {
  test(`${name} trusts us once it has been told to, and not before`, async (t) => {
    const here = await world(t);
    const before = software === 'debian' ? OWN_STORE : '';
    const untold = await where(here, call, { before });
    assert.notEqual(untold.code, 0, untold.stdout);
    assert.match(untold.stderr, /certificat|CERT|issuer/i);
    assert.equal(here.origin.requests.length, 0);

    const recipe = `"$PROGRAM" ca export --for ${software} "$CA" > recipe.sh\n. ./recipe.sh >/dev/null`;
    const told = await where(here, `${recipe}\n${call}`, { before });
    assert.equal(told.code, 0, told.stderr);
    const seen = JSON.parse(told.stdout.slice(told.stdout.indexOf('{')));
    assert.equal(seen.path, '/imodels?$top=1');
    assert.equal(bearer(seen.authorization).split('.').length, 3);
  });
}

test('a recipe for all calls leaves the authorities of the system in place', async (t) => {
  const here = await world(t);
  for (const [software, file] of [['python', 'itwin-python.pem'], ['curl', 'itwin-curl.pem'], ['dotnet', 'itwin-dotnet.pem']]) {
    const told = await where(here, `eval "$("$PROGRAM" ca export --for ${software} "$CA")"\ncat ${file}`);
    assert.equal(told.code, 0, told.stderr);
    assert.ok(told.stdout.split('BEGIN CERTIFICATE').length > 50, `${software}: only ${told.stdout.length} bytes`);
  }
  const store = await where(here, 'keytool -list -keystore itwin-java.truststore -storepass changeit', {
    before: `cd "$(dirname "$CA")" && mkdir -p work && cd work && eval "$("$PROGRAM" ca export --for java "$CA")" && unset JAVA_TOOL_OPTIONS`,
  });
  assert.equal(store.code, 0, store.stderr + store.stdout);
  assert.ok(store.stdout.split('trustedCertEntry').length > 50);
  assert.match(store.stdout, /itwin-auth-proxy/);
});

test("curl believes us for one call with --cacert, and openssl in both versions of TLS", async (t) => {
  const here = await world(t);
  const one = await where(here, `${CURL} --cacert "$CA"`);
  assert.equal(JSON.parse(one.stdout).path, '/imodels?$top=1', one.stderr);
  for (const version of ['-tls1_2', '-tls1_3']) {
    const out = execFileSync(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${here.port}`, '-servername', HOST, '-verify_hostname', HOST,
        '-verify_return_error', '-CAfile', here.certificate, version],
      { input: '', encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] },
    );
    assert.match(out, /Verify return code: 0 \(ok\)/);
  }
});

test('what somebody signs who has stolen the key is good for no other host, no address and no authority', async (t) => {
  const here = await world(t);
  const file = (name) => path.join(here.home, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', file('stolen.key'));
  const sign = (names, more = 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth', subject = '/O=thief') => {
    openssl('req', '-new', '-key', file('stolen.key'), '-subj', subject, '-out', file('stolen.csr'));
    writeFileSync(file('stolen.ext'), `subjectAltName=${names}\n${more}\n`);
    openssl('x509', '-req', '-in', file('stolen.csr'), '-CA', here.certificate, '-CAkey', here.key, '-days', '1',
      '-set_serial', '7', '-extfile', file('stolen.ext'), '-out', file('stolen.pem'));
    try {
      return openssl('verify', '-purpose', 'sslserver', '-CAfile', here.certificate, file('stolen.pem'));
    } catch (error) {
      return error.stderr + error.stdout;
    }
  };
  assert.match(sign(`DNS:${HOST}`), /: OK/);
  assert.match(sign(`DNS:x.${HOST}`), /: OK/);
  assert.match(sign('DNS:bank.example'), /permitted subtree violation/);
  assert.match(sign(`DNS:${HOST},DNS:bank.example`), /permitted subtree violation/);
  assert.match(sign('IP:127.0.0.1'), /excluded subtree violation/);
  assert.match(sign('IP:::1'), /excluded subtree violation/);
  sign(`DNS:${HOST}`, 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign');
  // an authority below this one signs nothing that is good
  const below = readFileSync(file('stolen.pem'));
  writeFileSync(file('below.pem'), below);
  openssl('req', '-new', '-key', file('stolen.key'), '-subj', '/O=two', '-out', file('two.csr'));
  writeFileSync(file('two.ext'), `subjectAltName=DNS:${HOST}\nextendedKeyUsage=serverAuth\n`);
  openssl('x509', '-req', '-in', file('two.csr'), '-CA', file('below.pem'), '-CAkey', file('stolen.key'), '-days', '1',
    '-set_serial', '8', '-extfile', file('two.ext'), '-out', file('two.pem'));
  assert.throws(
    () => openssl('verify', '-CAfile', here.certificate, '-untrusted', file('below.pem'), file('two.pem')),
    /path length constraint exceeded/,
  );
});
