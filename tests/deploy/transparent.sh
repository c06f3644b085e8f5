#!/usr/bin/env bash
# The images for transparent.test.js: the program's, and one with a client that knows nothing of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ ${1:-all} == all ]] || exit 0
# shellcheck source=tests/tools.sh
. tests/tools.sh
# shellcheck source=tests/deploy/containers.sh
. tests/deploy/containers.sh

tests/deploy/image-test.sh
agent=localhost/transparent-agent
if ! podman image exists $agent; then
  tests/deploy/bases.sh slim
  container=$(buildah from docker.io/library/debian:bookworm-slim)
  trap 'buildah rm "$container" >/dev/null 2>&1 || true' EXIT
  buildah run --network host --isolation chroot "$container" -- sh -c \
    'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends curl >/dev/null' 2>/dev/null
  buildah config --user 1000 --entrypoint '["sleep"]' --cmd infinity "$container"
  buildah commit --quiet "$container" $agent >/dev/null
fi
