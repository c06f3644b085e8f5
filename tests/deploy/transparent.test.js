// A container whose software knows neither of OAuth nor of a proxy, beside ours, as docs/transparent.md
// has it: the image alone makes the rules, with one capability.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after } from 'node:test';

import { parse } from 'yaml';

import { full } from './support/level.js';

const HOME = path.join(import.meta.dirname, '../..');
const IMAGE = 'localhost/itwin-auth-proxy:test';
const AGENT = 'localhost/transparent-agent';
const USER = 65532;
const PAGE = 'https://api.bentley.com/imodels?iTwinId=22fdf038-024e-47b5-80aa-a1718a89a986&$top=3';

const CONFIG = {
  interception: { certificate: '/ca/ca.crt', key: '/ca/ca.key', hosts: ['api.bentley.com'] },
  listeners: ['127.0.0.1:15001', '[::1]:15001'].map((bind) => ({ bind, mode: 'transparent' })),
  providers: { ids: { issuer: 'http://127.0.0.1:9000' } },
  credentials: {
    agent: { provider: 'ids', client_id: 'service-sandbox', client_secret: 'sandbox-secret', scopes: ['itwin-platform'] },
  },
  routes: [{ hosts: ['api.bentley.com'], inject: 'agent', upstream: 'http://127.0.0.1:9001' }],
};

/** The recipes of the page, each as podman's words. */
function recipes() {
  const page = readFileSync(path.join(HOME, 'docs/transparent.md'), 'utf8');
  const blocks = [...page.matchAll(/```(\w+)\n(.*?)```/gs)].map(([, kind, text]) => ({ kind, text }));
  const yaml = blocks.filter(({ kind }) => kind === 'yaml').map(({ text }) => parse(text));
  const service = yaml.find((block) => block.services).services.redirect;
  const init = yaml.find((block) => block.spec).spec.initContainers.find(({ name }) => name === 'redirect');
  const rights = init.securityContext;
  const typed = blocks.find(({ text }) => text.startsWith('podman run')).text.replaceAll('\\\n', ' ').trim().split(/\s+/);
  const network = typed.indexOf('--network');
  const image = typed.indexOf('itwin-auth-proxy');
  assert.deepEqual(typed.slice(network, network + 2), ['--network', 'container:itwin-auth-proxy']);
  return {
    'by hand': {
      rights: typed.slice(network + 2, image),
      words: typed.slice(image + 1),
    },
    'in Compose': {
      rights: [`--user=${service.user}`, `--read-only=${service.read_only}`,
        ...service.cap_drop.map((name) => `--cap-drop=${name}`), ...service.cap_add.map((name) => `--cap-add=${name}`)],
      words: service.command,
    },
    'in a pod': {
      rights: [`--user=${rights.runAsUser}`, `--read-only=${rights.readOnlyRootFilesystem}`,
        ...rights.capabilities.drop.map((name) => `--cap-drop=${name}`),
        ...rights.capabilities.add.map((name) => `--cap-add=${name}`),
        ...(rights.allowPrivilegeEscalation ? [] : ['--security-opt=no-new-privileges'])],
      words: init.args,
    },
  };
}

const podman = (...words) => execFileSync('podman', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const name = (what) => `transparent-${process.pid}-${what}`;
const network = `--network=container:${name('proxy')}`;
const directory = mkdtempSync('/tmp/transparent-');
const started = [];

function start(what, ...words) {
  podman('run', '--detach', '--name', name(what), ...words);
  started.unshift(name(what));
}

after(() => {
  // those that use another's network first
  for (const container of started) spawnSync('podman', ['rm', '--force', '--time=0', container]);
  rmSync(directory, { recursive: true });
});

/** `curl` in the agent's container; what it printed and how it ended. */
function curl(...words) {
  const { status, stdout, stderr } = spawnSync(
    'podman', ['exec', name('agent'), 'curl', '-sS', '--max-time', '20', ...words], { encoding: 'utf8' },
  );
  return { status, stdout, stderr };
}

const redirect = ({ rights, words }) =>
  spawnSync('podman', ['run', '--rm', network, ...rights, IMAGE, ...words], { encoding: 'utf8' });

full('software that knows of nothing lists two pages, whichever recipe is followed', () => {
  chownSync(directory, USER, USER);
  writeFileSync(path.join(directory, 'config.yaml'), JSON.stringify(CONFIG));
  podman('run', '--rm', `--volume=${directory}:/ca`, IMAGE, 'ca', 'init', '--hosts=api.bentley.com', '--out=/ca');
  // nobody is at this address: what is not redirected fails
  start('proxy', '--add-host=api.bentley.com:192.0.2.10', '--cap-drop=all', '--read-only', '--tmpfs=/tmp',
    `--volume=${directory}:/ca:ro`, IMAGE, 'run', '--config=/ca/config.yaml');
  start('sandbox', network, IMAGE, 'sandbox', '--port=9000');
  start('agent', network, `--volume=${directory}/ca.crt:/ca.crt:ro`, AGENT);
  podman('exec', name('proxy'), 'itwin-auth-proxy', 'wait', '--config=/ca/config.yaml', '--timeout=30');

  for (const [where, recipe] of Object.entries(recipes())) {
    const made = redirect(recipe);
    assert.equal(made.status, 0, `${where}: ${made.stderr}`);
    const pages = [PAGE];
    for (const page of pages) {
      const { status, stdout, stderr } = curl('--cacert', '/ca.crt', page);
      assert.equal(status, 0, `${where}: ${stderr}`);
      const { iModels, _links: links } = JSON.parse(stdout);
      assert.equal(iModels.length, 3, where);
      if (pages.length < 2) pages.push(links.next.href);
    }
    const removed = redirect({ ...recipe, words: ['redirect', '--remove'] });
    assert.equal(removed.stdout, 'removed what nft wrote\n', `${where}: ${removed.stderr}`);
  }
  assert.notEqual(curl('--connect-timeout', '1', '--cacert', '/ca.crt', PAGE).status, 0);
});

full('without the capability the container says what it takes', () => {
  const [{ words }] = Object.values(recipes());
  const { status, stderr } = redirect({ rights: ['--user=0', '--cap-drop=all'], words });
  assert.equal(status, 77);
  assert.match(stderr, /cap_add: \[NET_ADMIN\]/);
});
