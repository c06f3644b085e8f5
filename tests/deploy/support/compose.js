// Compose files brought up for real, by Docker's Compose against podman's API or by podman-compose, and
// taken down again. Debug builds of the program are used: localhost/itwin-auth-proxy:test.
import { execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const CACHE = path.join(process.env.DEPLOY_CACHE ?? '/var/cache/itwin-auth-proxy-tests', 'compose');
const FILES = path.join(import.meta.dirname, '../../../deploy/compose');
const PATIENCE = 60_000;

/** Runs a program: `{ code, out, err }`. */
export function run(program, args, { env = {}, cwd, input } = {}) {
  return new Promise((resolve) => {
    const child = execFile(program, args, { cwd, env: { ...process.env, ...env }, maxBuffer: 64 << 20, timeout: 90_000 },
      (error, out, err) => resolve({ code: error ? (error.code ?? 'killed') : 0, out, err }));
    child.stdin.end(input);
  });
}

/** The same; a failure is an error. Answers what it says. */
export async function succeed(program, args, options) {
  const { code, out, err } = await run(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}:\n${out}${err}`);
  return out;
}

/** The Compose files, copied to where a test may change and add to them. Answers the directory. */
export function copy(t) {
  const home = mkdtempSync(path.join(tmpdir(), 'compose-'));
  t.after(() => rmSync(home, { recursive: true, force: true }));
  cpSync(FILES, home, { recursive: true });
  return home;
}

/** Docker's Compose, without a daemon: for what asks none. */
export const dockerCompose = (args, options) => run(path.join(CACHE, 'docker-compose'), args, options);

/**
 * A project under way. `tool` is `docker` or `podman`; `files` are taken from `home`, the directory of
 * the first. The project is named after `name`, and everything of it goes at the end of the test.
 */
export async function project(t, tool, { home, name, files, env = {} }) {
  const projectName = `compose-${name}`;
  const service = tool === 'docker' ? await podmanService() : undefined;
  const settings = { AUTH_PROXY_IMAGE: 'localhost/itwin-auth-proxy:test', COMPOSE_PROJECT_NAME: projectName,
    ...(tool === 'docker' ? { DOCKER_HOST: service.address } : { PYTHONPATH: path.join(CACHE, 'podman-compose') }), ...env };
  const program = tool === 'docker' ? 'docker-compose' : 'podman-compose/bin/podman-compose';
  const args = [...files.flatMap((file) => ['-f', file]), '--project-name', projectName];
  const compose = (...more) => succeed(path.join(CACHE, program), [...args, ...more], { env: settings, cwd: home });

  // Where no systemd runs, nobody asks how containers are.
  const stop = new AbortController();
  const asking = askHealth(projectName, stop.signal);
  t.after(async () => {
    stop.abort();
    await asking;
    await compose('down', '--volumes', '--timeout', '1').catch(() => {});
    const left = await containers(projectName);
    if (left.length > 0) await run('podman', ['rm', '--force', '--depend', '--time', '0', ...left.map(({ id }) => id)]);
    for (const kind of ['network', 'volume']) {
      const named = (await run('podman', [kind, 'ls', '--quiet', '--filter', `name=${projectName}_`])).out.split('\n').filter(Boolean);
      if (named.length > 0) await run('podman', [kind, 'rm', '--force', ...named]);
    }
    service?.stop();
  });

  const it = {
    compose,
    up: () => compose('up', '--detach', ...(tool === 'docker' ? ['--no-build', '--quiet-pull'] : ['--no-build'])),

    /** The id of a service's container. */
    async id(wanted) {
      const found = (await containers(projectName)).find(({ service }) => service === wanted);
      if (!found) throw new Error(`${wanted} has no container`);
      return found.id;
    },

    /** What podman knows of a service's container. */
    inspect: async (wanted) => JSON.parse(await succeed('podman', ['inspect', await it.id(wanted)]))[0],

    /** What a service said so far, on both streams. */
    async logs(wanted) {
      const { out, err } = await run('podman', ['logs', await it.id(wanted)]);
      return out + err;
    },

    /** Waits until a service ended by itself. Answers its exit code. */
    async ended(wanted) {
      return Number((await succeed('podman', ['wait', await it.id(wanted)])).trim());
    },

    /** Runs a program in a service's container: `{ code, out, err }`. */
    exec: async (wanted, ...command) => run('podman', ['exec', await it.id(wanted), ...command]),
  };
  return it;
}

/** Podman's API on a socket. */
async function podmanService() {
  const home = mkdtempSync(path.join(tmpdir(), 'podman-'));
  const socket = path.join(home, 'podman.sock');
  const service = spawn('podman', ['system', 'service', '--time=0', `unix://${socket}`], { stdio: 'ignore' });
  const stop = () => {
    service.kill();
    rmSync(home, { recursive: true, force: true });
  };
  for (const began = Date.now(); !existsSync(socket); await sleep(50)) {
    if (Date.now() - began < PATIENCE) continue;
    stop();
    throw new Error('podman system service does not start');
  }
  return { address: `unix://${socket}`, stop };
}

async function containers(projectName) {
  const listed = JSON.parse(await succeed('podman', ['ps', '--all', '--format', 'json']));
  return listed.filter(({ Labels }) => Labels?.['com.docker.compose.project'] === projectName)
    .map(({ Id, Labels, State }) => ({ id: Id, service: Labels['com.docker.compose.service'], state: State }));
}

async function askHealth(projectName, signal) {
  while (!signal.aborted) {
    const running = (await containers(projectName).catch(() => [])).filter(({ state }) => state === 'running');
    await Promise.all(running.map(({ id }) => run('podman', ['healthcheck', 'run', id])));
    await sleep(300, undefined, { signal }).catch(() => {});
  }
}
