// The Compose files as a user finds them, and brought up with mock servers in the place of Bentley's.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { parse } from 'yaml';

import { copy, dockerCompose, project, run, succeed } from './support/compose.js';
import { fast, full } from './support/level.js';

const HOME = path.join(import.meta.dirname, '../../deploy/compose');
const PROGRAM = process.env.ITWIN_AUTH_PROXY;
const files = readdirSync(HOME).filter((name) => name.endsWith('.yaml'));
const REQUIRED = {
  'demo.yaml': {},
  'agent.yaml': { ITWIN_CLIENT_ID: 'service-a1b2c3', AGENT_IMAGE: 'agent' },
  'shared.yaml': { ITWIN_CLIENT_ID: 'service-a1b2c3', READER_IMAGE: 'a', WRITER_IMAGE: 'b', OLD_AGENT_IMAGE: 'c' },
};

for (const file of files) {
  fast(`${file} is what Compose takes, and the proxy in it can do nothing that it need not`, async () => {
    const { code, out, err } = await dockerCompose(['-f', path.join(HOME, file), 'config', '--format', 'json'],
      { env: REQUIRED[file] });
    assert.equal(code, 0, err);
    assert.equal(err, '');
    const ours = Object.entries(JSON.parse(out).services).filter(([, { image }]) => image === 'itwin-auth-proxy');
    assert.ok(ours.length > 0);
    for (const [name, service] of ours) {
      assert.equal(service.read_only, true, name);
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name);
      assert.equal(service.ports, undefined, `${name} is published`);
    }
  });

  for (const name of Object.keys(REQUIRED[file])) {
    fast(`${file} says that ${name} is missing`, async () => {
      const env = { ...REQUIRED[file], [name]: '' };
      const { code, err } = await dockerCompose(['-f', path.join(HOME, file), 'config', '-q'], { env });
      assert.notEqual(code, 0);
      assert.match(err, new RegExp(name));
    });
  }
}

fast('the configuration of shared.yaml has no problems', async (t) => {
  const home = copy(t);
  const secret = path.join(home, 'secret');
  writeFileSync(secret, 'some-secret-of-this-test', { mode: 0o600 });
  const file = path.join(home, 'shared/proxy.yaml');
  writeFileSync(file, readFileSync(file, 'utf8').replaceAll(/\/run\/secrets\/[a-z-]+/g, secret)
    .replaceAll('/var/lib/itwin-auth-proxy', home));
  const env = { ITWIN_AUTH_PROXY: undefined };
  await succeed(PROGRAM, ['ca', 'init', '--keep', '--config', file], { env });
  const { code, err } = await run(PROGRAM, ['check', '--config', file], { env });
  assert.equal(code, 0, err);
  // it does, over a network that two containers of one machine share
  const warnings = err.split('\n').filter((line) => line.startsWith('warning') && !line.endsWith('the key passes over the network unencrypted'));
  assert.deepEqual(warnings, []);
});

for (const tool of ['docker', 'podman']) {
  full(`demo.yaml lists iModels, page after page (${tool}-compose)`, async (t) => {
    const demo = await project(t, tool, { home: HOME, name: `demo-${tool}`, files: ['demo.yaml'] });
    await demo.up();
    assert.equal(await demo.ended('agent'), 0, await demo.logs('agent'));
    assert.deepEqual((await demo.logs('agent')).trim().split('\n').map((line) => line.replace(/: .*/, '')), [
      'Asked for my iTwins without a token, iModelHub answers 401.',
      'Asked through the proxy, without a token as before, it tells me',
      ...[1, 2, 3, 4, 5].map((page) => `iModels, page ${page}`),
      '23 iModels on 5 pages. What is a token?',
    ]);
    const seen = await demo.logs('auth-proxy');
    assert.equal(seen.match(/token fetched/g)?.length, 1, seen);
    assert.equal(seen.match(/200 GET 127\.0\.0\.1:8080\/imodels/g)?.length, 5, seen);
  });
}

/** Secrets as the comments of the files have them. */
function secrets(home, values) {
  mkdirSync(path.join(home, 'secrets'), { mode: 0o700 });
  for (const [name, value] of Object.entries(values)) {
    writeFileSync(path.join(home, 'secrets', name), value, { mode: 0o644 });
  }
}

/** Added to a file: the services that it would call, and an agent that does nothing by itself. */
const SANDBOX = `
  sandbox:
    image: localhost/itwin-auth-proxy:test
    command: [sandbox, --port, "9100"]
    network_mode: service:auth-proxy
    healthcheck: { disable: true }
`;
const IDLE = 'entrypoint: [/bin/sh, -c], command: ["trap : TERM; sleep 3600 & wait"]';
const CURL = parse(readFileSync(path.join(HOME, 'demo.yaml'), 'utf8')).services.agent.image;

/** A call from a service: `{ status, body }`. */
async function call(project, service, url, ...options) {
  const { code, out, err } = await project.exec(service, 'curl', '--silent', '--show-error', '--max-time', '10',
    '--write-out', '\n%{http_code}', ...options, url);
  assert.equal(code, 0, err);
  const end = out.lastIndexOf('\n');
  return { status: Number(out.slice(end + 1)), body: out.slice(0, end) };
}

for (const tool of ['docker', 'podman']) {
  full(`agent.yaml: an agent on the same loopback gets answers, nobody else does (${tool}-compose)`, async (t) => {
    const home = copy(t);
    secrets(home, { 'client-secret': 'sandbox-secret\n' });
    writeFileSync(path.join(home, 'test.yaml'), `services:
${SANDBOX}
  auth-proxy: { environment: { ITWIN_ISSUER: "http://127.0.0.1:9100", ITWIN_UPSTREAM: "http://127.0.0.1:9101" } }
  agent: { ${IDLE} }
  stranger: { image: ${CURL}, ${IDLE} }
`);
    const env = { ITWIN_CLIENT_ID: 'service-sandbox', AGENT_IMAGE: CURL };
    // podman 4.3 starts the agent without waiting for the health check, which is asked for below
    const it = await project(t, tool, { home, name: `agent-${tool}`, files: ['agent.yaml', 'test.yaml'], env });
    await it.up();
    const ready = ['/usr/local/bin/itwin-auth-proxy', 'wait', '--timeout', '30'];
    assert.equal((await it.exec('auth-proxy', ...ready)).code, 0);

    const listed = await call(it, 'agent', 'http://127.0.0.1:8080/itwins/');
    assert.equal(listed.status, 200);
    assert.match(listed.body, /Northern Line/);
    const { code: health } = await run('podman', ['healthcheck', 'run', await it.id('auth-proxy')]);
    assert.equal(health, 0);

    const { HostConfig, NetworkSettings } = await it.inspect('auth-proxy');
    const [{ IPAddress: address }] = Object.values(NetworkSettings.Networks);
    const refused = await it.exec('stranger', 'curl', '--silent', '--max-time', '5', `http://${address}:8080/itwins/`);
    assert.equal(refused.code, 7, 'connection refused');
    assert.equal(HostConfig.Memory, 192 << 20);
    assert.equal(HostConfig.ReadonlyRootfs, true);
    // what the kernel says of the process itself
    const { out: status } = await it.exec('agent', 'sh', '-c', 'echo');
    assert.equal(status, '\n');
    const { State } = await it.inspect('auth-proxy');
    const process = readFileSync(`/proc/${State.Pid}/status`, 'utf8');
    assert.match(process, /^CapBnd:\s+0+$/m);
    assert.match(process, /^NoNewPrivs:\s+1$/m);
    assert.match(process, /^Uid:\s+65532\s/m);

    await it.compose('stop', 'auth-proxy');
    assert.equal((await it.inspect('auth-proxy')).State.ExitCode, 0);
  });
}

full('shared.yaml: networks read, a key writes, and an old agent finds api.bentley.com here', async (t) => {
  const home = copy(t);
  secrets(home, { 'client-secret': 'sandbox-secret', 'writers-key': '9ac4e1e0c5bd4e0f9d41c9f0f6a7d3e2' });
  writeFileSync(path.join(home, 'test.yaml'), `services:
${SANDBOX}
  auth-proxy:
    environment:
      ITWIN_AUTH_PROXY__PROVIDERS__SANDBOX__ISSUER: http://127.0.0.1:9100
      ITWIN_AUTH_PROXY__CREDENTIALS__AGENT__PROVIDER: sandbox
      ITWIN_AUTH_PROXY__ROUTES__0__UPSTREAM: http://127.0.0.1:9101
      ITWIN_AUTH_PROXY__ROUTES__1__UPSTREAM: http://127.0.0.1:9101
  inspector: { image: ${CURL}, network_mode: "service:auth-proxy", ${IDLE} }
  reader: { ${IDLE} }
  writer: { ${IDLE} }
  old-agent: { ${IDLE} }
`);
  const env = { ITWIN_CLIENT_ID: 'service-sandbox', READER_IMAGE: CURL, WRITER_IMAGE: CURL, OLD_AGENT_IMAGE: CURL };
  const it = await project(t, 'docker', { home, name: 'shared', files: ['shared.yaml', 'test.yaml'], env });
  await it.up();

  const itwins = 'http://auth-proxy:8080/itwins/';
  const listed = await call(it, 'reader', itwins);
  assert.equal(listed.status, 200, listed.body);
  const [{ id }] = JSON.parse(listed.body).iTwins;
  const page = JSON.parse((await call(it, 'reader', `http://auth-proxy:8080/imodels?iTwinId=${id}&%24top=5`)).body);
  const next = page._links.next.href;
  assert.match(next, /^http:\/\/auth-proxy:8080\/imodels/);
  assert.equal((await call(it, 'reader', next)).status, 200);

  const imodel = JSON.stringify({ iTwinId: id, name: 'Bridge of this test' });
  const write = ['--json', imodel];
  const imodels = 'http://auth-proxy:8080/imodels';
  assert.equal((await call(it, 'reader', imodels, ...write)).status, 401);
  const { out: key } = await it.exec('writer', 'cat', '/run/secrets/writers-key');
  assert.equal((await call(it, 'writer', imodels, ...write, '--header', 'x-itwin-key: wrong')).status, 401);
  assert.equal((await call(it, 'writer', imodels, ...write, '--header', `x-itwin-key: ${key}`)).status, 201);
  const { body: seen } = await call(it, 'inspector', 'http://127.0.0.1:9101/__requests');
  assert.match(seen, /imodels/);
  assert.doesNotMatch(seen, new RegExp(key), 'the key goes no further than the proxy');

  const old = await call(it, 'old-agent', 'https://api.bentley.com/itwins/');
  assert.equal(old.status, 200, old.body);
  assert.match(old.body, /Northern Line/);
  const { code, out } = await it.exec('old-agent', 'ls', '/etc/itwin-authority');
  assert.deepEqual([code, out], [0, 'ca.crt\n'], 'the key of the authority stays with the proxy');

  const certificate = async () => (await it.exec('old-agent', 'cat', '/etc/itwin-authority/ca.crt')).out;
  const before = await certificate();
  await it.compose('stop', '--timeout', '35');
  await it.up();
  assert.equal(await certificate(), before, 'a second start keeps the authority');
  assert.equal((await call(it, 'old-agent', 'https://api.bentley.com/itwins/')).status, 200);
});
