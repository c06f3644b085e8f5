#!/usr/bin/env bash
# Builds the image as the public would, and its bill of materials: $DEPLOY_IMAGE (unless that is set
# already, to a name of one that is there) and $DEPLOY_CACHE/image/itwin-auth-proxy.cdx.json.
#
#   tests/deploy/image.sh fast|all
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh

debian readelf=binutils
if [[ ${1:-all} != all ]]; then exit 0; fi
# shellcheck source=tests/deploy/containers.sh
. tests/deploy/containers.sh

tests/deploy/bases.sh rust
time=$(git log -1 --format=%ct)
options=(--timestamp "$time" --build-arg "SOURCE_DATE_EPOCH=$time" --build-arg "REVISION=$(git rev-parse HEAD)")
if [[ -z ${DEPLOY_IMAGE:-} ]]; then
  build_image "${options[@]}" --tag localhost/image-itwin-auth-proxy:release .
fi
build_image "${options[@]}" --target sbom --output "type=local,dest=$DEPLOY_CACHE/image" .
