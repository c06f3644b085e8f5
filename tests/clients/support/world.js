// The sandbox, with a proxy in front of it that stands where api.bentley.com, ims.bentley.com and
// buddi.bentley.com are for software that nobody will change: every way in at once.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { knowing } from './network.js';
import { PROGRAM, command, directory, startProxy, startSandbox } from './program.js';

export const IMODELS = 23;
export const NAMES = ['api.bentley.com', 'foo-api.bentley.com', 'ims.bentley.com', 'foo-ims.bentley.com', 'buddi.bentley.com'];
/** A listener that software is told by its address. */
export const BASE = '127.0.0.1:8080';
const CLIENTS = fileURLToPath(new URL('..', import.meta.url));
/** Those of `agent.py`. */
const PACKAGES = path.join(CLIENTS, 'python/site-packages');

/** `forward` is the origin of the forward proxy; `ca` is the authority's file. */
export async function startWorld(t, { routes = [], forward: listener = {}, ...rest } = {}) {
  const sandbox = await startSandbox(t, ['--imodels', String(IMODELS), '--algorithm', 'es256']);
  const home = directory(t);
  const made = await command(['ca', 'init', '--hosts', NAMES.join(','), '--out', home]);
  assert.equal(made.code, 0, made.stderr);
  const ca = path.join(home, 'ca.crt');
  const own = { provider: 'sandbox', credential: 'agent' };
  const proxy = await startProxy(t, {
    workers: 1,
    providers: { sandbox: { issuer: sandbox.issuer } },
    credentials: {
      agent: {
        provider: 'sandbox',
        client_id: sandbox.client_id,
        client_secret: sandbox.client_secret,
        scopes: ['itwin-platform'],
      },
    },
    interception: { certificate: ca, key: path.join(home, 'ca.key'), hosts: NAMES },
    listeners: [
      { bind: BASE },
      { bind: '127.0.0.1:0', mode: 'forward', ...listener },
      { bind: '127.0.0.1:443', tls: { minted: true } },
    ],
    authorities: [own, { ...own, path: '/', hosts: ['ims.bentley.com', 'foo-ims.bentley.com'] }],
    url_discovery: {},
    routes: [
      ...routes,
      { inject: 'agent', upstream: sandbox.hub, hosts: ['api.bentley.com', 'foo-api.bentley.com'] },
      { inject: 'agent', upstream: sandbox.hub },
    ],
    ...rest,
  });
  const [, forward] = proxy.origins;
  return { sandbox, proxy, forward, ca, home };
}

/**
 * Runs a program of `agents/` with this environment and nothing else of ours, after the commands that
 * make its kind of software (`trust`) trust the authority, where names lead to these addresses.
 * Answers what its last line says, which is JSON.
 */
export async function agent(t, { ca, home }, [program, ...args], { env = {}, trust, names } = {}) {
  const { PATH, HOME } = process.env;
  const recipe = trust ? `eval "$(${PROGRAM} ca export --for ${trust} ${ca})";` : '';
  const [first, ...rest] = [
    ...(names ? knowing(t, names) : []),
    ...['bash', '-ec', `cd ${home}; ${recipe} cd ${CLIENTS}; exec "$@"`, 'bash'],
    program === 'node' ? process.execPath : program,
    ...args,
  ];
  const { stdout, stderr } = await promisify(execFile)(first, rest, {
    env: { PATH, HOME, PYTHONPATH: PACKAGES, ...env },
    timeout: 60_000,
  });
  try {
    return JSON.parse(stdout.trim().split('\n').at(-1));
  } catch {
    throw new Error(`${[program, ...args].join(' ')} said ${stdout}${stderr}`);
  }
}
