// Imported first by a test file, gives its tests a machine of their own: a network that has nothing
// but loopback, where port 443 is free and no names are found but those of `hosts`, mounts and processes. What is in it
// goes away with it. The file is run once more in there, and reports as if it had not been.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { directory } from './program.js';

const INSIDE = 'ITWIN_TEST_NETWORK';
const HOSTS = fileURLToPath(new URL('hosts', import.meta.url));

if (!process.env[INSIDE]) {
  const passedOver = process.env.ITWIN_TESTS_WITHOUT_NETNS === '1';
  if (passedOver && spawnSync('unshare', ['--net', 'true']).status !== 0) {
    console.error(`NOT TESTED: network namespaces cannot be made here: ${process.argv[1]}`);
    process.exit();
  }
  // a copy, which the tests may write to
  const hosts = 'mount -t tmpfs hosts /dev/shm && cp "$0" /dev/shm/hosts && mount --bind /dev/shm/hosts /etc/hosts';
  const unprivileged = process.getuid() === 0 ? [] : ['--user', '--map-root-user'];
  const { status, signal, error } = spawnSync(
    // dies with us; and with it, the first process in there, all others
    'setpriv',
    ['--pdeathsig', 'KILL', 'unshare', ...unprivileged, '--net', '--mount', '--pid', '--fork', '--kill-child',
      '--mount-proc', 'sh', '-c', `ip link set lo up && ${hosts} && exec "$@"`, HOSTS,
      process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } },
  );
  if (error) throw error;
  process.exit(status ?? `ended by ${signal}`);
}

/** What runs a command where these names lead to these addresses: `{name: address}`. */
export function knowing(t, names) {
  const hosts = path.join(directory(t), 'hosts');
  const lines = Object.entries({ localhost: '127.0.0.1', ...names }).map(([name, to]) => `${to} ${name}`);
  writeFileSync(hosts, `${lines.join('\n')}\n`);
  return ['unshare', '--mount', 'sh', '-c', `mount --bind ${hosts} /etc/hosts && exec "$@"`, 'sh'];
}

