// docs/interception.md, typed as it stands: only ports and directories are others.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { PROGRAM, command, directory, logLine, start, startSandbox } from './support/program.js';

const PAGE = readFileSync(fileURLToPath(new URL('../../docs/interception.md', import.meta.url)), 'utf8');

/** The page's first block of this kind that has this in it. */
function block(kind, part) {
  const blocks = [...PAGE.matchAll(/^```(\w+)\n(.*?)^```/gms)];
  return blocks.find(([, found, text]) => found === kind && text.includes(part))[2];
}

async function shell(home, script) {
  const { PATH, HOME } = process.env;
  return promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: home,
    env: { HOME, PATH: `${path.dirname(PROGRAM)}:${PATH}` },
  });
}

test('the page leads from nothing to an opened connection', async (t) => {
  const sandbox = await startSandbox(t);
  const home = directory(t);
  const config = block('yaml', 'mode: forward')
    .replaceAll('http://127.0.0.1:9000', sandbox.issuer)
    .replaceAll('http://127.0.0.1:9001', sandbox.hub)
    .replaceAll('127.0.0.1:3128', '127.0.0.1:0')
    .replace(/ca\.(crt|key)/g, (name) => path.join(home, name));
  writeFileSync(path.join(home, 'opened.yaml'), config);
  const { stdout: shown } = await shell(home, block('sh', 'ca init'));
  assert.match(shown, /signs for +api\.bentley\.com, and names below/);

  const proxy = start(t, ['run', '--config', path.join(home, 'opened.yaml')], {
    env: { ITWIN_LOG_FORMAT: 'json', ITWIN_ADMIN_BIND: '127.0.0.1:0' },
  });
  const address = await proxy.line((line) => {
    const fields = logLine(line);
    return fields?.message === 'listening' ? fields.address : undefined;
  });
  const call = block('sh', 'HTTPS_PROXY').replaceAll('127.0.0.1:3128', address);
  const { stdout } = await shell(home, call);
  const { iTwins } = JSON.parse(stdout);
  assert.ok(iTwins.length > 0, stdout);
});

test("the configuration that takes a service's place has no fault", async (t) => {
  const home = directory(t);
  const config = block('yaml', 'minted: true')
    .replaceAll('/run/secrets/itwin', path.join(home, 'secret'))
    .replace(/ca\.(crt|key)/g, (name) => path.join(home, name));
  writeFileSync(path.join(home, 'secret'), 'a secret that nobody guesses', { mode: 0o600 });
  const file = path.join(home, 'taking.yaml');
  writeFileSync(file, config);
  const made = await command(['ca', 'init', '--config', file]);
  assert.equal(made.code, 0, made.stderr);
  const checked = await command(['check', '--config', file]);
  assert.equal(checked.code, 0, checked.stderr);
  assert.doesNotMatch(checked.stderr, /warning|error/);
});
