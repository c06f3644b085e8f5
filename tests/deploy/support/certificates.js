// Throw-away certificates from the openssl command, for a webhook's service.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** `{ ca, cert, key }`, each PEM: a server of these DNS names, signed by an authority of its own. */
export function certificate(names, days = 2) {
  const home = mkdtempSync(path.join(tmpdir(), 'itwin-auth-proxy-certificate-'));
  const file = (entry) => path.join(home, entry);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...curve, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-days', `${days}`, '-subj', '/CN=test');
  openssl('req', '-new', ...curve, '-keyout', file('key'), '-out', file('csr'), '-subj', `/CN=${names[0]}`);
  writeFileSync(file('ext'), `subjectAltName=${names.map((name) => `DNS:${name}`)}\nextendedKeyUsage=serverAuth\n`);
  openssl('x509', '-req', '-in', file('csr'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial',
    '-days', `${days}`, '-extfile', file('ext'), '-out', file('pem'));
  const [ca, cert, key] = ['ca.pem', 'pem', 'key'].map((entry) => readFileSync(file(entry), 'utf8'));
  rmSync(home, { recursive: true });
  return { ca, cert, key };
}
