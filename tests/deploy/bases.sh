#!/usr/bin/env bash
# The images that ours are built on, under their public names. Those that are not there are made from
# Debian's packages and the Rust of this machine, so that a machine that reaches no registry of images
# can build, too; they hold the same programs and files at the same places, as far as a build looks.
#
#   tests/deploy/bases.sh slim|rust|cc|curl…
#
# DEPLOY_PULL=1 fetches the real ones instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh
# shellcheck source=tests/deploy/containers.sh
. tests/deploy/containers.sh

slim=docker.io/library/debian:bookworm-slim
rust=docker.io/library/rust:1-bookworm
cc=gcr.io/distroless/cc-debian12:nonroot
# not a base, but the agent of the demonstration
curl=$(sed -n 's/^ *image: \(docker.io.*curl:.*\)/\1/p' deploy/compose/demo.yaml)

work=$(mktemp -d "$DEPLOY_CACHE/bases.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Whether IMAGE is to be made.
missing() {
  podman image exists "$1" && return 1
  if [[ ${DEPLOY_PULL:-0} == 1 ]]; then
    podman pull --quiet "$1" >/dev/null
    return 1
  fi
  say "making $1"
}

make_slim() {
  missing $slim || return 0
  debian debootstrap=debootstrap
  debootstrap --variant=minbase --include=ca-certificates bookworm "$work/slim" >"$work/log" 2>&1 || {
    tail "$work/log" >&2
    return 1
  }
  # as in the original, everything of the documentation goes but who may do what with it
  rm -rf "$work"/slim/var/lib/apt/lists/* "$work"/slim/var/cache/apt/*.deb \
    "$work"/slim/usr/share/{man,locale,info}
  find "$work/slim/usr/share/doc" -type f ! -name copyright -delete
  tar -C "$work/slim" --numeric-owner -c . | podman import --quiet --change 'CMD ["bash"]' - $slim >/dev/null
}

make_rust() {
  missing $rust || return 0
  make_slim
  local container home
  home=$(rustc --print sysroot)
  container=$(buildah from $slim)
  buildah run --network host --isolation chroot "$container" -- sh -c \
    'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
      gcc g++ libc6-dev pkg-config make cmake perl python3-minimal >/dev/null && rm -rf /var/lib/apt/lists/*'
  local part
  for part in bin lib libexec; do
    buildah copy --quiet "$container" "$home/$part" "/usr/local/rust/$part" >/dev/null
  done
  buildah config --env CARGO_HOME=/usr/local/cargo \
    --env PATH=/usr/local/cargo/bin:/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "$container"
  buildah commit --quiet --rm "$container" $rust >/dev/null
}

make_cc() {
  missing $cc || return 0
  (
    cd "$work"
    apt-get download base-files netbase tzdata libc6 libgcc-s1 libssl3 ca-certificates media-types >/dev/null
    for package in ./*.deb; do dpkg-deb -x "$package" cc; done
  )
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n' >"$work/cc/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\n' >"$work/cc/etc/group"
  mkdir -p "$work/cc/etc/ssl/certs"
  find "$work/cc/usr/share/ca-certificates" -name '*.crt' -exec cat {} + >"$work/cc/etc/ssl/certs/ca-certificates.crt"
  tar -C "$work/cc" --numeric-owner --owner=0 --group=0 -c . | podman import --quiet --change 'USER 65532' - $cc >/dev/null
}

make_curl() {
  missing "$curl" || return 0
  make_slim
  local container
  container=$(buildah from $slim)
  buildah run --network host --isolation chroot "$container" -- sh -c \
    'apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends curl >/dev/null &&
      rm -rf /var/lib/apt/lists/* && useradd --system --uid 100 curl_user' >/dev/null 2>&1
  buildah config --user curl_user --entrypoint '["curl"]' "$container"
  buildah commit --quiet --rm "$container" "$curl" >/dev/null
}

for name in "$@"; do
  case $name in
    slim | rust | cc | curl) "make_$name" ;;
    *)
      echo "usage: tests/deploy/bases.sh slim|rust|cc|curl…" >&2
      exit 64
      ;;
  esac
done
