#!/usr/bin/env bash
# What the tests of a host need: systemd's own tools; for all also cargo-deb, and a Debian with systemd.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh

debian systemd-analyze=systemd systemd-socket-activate=systemd
[[ ${1:-all} == all ]] || exit 0

# shellcheck source=tests/deploy/containers.sh
. tests/deploy/containers.sh

home=$DEPLOY_CACHE/host
mkdir -p "$home"
exec 9>"$home/lock"
flock 9
if [[ ! -x $home/bin/cargo-deb ]]; then
  say "deployment: building cargo-deb"
  nice cargo install --quiet --locked --root "$home" --target-dir "$home/build" cargo-deb@3.8.0
  rm -rf "$home/build"
fi
if ! podman image exists localhost/itwin-auth-proxy-host:systemd; then
  say "deployment: making a Debian with systemd"
  tests/deploy/bases.sh slim
  build_image --tag localhost/itwin-auth-proxy-host:systemd - <<'DOCKERFILE'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends systemd systemd-sysv adduser init-system-helpers curl >/dev/null \
 && apt-get clean
CMD ["/lib/systemd/systemd"]
DOCKERFILE
fi
