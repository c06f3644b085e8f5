// Podman 5 on a machine of its own, which is Debian 13: with its network, its processes, its containers and
// images. Nothing of it is left when it stops, but the tree that tests/deploy/play.sh made.
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { machine } from './machine.js';

const CACHE = process.env.DEPLOY_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? '/var/cache', 'itwin-auth-proxy-tests');
const PROGRAM = 'itwin-auth-proxy';
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
  mkdir -p "$tree/var/lib/containers" "$tree/shared"
  mkdir "$home/containers"
  mount --bind "$home/containers" "$tree/var/lib/containers"
  mount --bind "$home" "$tree/shared"
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

// An image of nothing but these programs, with the libraries they need, taken from this machine.
const IMAGE = `
  root=/shared/root
  rm -rf $root
  mkdir -p $root/etc/ssl/certs
  mkdir -m 1777 $root/tmp
  mkdir -p $root/usr/bin
  ln -s usr/bin $root/bin
  for program; do
    file=$(command -v "$program")
    install -D "$file" "$root\${file#/shared}"
    ldd "$file" | grep -o '/[^ ]*' | while read -r library; do
      install -D "$library" "$root$library"
    done
  done
  printf 'root:x:0:0::/:/\\nagent:x:1000:1000::/tmp:/\\nnonroot:x:65532:65532::/:/\\n' > $root/etc/passwd
  printf 'root:x:0:\\nagent:x:1000:\\nnonroot:x:65532:\\n' > $root/etc/group
  printf 'hosts: files dns\\n' > $root/etc/nsswitch.conf
  cp -L /etc/ssl/certs/ca-certificates.crt $root/etc/ssl/certs/
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

    async image(name, programs, more, changes) {
      const tar = 'tar -C $root --numeric-owner --owner=0 --group=0 -cf /shared/image.tar .';
      const { code, stderr } = await host.run('sh', ['-euc', `${IMAGE}\n${more}\n${tar}`, 'sh', ...programs]);
      if (code !== 0) throw new Error(stderr);
      await it.succeed(['import', ...changes.flatMap((change) => ['--change', change]), '/shared/image.tar', name]);
      return name;
    },

    /** The program as its own image has it: the same file, user and entry point. Answers the image's name. */
    async program(file) {
      mkdirSync(path.join(home, 'usr/local/bin'), { recursive: true });
      cpSync(file, path.join(home, 'usr/local/bin', PROGRAM));
      const there = `/usr/local/bin/${PROGRAM}`;
      const changes = ['USER 65532:65532', `ENTRYPOINT ["${there}"]`, 'CMD ["run"]'];
      return it.image('localhost/itwin-auth-proxy:test', [`/shared${there}`], '', changes);
    },

    /** A shell, curl and this script, and nothing of the program. Answers the image's name. */
    async agent(script) {
      cpSync(script, path.join(home, 'agent'));
      const programs = ['sh', 'curl', 'sed', 'grep', 'wc', 'cat', 'sleep'];
      return it.image('localhost/agent:test', programs, 'install -D /shared/agent $root/usr/bin/list-imodels', ['USER 1000:1000']);
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
