# What the scripts that run tests share: to say what is done, and to have what is needed. Sourced.

say() { printf '\n== %s\n' "$*"; }

# Installs the Debian packages among COMMAND=PACKAGE whose command is missing.
debian() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  if ((${#missing[@]} == 0)); then return; fi
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (install them, or run as root on Debian)" >&2
    exit 69
  fi
  say "installing ${missing[*]}"
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  }
}

need() {
  command -v "$1" >/dev/null || {
    echo "missing: $1 ($2)" >&2
    exit 69
  }
}

# Installs what the lock file in each directory names; what is there and matches is not fetched again.
node_packages() {
  local home
  for home in "$@"; do
    if ! cmp -s "$home/package-lock.json" "$home/node_modules/.installed"; then
      npm ci --prefix "$home" --no-audit --no-fund --loglevel=error
      cp "$home/package-lock.json" "$home/node_modules/.installed"
    fi
  done
}

# Installs what DIRECTORY/requirements.txt names into DIRECTORY/site-packages.
python_packages() {
  local home=$1
  if ! cmp -s "$home/requirements.txt" "$home/site-packages/.installed"; then
    rm -rf "$home/site-packages"
    PIP_ROOT_USER_ACTION=ignore pip3 install --quiet --target "$home/site-packages" --requirement "$home/requirements.txt"
    cp "$home/requirements.txt" "$home/site-packages/.installed"
  fi
}

# Builds the program with the features of the tests, so that nothing is built twice, and sets
# ITWIN_AUTH_PROXY to it.
build_program() {
  cargo build --locked --bin itwin-auth-proxy --test architecture
  ITWIN_AUTH_PROXY=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/itwin-auth-proxy
  export ITWIN_AUTH_PROXY
}
