// The program on a host: its units as systemd reads them, started by a socket; its package on a Debian
// with systemd, from installation to removal.
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after } from 'node:test';

import { fast, full } from './support/level.js';

const ROOT = path.join(import.meta.dirname, '../..');
const HOST = path.join(ROOT, 'deploy/host');
const PROGRAM = process.env.ITWIN_AUTH_PROXY;
const CACHE = process.env.DEPLOY_CACHE;
/** Of ten; what is left is what a proxy needs: the network, Unix sockets. */
const MOST_EXPOSED = 1.8;

const work = mkdtempSync(path.join(tmpdir(), 'host-'));
after(() => rmSync(work, { recursive: true, force: true }));

function run(program, ...args) {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 300_000 });
}

/** The units, with the program where it is. */
function units() {
  const home = mkdtempSync(path.join(work, 'units-'));
  const names = ['itwin-auth-proxy.service', 'itwin-auth-proxy.socket'];
  for (const name of names) {
    const text = readFileSync(path.join(HOST, name), 'utf8');
    writeFileSync(path.join(home, name), text.replaceAll('/usr/bin/itwin-auth-proxy', PROGRAM));
  }
  const changes = path.join(home, 'itwin-auth-proxy.service.d');
  mkdirSync(changes);
  for (const name of ['transparent.conf', 'credential.conf']) {
    const text = readFileSync(path.join(HOST, name), 'utf8');
    writeFileSync(path.join(changes, name), text.replaceAll('/usr/bin/itwin-auth-proxy', PROGRAM));
  }
  return names.map((name) => path.join(home, name));
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

fast('systemd finds nothing wrong with the units', () => {
  const said = execFileSync('systemd-analyze', ['verify', '--man=no', ...units()], { encoding: 'utf8', stdio: 'pipe' });
  assert.equal(said, '');
});

fast('what the service may do is little', () => {
  const [service] = units();
  run('systemd-analyze', 'security', '--offline=true', `--threshold=${MOST_EXPOSED * 10}`, '--no-pager', service);
});

fast('the configuration of the package lacks the client and nothing else', () => {
  const secret = path.join(work, 'secret');
  writeFileSync(secret, 'a-secret', { mode: 0o600 });
  const text = readFileSync(path.join(HOST, 'config.yaml'), 'utf8');
  const given = '/etc/itwin-auth-proxy/client-secret';
  const config = path.join(work, 'config.yaml');
  const here = text.replace(given, secret).replaceAll('/run/itwin-auth-proxy/', `${work}/`);
  writeFileSync(config, here);
  const { status, stderr } = spawnSync(PROGRAM, ['check', '--config', config], { encoding: 'utf8' });
  assert.equal(status, 78, stderr);
  assert.match(stderr, /credentials\.agent\.client_id.*missing/);
  assert.equal(stderr.match(/^error/gm).length, 1, stderr);
  writeFileSync(config, here.replace('# client_id: ', 'client_id: '));
  run(PROGRAM, 'check', '--config', config);
});

fast('on a host with the package a proxy is asked and steered without an option, by root', () => {
  const secret = path.join(work, 'secret-of-a-host');
  const config = path.join(work, 'host.yaml');
  writeFileSync(secret, 'sandbox-secret', { mode: 0o600 });
  const text = readFileSync(path.join(HOST, 'config.yaml'), 'utf8');
  writeFileSync(config, text.replace('/etc/itwin-auth-proxy/client-secret', secret).replace('# client_id: ', 'client_id: '));
  // a machine of its own: its /run, its ports, and nobody to ask for a token
  const script = `
    mount -t tmpfs none /run && mkdir /run/itwin-auth-proxy && ip link set lo up
    $PROGRAM run --config $CONFIG 2>/dev/null & proxy=$!
    for _ in {1..400}; do [ -S /run/itwin-auth-proxy/admin.sock ] && break; sleep 0.05; done
    stat -c '%a' /run/itwin-auth-proxy/admin.sock
    $PROGRAM status; echo "status $?"
    $PROGRAM token refresh agent; echo "refresh $?"
    $PROGRAM drain; echo "drain $?"
    rm /run/itwin-auth-proxy/admin.sock
    $PROGRAM status | head -1
    $PROGRAM drain; echo "drain over TCP $?"
    kill -KILL $proxy`;
  const env = { PATH: process.env.PATH, PROGRAM, CONFIG: config };
  const own = process.getuid() === 0 ? ['--mount', '--net'] : ['--user', '--map-root-user', '--mount', '--net'];
  const { stdout, stderr } = spawnSync('unshare', [...own, 'bash', '-c', script], { encoding: 'utf8', env, timeout: 60_000 });
  const said = stdout + stderr;
  assert.match(stdout, /^600$/m, said);
  assert.match(stdout, /not ready: waits for credential agent/, said);
  assert.match(stdout, /^status 1$/m, said);
  // nobody gives it one, and the order was allowed
  assert.match(stdout, /^refresh 1$/m, said);
  assert.match(stdout, /^drain 0$/m, said);
  assert.match(stdout, /not ready: waits for credential agent, shutting down/, said);
  assert.match(stdout, /^drain over TCP 77$/m, said);
});

fast('a connection to a socket of systemd starts the program, which answers it', async () => {
  const port = await freePort();
  const config = path.join(work, 'activated.yaml');
  writeFileSync(
    config,
    `listeners: ['127.0.0.1:${port}']\nroutes: [{path: /never/, upstream: 'http://127.0.0.1:9'}]\nadmin: none\nlimits: {drain_delay: 0s}\n`,
  );
  const args = ['--listen', `127.0.0.1:${port}`, PROGRAM, 'run', '--config', config];
  const manager = spawn('systemd-socket-activate', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    let said = '';
    manager.stderr.on('data', (text) => (said += text));
    while (!said.includes('Listening on')) await once(manager.stderr, 'data');
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    assert.equal(answer.status, 404, said);
    while (!said.includes('confined: ')) await once(manager.stderr, 'data');
  } finally {
    manager.kill();
    await once(manager, 'exit');
  }
});

full('the package: installed, configured, used, reloaded, upgraded, removed', async (t) => {
  const name = `itwin-auth-proxy-host-${process.pid}`;
  const PATH = `${CACHE}/host/bin:${process.env.PATH}`;
  const options = { encoding: 'utf8', env: { ...process.env, PATH, PACKAGE_OPTIONS: '--no-strip --fast' } };
  const deb = execFileSync(path.join(HOST, 'package'), ['dev'], options).trim().split('\n').at(-1);
  const capabilities = 'SYS_ADMIN,NET_ADMIN,SYS_PTRACE,MKNOD';
  run('podman', 'run', '--detach', '--name', name, '--systemd=always', '--network', 'none', '--cap-add', capabilities,
    '--security-opt', 'seccomp=unconfined', '--volume', `${path.dirname(deb)}:/deb:ro`, 'localhost/itwin-auth-proxy-host:systemd',
    // as on any machine: what systemd mounts for a service reaches it
    'sh', '-c', 'mount --make-rshared / && exec /lib/systemd/systemd');
  const inside = (script) => {
    try {
      return run('podman', 'exec', name, 'bash', '-euo', 'pipefail', '-c', script).trim();
    } catch (error) {
      const log = execFileSync('podman', ['exec', name, 'journalctl', '-n', '60', '--no-pager'], { encoding: 'utf8' });
      throw new Error(`${script}\n${error.stdout}${error.stderr}\n${log}`);
    }
  };
  const pid = () => inside('systemctl show --value --property MainPID itwin-auth-proxy');
  const ready = 'systemctl show --value --property StatusText itwin-auth-proxy | grep -qx ready';
  const until = (script) => inside(`for _ in {1..150}; do if ${script}; then exit 0; fi; sleep 0.2; done; exit 1`);
  const list = 'curl -sf "http://127.0.0.1:8080/imodels?iTwinId=$(cat /tmp/itwin)" | grep -q imodels';
  t.after(() => run('podman', 'rm', '--force', '--time', '1', name));

  await t.test('it does not start before it has a secret', () => {
    until('systemctl is-system-running --wait | grep -Eq "running|degraded"');
    inside(`dpkg -i /deb/${path.basename(deb)}`);
    assert.equal(inside('systemctl is-enabled itwin-auth-proxy'), 'enabled');
    assert.equal(inside('systemctl is-active itwin-auth-proxy || true'), 'inactive');
    inside('itwin-auth-proxy completions bash | cmp - /usr/share/bash-completion/completions/itwin-auth-proxy');
    inside('itwin-auth-proxy man | cmp - <(gzip -dc /usr/share/man/man1/itwin-auth-proxy.1.gz)');
    inside('test -e /usr/share/man/man1/itwin-auth-proxy-ca-init.1.gz');
  });

  await t.test('with one it is ready when it has a token, and calls get it', () => {
    inside(`systemd-run --quiet --unit sandbox itwin-auth-proxy sandbox --port 9000
      for _ in {1..50}; do curl -s -o /dev/null http://127.0.0.1:9001/ && break; sleep 0.2; done
      cd /etc/itwin-auth-proxy
      printf sandbox-secret | install -m 640 -g itwin-auth-proxy /dev/stdin client-secret
      sed -i -e 's/# client_id: .*/client_id: service-sandbox/' -e 's#upstream: https://api.bentley.com#upstream: http://127.0.0.1:9001#' \\
        -e '/^credentials:/i providers: {sandbox: {issuer: "http://127.0.0.1:9000"}}' config.yaml
      journalctl -u sandbox -o cat | grep -om1 'iTwinId=[0-9a-f-]*' | cut -d= -f2 > /tmp/itwin
      systemctl start itwin-auth-proxy`);
    until(ready);
    inside(list);
    inside('journalctl -u itwin-auth-proxy -o cat | grep -q "confined: no new privileges"');
    assert.equal(inside('stat -c %U "/proc/$(systemctl show --value --property MainPID itwin-auth-proxy)"'), 'itwin-auth-proxy');
  });

  await t.test('a reload has another process in its place; a wrong configuration changes nothing', () => {
    const before = pid();
    inside('systemctl reload itwin-auth-proxy');
    until(`[[ $(systemctl show --value --property MainPID itwin-auth-proxy) != ${before} ]]`);
    inside(list);
    const after = pid();
    inside('cp -p /etc/itwin-auth-proxy/config.yaml /tmp/; echo "wrong: true" >> /etc/itwin-auth-proxy/config.yaml');
    inside('! systemctl reload itwin-auth-proxy 2>/dev/null; cp -p /tmp/config.yaml /etc/itwin-auth-proxy/');
    assert.equal(pid(), after);
    inside(list);
  });

  await t.test('an upgrade refuses no call', () => {
    const before = pid();
    inside(`dpkg -i /deb/${path.basename(deb)} & ok=0
      while kill -0 $! 2>/dev/null; do ${list}; ok=$((ok + 1)); done; wait $!; ((ok > 3))`);
    until(`[[ $(systemctl show --value --property MainPID itwin-auth-proxy) != ${before} ]]`);
    inside(list);
    // said within a second
    until(ready);
  });

  await t.test('one that ends is replaced, also when it took over from another', () => {
    const before = pid();
    inside(`kill -KILL ${before}`);
    until(`[[ $(systemctl show --value --property MainPID itwin-auth-proxy) != @(0|${before}) ]]`);
    until(list);
  });

  await t.test('a process that hangs is replaced by the watchdog', () => {
    inside(`mkdir -p /run/systemd/system/itwin-auth-proxy.service.d
      printf '[Service]\\nWatchdogSec=2s\\nEnvironment=WATCHDOG_USEC=2000000\\n' > /run/systemd/system/itwin-auth-proxy.service.d/test.conf
      systemctl daemon-reload; systemctl restart itwin-auth-proxy`);
    const before = pid();
    // longer than the watchdog waits: it lives
    inside('sleep 5');
    assert.equal(pid(), before);
    inside(`kill -STOP ${before}`);
    until(`[[ $(systemctl show --value --property MainPID itwin-auth-proxy) != ${before} ]]`);
    until(list);
  });

  await t.test('the secret may be for the eyes of root alone', () => {
    inside(`cd /etc/systemd/system; mkdir -p itwin-auth-proxy.service.d
      cp /usr/share/doc/itwin-auth-proxy/examples/credential.conf itwin-auth-proxy.service.d/
      install -m 600 /etc/itwin-auth-proxy/client-secret /tmp/secret; mv /tmp/secret /etc/itwin-auth-proxy/client-secret
      systemctl daemon-reload; systemctl restart itwin-auth-proxy`);
    until(list);
  });

  await t.test('the first connection starts it, where systemd listens', () => {
    inside('systemctl stop itwin-auth-proxy; systemctl start itwin-auth-proxy.socket');
    assert.equal(inside('systemctl is-active itwin-auth-proxy || true'), 'inactive');
    inside(list);
    inside('systemctl stop itwin-auth-proxy.socket itwin-auth-proxy');
  });

  await t.test('nothing is left when it is purged', () => {
    inside('systemctl start itwin-auth-proxy; dpkg -r itwin-auth-proxy');
    assert.equal(inside('systemctl is-active itwin-auth-proxy || true'), 'inactive');
    inside('test -f /etc/itwin-auth-proxy/config.yaml; rm -r /etc/systemd/system/itwin-auth-proxy.service.d; dpkg -P itwin-auth-proxy');
    assert.equal(inside('find / -xdev -name "*itwin-auth-proxy*" -not -path "/proc/*" -not -path "/run/*" -not -path "/var/lib/systemd/*" -not -path "/tmp/*"'), '');
  });
});
