// docs/legacy.md, typed as it stands by somebody who starts from nothing, with the agents of agents/ in
// the place of the reader's own. What the page has at Bentley is the sandbox.
import './support/network.js';

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { PROGRAM, directory, logLine, start, startSandbox } from './support/program.js';

const PAGE = readFileSync(fileURLToPath(new URL('../../docs/legacy.md', import.meta.url)), 'utf8');
const AGENTS = fileURLToPath(new URL('agents', import.meta.url));
const CLIENTS = path.dirname(AGENTS);
const LIST = 'https://api.bentley.com/imodels?$top=3&iTwinId=';

/** The first block of this kind below a heading. */
function block(heading, kind) {
  const [, section] = PAGE.split(`\n## ${heading}\n`);
  assert.ok(section, `there is no ${heading}`);
  return new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\``, 'ms').exec(section.split('\n## ')[0])[1];
}

/** Heading: what the page calls the reader's program, what stands for it, and what that says. */
const RECIPES = {
  'An agent of iModel.js 1.x': ['node agent-1.x.js', (itwin) => `node ${AGENTS}/generation1.cjs ${itwin}`, { found: 23 }],
  'An agent of iModel.js 2.x': [
    'node agent-2.x.js',
    (itwin) => `node ${AGENTS}/generation2.cjs agent ${itwin}`,
    { found: 23, unverified: true },
  ],
  'Current SDKs with HTTPS_PROXY': [
    'node application.js',
    (itwin) => `node ${AGENTS}/imodels.cjs ${CLIENTS} imodels ${itwin}`,
    { found: 23 },
  ],
  'Software with the hosts in its code': [
    'node application.js',
    (itwin) => `node ${AGENTS}/today.mjs fetch ${itwin}`,
    { found: 3 },
  ],
  Python: [
    'python3 agent.py',
    (itwin) => `PYTHONPATH=${CLIENTS}/python/site-packages python3 ${AGENTS}/agent.py '${LIST}${itwin}'`,
    { found: 3 },
  ],
  Java: ['Agent.java', (itwin) => `${AGENTS}/Agent.java '${LIST}${itwin}'`, { found: 3 }],
  'curl and scripts': ['bash agent.sh', (itwin) => `bash ${AGENTS}/agent.sh '${LIST}${itwin}'`, { found: 3 }],
};

async function typed(home, commands) {
  const { PATH, HOME } = process.env;
  const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', commands], {
    cwd: home,
    env: { HOME, PATH: `${path.dirname(PROGRAM)}:${PATH}` },
    timeout: 60_000,
  });
  return stdout;
}

test('each recipe of the page leads its agent to the service', async (t) => {
  const sandbox = await startSandbox(t, ['--algorithm', 'es256']);
  const home = directory(t);
  const [api, ims] = ['    upstream: https://api.bentley.com\n', '    upstream: https://ims.bentley.com\n'];
  const page = block('What all recipes stand on', 'yaml');
  const more = block('Software with the hosts in its code', 'yaml').replace('listeners:\n', '');
  assert.ok(page.includes(api) && page.includes(ims) && page.includes('listeners:\n'));
  const here = page
    .replace('  agent:\n', '  agent:\n    provider: sandbox\n')
    .replace('service-a1b2c3', sandbox.client_id)
    .replace(ims, `    upstream: ${sandbox.issuer}\n`)
    // on a forward listener, a route without hosts is for its upstream's
    .replace(`  - inject: agent\n${api}`, (route) => {
      const toSandbox = route.replace('https://api.bentley.com', sandbox.hub);
      return `${toSandbox}    hosts: api.bentley.com\n${toSandbox}`;
    })
    .replace('listeners:\n', `listeners:\n${more}`);
  writeFileSync(path.join(home, 'legacy.yaml'), `providers: {sandbox: {issuer: '${sandbox.issuer}'}}\n${here}`);
  writeFileSync(path.join(home, 'client-secret'), sandbox.client_secret, { mode: 0o600 });
  await typed(home, block('What all recipes stand on', 'sh'));

  const proxy = start(t, ['run', '--config', 'legacy.yaml'], { env: { ITWIN_LOG_FORMAT: 'json' }, cwd: home });
  await proxy.line((line) => (logLine(line)?.message === 'admin listening' ? true : undefined));

  for (const [heading, [theirs, ours, expected]] of Object.entries(RECIPES)) {
    await t.test(heading, async () => {
      const text = block(heading, 'sh').replace('sudo ', '');
      assert.ok(text.includes(theirs), text);
      const said = await typed(home, text.replace(theirs, ours(sandbox.itwin_id)));
      assert.deepEqual(JSON.parse(said.trim().split('\n').at(-1)), expected, proxy.lines.slice(-5).join('\n'));
      const counts = await sandbox.counts();
      assert.equal(counts.hub_authorized, counts.hub_requests);
      if (heading.startsWith('Software')) writeFileSync('/etc/hosts', '127.0.0.1 localhost\n');
    });
  }
});
