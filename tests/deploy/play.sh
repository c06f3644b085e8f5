#!/usr/bin/env bash
# Podman 5 for the tests that play pods: Debian 13 in a directory of its own, because the podman of
# Debian 12 stumbles over Secrets and init containers. Kept in $DEPLOY_CACHE/play, made again when something
# of it is missing. What runs in it is started by support/machine.js.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh
# shellcheck source=tests/deploy/support/debian.sh
. tests/deploy/support/debian.sh

if [[ $(id -u) != 0 ]]; then
  echo "playing pods takes root" >&2
  exit 69
fi
# The pods come out of the API server.
tests/deploy/cluster.sh

cache=${DEPLOY_CACHE:-${XDG_CACHE_HOME:-/var/cache}/itwin-auth-proxy-tests}/play
mkdir -p "$cache"
# Of two runs at once, one builds and the other waits.
exec 9>"$cache/lock"
flock 9

debian debootstrap=debootstrap unshare=util-linux
packages=(podman crun netavark aardvark-dns catatonit nftables curl iproute2)
make_tree() {
  say "play: making Debian 13 with podman (a minute, once)"
  tree=$cache/making
  rm -rf "$tree" "$cache/trixie"
  nice debootstrap --variant=minbase --include=ca-certificates trixie "$tree" "$(debian_archive)" >"$cache/build.log" 2>&1 || {
    tail -n 20 "$cache/build.log" >&2
    echo "debootstrap failed, see $cache/build.log" >&2
    exit 70
  }
  # No daemon is started in there.
  printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
  chmod +x "$tree/usr/sbin/policy-rc.d"
  nice unshare --mount --pid --fork --kill-child sh -euc '
    mount --bind /dev "$1/dev"
    mount -t proc proc "$1/proc"
    root=$1
    shift
    DEBIAN_FRONTEND=noninteractive exec chroot "$root" apt-get install -y -qq --no-install-recommends "$@"
  ' sh "$tree" "${packages[@]}" >>"$cache/build.log" 2>&1 || {
    tail -n 20 "$cache/build.log" >&2
    echo "installing podman in Debian 13 failed, see $cache/build.log" >&2
    exit 70
  }
  rm -rf "$tree"/var/cache/apt/archives/*.deb "$tree"/usr/share/{doc,man,locale}
  echo "${packages[*]}" >"$tree/.complete"
  mv "$tree" "$cache/trixie"
}

# The stamp is written last, so that half a tree is not taken for one.
if [[ $(cat "$cache/trixie/.complete" 2>/dev/null) != "${packages[*]}" ]]; then make_tree; fi
