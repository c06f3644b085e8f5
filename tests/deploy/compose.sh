#!/usr/bin/env bash
# The two programs that Compose files are run with: Docker's, from the first Debian release that has it,
# and podman-compose. Both are put into $DEPLOY_CACHE/compose.
#
#   tests/deploy/compose.sh fast|all      images as well for all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh
# shellcheck source=tests/deploy/support/debian.sh
. tests/deploy/support/debian.sh

home=${DEPLOY_CACHE:?}/compose
mkdir -p "$home"
exec 8>"$home/lock"
flock 8

if [[ ! -x $home/docker-compose ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  debian_suite "$work/apt" trixie
  suite_unpack "$work/unpacked" docker-compose
  install -m 755 "$work/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$home/docker-compose"
fi

if [[ ${1:-all} == all ]]; then
  if [[ ! -x $home/podman-compose/bin/podman-compose ]]; then
    PIP_ROOT_USER_ACTION=ignore pip3 install --quiet --target "$home/podman-compose" podman-compose==1.6.0
  fi
  tests/deploy/bases.sh curl
  tests/deploy/image-test.sh
fi
