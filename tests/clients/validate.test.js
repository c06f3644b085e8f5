// docs/validate.md, typed as it stands: only the ports are others.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { PROGRAM, directory, logLine, start, startSandbox, until } from './support/program.js';

const PAGE = readFileSync(fileURLToPath(new URL('../../docs/validate.md', import.meta.url)), 'utf8');

/** The page's first block of this kind that has this in it. */
function block(kind, part) {
  const blocks = [...PAGE.matchAll(/^```(\w+)\n(.*?)^```/gms)];
  return blocks.find(([, found, text]) => found === kind && text.includes(part))[2];
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function reachable(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

test('the page leads from nothing to a protected service', async (t) => {
  const sandbox = await startSandbox(t);
  const [servicePort, proxyPort] = [await freePort(), await freePort()];
  const here = (text) =>
    text
      .replaceAll('http://127.0.0.1:9000', sandbox.issuer)
      .replaceAll('3001', String(servicePort))
      .replaceAll('127.0.0.1:8080', `127.0.0.1:${proxyPort}`);

  const service = spawn('bash', ['-c', `exec ${here(block('sh', 'python3'))}`], { stdio: 'ignore' });
  t.after(() => service.kill());
  await until(() => reachable(servicePort));

  const home = directory(t);
  const file = path.join(home, 'service.yaml');
  writeFileSync(file, here(block('yaml', 'providers:')));
  const proxy = start(t, ['run', '--config', file], {
    env: { ITWIN_LOG_FORMAT: 'json', ITWIN_ADMIN_BIND: '127.0.0.1:0' },
  });
  await proxy.line((line) => (logLine(line)?.message === 'listening' ? true : undefined));

  const { PATH, HOME } = process.env;
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', here(block('sh', 'curl'))], {
    cwd: home,
    env: { HOME, PATH: `${path.dirname(PROGRAM)}:${PATH}` },
  });
  // what `verify` prints begins a line; the answers before it need not end theirs
  const end = stdout.search(/^route /m);
  const [asked, verified] = [stdout.slice(0, end), stdout.slice(end)];
  assert.match(asked, /^HTTP\/1\.1 401 /);
  assert.match(asked, /"code":"TokenMissing"/);
  assert.match(asked, /www-authenticate: Bearer /i);
  for (const field of ['x-itwin-subject', 'x-itwin-client-id: service-sandbox', 'x-itwin-caller: bearer']) {
    assert.ok(asked.toLowerCase().includes(field), `${field} in ${stdout}`);
  }
  assert.match(verified, /would pass/);
});
