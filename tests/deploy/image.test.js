// The image that the Dockerfile makes: what is in it, and that it runs with no rights at all.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inflateSync } from 'node:zlib';

import { run, succeed } from './support/compose.js';
import { fast, full } from './support/level.js';

const HOME = path.join(import.meta.dirname, '../..');
const IMAGE = process.env.DEPLOY_IMAGE ?? 'localhost/image-itwin-auth-proxy:release';
const SBOM = path.join(process.env.DEPLOY_CACHE ?? '', 'image/itwin-auth-proxy.cdx.json');
const PROGRAM = '/usr/local/bin/itwin-auth-proxy';
const LOCKED_DOWN = ['--cap-drop', 'all', '--read-only', '--user', '65532', '--security-opt', 'no-new-privileges'];
const SANDBOX = {
  ITWIN_ISSUER: 'http://127.0.0.1:9100',
  ITWIN_UPSTREAM: 'http://127.0.0.1:9101',
  ITWIN_CLIENT_ID: 'service-sandbox',
  ITWIN_CLIENT_SECRET: 'sandbox-secret',
};

const podman = (...args) => succeed('podman', args);
const text = (file) => readFileSync(path.join(HOME, file), 'utf8');

fast('the image is of the version that Cargo.toml has', () => {
  const [, version] = text('Cargo.toml').match(/^version = "(.*)"$/m);
  assert.match(text('Dockerfile'), new RegExp(`^ARG VERSION=${version.replaceAll('.', '\\.')}$`, 'm'));
});

fast('the scripts of the image are what a POSIX shell reads', () => {
  for (const script of ['target.sh', 'licences.sh']) execFileSync('sh', ['-n', path.join(HOME, 'deploy/image', script)]);
});

/** Starts a container that goes with the test. Answers its id. */
async function start(t, env, ...args) {
  const variables = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  const id = (await podman('run', '--detach', ...LOCKED_DOWN, ...variables, ...args)).trim();
  t.after(() => run('podman', ['rm', '--force', '--depend', '--time', '0', id]));
  return id;
}

const probe = (id, ...args) => run('podman', ['exec', id, PROGRAM, 'probe', ...args]);

async function until(what, condition) {
  for (let i = 0; i < 150; i += 1) {
    if (await condition()) return;
    await sleep(200);
  }
  assert.fail(`${what}: not within 30 s`);
}

full('the image is small', async () => {
  const [{ Size: size }] = JSON.parse(await podman('image', 'inspect', IMAGE));
  assert.ok(size < 25_000_000, `${size} bytes`);
});

full('nothing is in it but the program, authorities, licence texts and empty directories', async (t) => {
  const id = (await podman('create', IMAGE)).trim();
  const home = mkdtempSync(path.join(tmpdir(), 'image-'));
  t.after(async () => {
    await run('podman', ['rm', id]);
    rmSync(home, { recursive: true, force: true });
  });
  await podman('export', '--output', path.join(home, 'image.tar'), id);
  const listed = execFileSync('tar', ['--list', '--verbose', '--numeric-owner', '--file', path.join(home, 'image.tar')],
    { encoding: 'utf8' }).trim().split('\n').map((line) => line.split(/\s+/));
  const files = listed.filter(([mode]) => !mode.startsWith('d'));
  assert.deepEqual(files.map(([mode, owner, , , , name]) => `${mode} ${owner} ${name}`), [
    '-rw-r--r-- 0/0 etc/ssl/certs/ca-certificates.crt',
    '-rwxr-xr-x 0/0 usr/local/bin/itwin-auth-proxy',
    '-rw-r--r-- 0/0 usr/share/doc/itwin-auth-proxy/LICENSE',
    '-rw-r--r-- 0/0 usr/share/doc/itwin-auth-proxy/THIRD-PARTY',
  ]);
  const writable = listed.filter(([mode, owner]) => owner !== '0/0' || mode[8] === 'w');
  assert.deepEqual(writable.map(([mode, owner, , , , name]) => `${mode} ${owner} ${name}`), [
    'drwxrwxrwt 0/0 tmp/',
    'drwxr-xr-x 65532/65532 var/lib/itwin-auth-proxy/',
    'drwxr-xr-x 65532/65532 var/lib/itwin-auth-proxy/authority/',
  ]);

  execFileSync('tar', ['--extract', '--directory', home, '--file', path.join(home, 'image.tar')]);
  const program = path.join(home, PROGRAM);
  const headers = execFileSync('readelf', ['--program-headers', '--dynamic', program], { encoding: 'utf8' });
  assert.doesNotMatch(headers, /INTERP|NEEDED/, 'it is statically linked');
  assert.match(readFileSync(path.join(home, 'etc/ssl/certs/ca-certificates.crt'), 'utf8'), /BEGIN CERTIFICATE/);

  // scanners read this
  execFileSync('objcopy', ['--dump-section', `.dep-v0=${path.join(home, 'deps')}`, program, path.join(home, 'copy')]);
  const { packages } = JSON.parse(inflateSync(readFileSync(path.join(home, 'deps'))));
  assert.ok(packages.some(({ name, root }) => root && name === 'itwin-auth-proxy'));
  assert.ok(packages.some(({ name, kind }) => name === 'rustls' && kind !== 'build'));

  const licences = readFileSync(path.join(home, 'usr/share/doc/itwin-auth-proxy/THIRD-PARTY'), 'utf8');
  for (const [name, version] of crates()) assert.ok(licences.includes(`\n${name} ${version}: `), `${name} ${version}`);
  assert.match(licences, /GNU LESSER GENERAL PUBLIC LICENSE/);
});

/** The crates that the program is made of, with their versions. */
function crates() {
  const args = ['tree', '--no-default-features', '--locked', '--prefix', 'none', '--edges', 'normal', '--target', 'x86_64-unknown-linux-gnu', '--format', '{p}'];
  const lines = execFileSync('cargo', args, { cwd: HOME, encoding: 'utf8' }).trim().split('\n').slice(1);
  return [...new Set(lines.map((line) => line.split(' ').slice(0, 2).join(' ').replace(' v', ' ')))].map((line) => line.split(' '));
}

full('the bill of materials has every crate, with the checksum of the lock file', () => {
  const { bomFormat, components } = JSON.parse(readFileSync(SBOM, 'utf8'));
  assert.equal(bomFormat, 'CycloneDX');
  const named = new Set(components.map(({ name, version }) => `${name} ${version}`));
  for (const [name, version] of crates()) assert.ok(named.has(`${name} ${version}`), `${name} ${version}`);
  const locked = text('Cargo.lock');
  for (const { name, version, hashes } of components) {
    assert.ok(locked.includes(`name = "${name}"\nversion = "${version}"`), `${name} ${version}`);
    assert.ok(locked.includes(hashes[0].content), `${name} ${version}`);
  }
});

full('it says what it is, who it runs as and how it is asked for its health', async () => {
  const [{ Config: config, Architecture: architecture }] = JSON.parse(await podman('image', 'inspect', IMAGE));
  assert.equal(config.User, '65532:65532');
  assert.deepEqual(config.Entrypoint, [PROGRAM]);
  assert.deepEqual(config.Cmd, ['run']);
  assert.equal(architecture, 'amd64');
  const label = (name) => config.Labels[`org.opencontainers.image.${name}`];
  assert.equal(label('title'), 'itwin-auth-proxy');
  assert.equal(label('licenses'), 'Apache-2.0');
  assert.match(label('revision'), /^[0-9a-f]{40}$/);
  assert.match(await podman('run', '--rm', ...LOCKED_DOWN, IMAGE, '--version'), new RegExp(`itwin-auth-proxy ${label('version')}`));
});

full('without any rights it serves, says that it is healthy, and ends well', async (t) => {
  const sandbox = await start(t, {}, '--no-healthcheck', IMAGE, 'sandbox', '--port', '9100');
  const proxy = await start(t, SANDBOX, '--network', `container:${sandbox}`, '--tmpfs', '/tmp', IMAGE);
  await until('ready', async () => (await probe(proxy)).code === 0);
  assert.equal((await run('podman', ['healthcheck', 'run', proxy])).code, 0);
  assert.equal((await probe(proxy, 'live')).code, 0);

  const { State: { Pid: pid } } = JSON.parse(await podman('inspect', proxy))[0];
  const answer = execFileSync('nsenter', ['--net', '--target', String(pid), 'curl', '-sS', 'http://127.0.0.1:8080/itwins/']);
  assert.match(answer.toString(), /Northern Line/);
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  assert.match(status, /^CapBnd:\s+0+$/m);
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  assert.match(status, /^Seccomp:\s+2$/m);

  // SIGTERM, as a pod's end is
  await podman('stop', '--time', '30', proxy);
  assert.equal(JSON.parse(await podman('inspect', proxy))[0].State.ExitCode, 0);
});

full('where there is no token it is alive and not ready', async (t) => {
  const proxy = await start(t, { ...SANDBOX, ITWIN_ISSUER: 'http://127.0.0.1:1' }, '--network', 'none', IMAGE);
  await until('alive', async () => (await probe(proxy, 'live')).code === 0);
  assert.equal((await probe(proxy)).code, 1);
  assert.equal((await run('podman', ['healthcheck', 'run', proxy])).code, 1);
});

full('a probe of nobody fails', async () => {
  const probing = ['run', '--rm', '--network', 'none', ...LOCKED_DOWN];
  assert.equal((await run('podman', [...probing, IMAGE, 'probe', '--admin', '127.0.0.1:9901'])).code, 1);
  assert.equal((await run('podman', [...probing, IMAGE, 'probe'])).code, 78, 'without a configuration');
});

full('it finds other containers by their names', async (t) => {
  const network = 'image-names';
  await podman('network', 'create', network);
  t.after(() => run('podman', ['network', 'rm', '--force', network]));
  const origin = await start(t, { ...SANDBOX, ITWIN_ISSUER: 'http://127.0.0.1:1', ITWIN_ADMIN_BIND: '0.0.0.0:9901',
    ITWIN_AUTH_PROXY__ADMIN__ALLOW_REMOTE: 'true' },
    '--network', network, '--name', 'image-origin', IMAGE);
  const proxy = await start(t, {
    ITWIN_AUTH_PROXY__LISTENERS__0__BIND: '127.0.0.1:8080',
    ITWIN_AUTH_PROXY__ROUTES__0__UPSTREAM: 'http://image-origin:9901',
  }, '--network', network, IMAGE);
  await until('alive', async () => (await probe(origin, 'live')).code === 0);
  await until('ready', async () => (await probe(proxy)).code === 0);
  const { State: { Pid: pid } } = JSON.parse(await podman('inspect', proxy))[0];
  const answer = execFileSync('nsenter', ['--net', '--target', String(pid), 'curl', '-sS', '-i', 'http://127.0.0.1:8080/live']);
  assert.match(answer.toString(), /^HTTP\/1.1 200/, answer.toString());
});
