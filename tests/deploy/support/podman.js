// Podman 5 on a machine of its own, which is Debian 13: with its network, its processes, its containers and
// images. Nothing of it is left when it stops, but the tree that tests/deploy/play.sh made.
import { cpSync, linkSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { machine } from './machine.js';

const CACHE = process.env.DEPLOY_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? '/var/cache', 'itwin-auth-proxy-tests');
const TREE = path.join(CACHE, 'play/trixie');

// Control groups as the host has them; a second, empty hierarchy (cgroup2 beside cgroup1) confuses crun.
const SETUP = `
  tree=$1 home=$2
  mount --bind "$tree" "$tree"
  mount --rbind /dev "$tree/dev"
  mount -t proc proc "$tree/proc"
  mount --rbind /sys "$tree/sys"
  mount -t tmpfs tmpfs "$tree/run"
  mount -t tmpfs tmpfs "$tree/tmp"
  mkdir -p "$tree/var/lib/containers" "$tree/work"
  mkdir "$home/containers"
  mount --bind "$home/containers" "$tree/var/lib/containers"
  mount --bind "$home" "$tree/work"
  if mountpoint -q "$tree/sys/fs/cgroup/unified"; then umount "$tree/sys/fs/cgroup/unified"; fi
  cd "$tree"
  pivot_root . mnt
  cd /
  umount -l /mnt
  ip link set lo up
  mkdir -p /run/containers
  cat > /run/containers.conf <<CONF
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=32768:32768"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
`;

const AGENT = `
  root=/work/root
  mkdir -p $root/bin $root/etc/ssl/certs $root/tmp
  for program in sh curl sed grep wc cat sleep; do
    file=$(command -v $program)
    cp "$file" $root/bin/
    ldd "$file" | grep -o '/[^ ]*' | while read -r library; do
      mkdir -p "$root$(dirname "$library")"
      cp -L "$library" "$root$library"
    done
  done
  printf 'agent:x:1000:1000::/tmp:/bin/sh\\n' > $root/etc/passwd
  printf 'hosts: files dns\\n' > $root/etc/nsswitch.conf
  cp -L /etc/ssl/certs/ca-certificates.crt $root/etc/ssl/certs/
  cp /work/agent $root/bin/list-imodels
  tar -C $root --numeric-owner --owner=0 --group=0 -cf /work/agent.tar .
  rm -r $root
`;

/** Starts one; `podman` runs podman on it, `host` is the machine. */
export async function podman5() {
  // On a file system that an overlay can lie on.
  const home = mkdtempSync(path.join(CACHE, 'play/machine-'));
  const clean = () => rmSync(home, { recursive: true, force: true });
  const host = await machine(SETUP, [TREE, home], { namespaces: ['--uts', '--ipc'] }).catch((error) => {
    clean();
    throw error;
  });
  const env = { CONTAINERS_CONF: '/run/containers.conf', PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };

  const it = {
    host,
    home,
    /** Runs podman: `{ code, stdout, stderr }`. */
    podman: (args, options) => host.run('podman', args, { ...options, env }),

    /** The same; a failure is an error. Answers what it says. */
    async succeed(args, options) {
      const { code, stdout, stderr } = await it.podman(args, options);
      if (code !== 0) throw new Error(`podman ${args.join(' ')} ended with ${code}: ${stderr}`);
      return stdout;
    },

    /** The program's image, as tests/deploy/play.sh left it. Answers its name. */
    async program() {
      linkSync(path.join(CACHE, 'play/image.tar'), path.join(home, 'image.tar'));
      await it.succeed(['load', '--quiet', '--input', '/work/image.tar']);
      return 'localhost/itwin-auth-proxy:test';
    },

    /**
     * An image with a shell, curl and the script, and nothing of the program: the first is taken from this
     * machine with the libraries it needs. Answers its name.
     */
    async agent(script) {
      cpSync(script, path.join(home, 'agent'));
      const { code, stderr } = await host.run('sh', ['-euc', AGENT]);
      if (code !== 0) throw new Error(stderr);
      await it.succeed(['import', '--change', 'USER 1000', '/work/agent.tar', 'localhost/agent:test']);
      return 'localhost/agent:test';
    },

    async stop() {
      await it.podman(['pod', 'rm', '--all', '--force', '--time', '0']);
      await it.podman(['rm', '--all', '--force', '--time', '0']);
      await host.stop();
      clean();
    },
  };
  return it;
}
