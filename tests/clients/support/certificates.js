// Throw-away certificates from the openssl command: an authority, a server on loopback, a client.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { directory } from './program.js';

/** `{ ca, server: { cert, key }, client: { cert, key } }`, each `{ file, pem }`. */
export function certificates(t, names = 'DNS:localhost,IP:127.0.0.1') {
  const home = directory(t);
  const file = (name) => path.join(home, name);
  const read = (name) => ({ file: file(name), pem: readFileSync(file(name), 'utf8') });
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const key = (name) =>
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file(name));

  key('ca.key');
  openssl('req', '-x509', '-new', '-key', file('ca.key'), '-days', '2', '-subj', '/CN=test authority',
    '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
    '-out', file('ca.pem'));
  const leaf = (name, subject, names, usage) => {
    key(`${name}.key`);
    openssl('req', '-new', '-key', file(`${name}.key`), '-subj', subject, '-out', file(`${name}.csr`));
    writeFileSync(file(`${name}.ext`),
      `subjectAltName=${names}\nextendedKeyUsage=${usage}\nbasicConstraints=CA:FALSE\n`);
    openssl('x509', '-req', '-in', file(`${name}.csr`), '-CA', file('ca.pem'), '-CAkey', file('ca.key'),
      '-CAcreateserial', '-days', '2', '-extfile', file(`${name}.ext`), '-out', file(`${name}.pem`));
    return { cert: read(`${name}.pem`), key: read(`${name}.key`) };
  };
  const server = leaf('server', '/CN=localhost', names, 'serverAuth');
  const client = leaf('client', '/CN=client.example.com', 'DNS:client.example.com', 'clientAuth');
  return { ca: read('ca.pem'), server, client };
}

/** A key pair for `private_key_jwt`: the private key's file and the public JWK. */
export async function signingKey(t, type) {
  const { generateKeyPairSync } = await import('node:crypto');
  const pair =
    type === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: 2048 });
  const file = path.join(directory(t), 'client.key');
  writeFileSync(file, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return { file, jwk: { ...pair.publicKey.export({ format: 'jwk' }), use: 'sig', alg: type, kid: 'k1' } };
}
