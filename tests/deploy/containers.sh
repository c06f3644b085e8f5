# What the areas that use containers share: podman, and settings with which it works as root on any
# Debian, in a container of a CI as well. Sourced by tests/deploy/run and the scripts beside it.

export DEPLOY_CACHE=${DEPLOY_CACHE:-${XDG_CACHE_HOME:-/var/cache}/itwin-auth-proxy-tests}
mkdir -p "$DEPLOY_CACHE"

# On the search path the network helpers are not.
[[ -x /usr/lib/podman/netavark ]] || debian netavark=netavark
[[ -x /usr/lib/podman/aardvark-dns ]] || debian aardvark-dns=aardvark-dns
debian podman=podman buildah=buildah runc=runc flock=util-linux strip=binutils

# runc and cgroupfs need neither systemd nor one particular kind of control groups. No container may
# have more open files than this shell may: a runtime without CAP_SYS_RESOURCE could not start it.
export CONTAINERS_CONF=$DEPLOY_CACHE/containers.conf
files=$(ulimit -Hn)
[[ $files != unlimited ]] || files=1048576
cat >"$CONTAINERS_CONF.$$" <<CONF
[containers]
default_ulimits = ["nofile=$files:$files", "nproc=32768:32768"]
default_sysctls = []

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
mv "$CONTAINERS_CONF.$$" "$CONTAINERS_CONF"

# podman build, one at a time, with the authorities that this machine trusts (a company's, a mirror's)
# for what the build fetches; they do not become part of an image.
build_image() {
  local authorities=/etc/ssl/certs/ca-certificates.crt options=()
  if [[ -f $authorities ]]; then options=(--volume "$authorities:$authorities:ro"); fi
  flock "$DEPLOY_CACHE/build.lock" \
    nice podman build --format docker --network host "${options[@]}" "$@"
}
