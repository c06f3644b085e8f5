#!/usr/bin/env bash
# Makes localhost/itwin-auth-proxy:test, an image around the debug build, for tests that need the
# program in a container but no release build: same user, entry point and health check as the real
# one, with the C library that the program was linked with beside it.
#
#   tests/deploy/image-test.sh [PROGRAM]      default: $ITWIN_AUTH_PROXY, target/debug/itwin-auth-proxy
set -euo pipefail
self=$(realpath "${BASH_SOURCE[0]}")
cd "$(dirname "$self")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh
# shellcheck source=tests/deploy/containers.sh
. tests/deploy/containers.sh

program=${1:-${ITWIN_AUTH_PROXY:-target/debug/itwin-auth-proxy}}
image=localhost/itwin-auth-proxy:test
tests/deploy/bases.sh cc

exec 7>"$DEPLOY_CACHE/image-test.lock"
flock 7
digest=$(cat "$program" "$self" | sha256sum | cut -c1-64)
if [[ $(podman image inspect --format '{{.Config.Labels.program}}' "$image" 2>/dev/null) == "$digest" ]]; then
  exit 0
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/state/itwin-auth-proxy/authority"
strip --strip-debug -o "$context/itwin-auth-proxy" "$program"
podman build --format docker --quiet --label "program=$digest" --tag "$image" --file - "$context" >/dev/null <<'CONTAINERFILE'
FROM gcr.io/distroless/cc-debian12:nonroot
COPY itwin-auth-proxy /usr/local/bin/itwin-auth-proxy
COPY --chown=65532:65532 state /var/lib
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/itwin-auth-proxy"]
CMD ["run"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s --retries=3 CMD ["/usr/local/bin/itwin-auth-proxy", "probe"]
CONTAINERFILE
