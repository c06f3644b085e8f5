# shellcheck shell=bash
# Packages of a Debian suite that need not be this machine's own: from the archive that the machine's own
# apt uses, without changing what is installed. Sourced, after tests/tools.sh.

# debian_suite DIR SUITE: prepares lists of SUITE (binary and source packages) under DIR; afterwards
# suite_apt ARGS… is apt-get that sees this suite alone.
debian_suite() {
  local dir=$1 suite=$2 archive keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  archive=$(debian_archive)
  if [[ ! -f $keyring ]]; then
    echo "missing: $keyring (Debian package debian-archive-keyring)" >&2
    exit 69
  fi
  mkdir -p "$dir"/{parts,lists/partial,cache/archives/partial}
  printf '%s [signed-by=%s] %s %s main\n' deb $keyring "$archive" "$suite" deb-src $keyring "$archive" "$suite" >"$dir/sources.list"
  # Nothing is known to be installed, so that dependencies are those of the suite.
  : >"$dir/status"
  suite_options=(-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts="$dir/parts"
    -o Dir::State::Lists="$dir/lists" -o Dir::State::Status="$dir/status" -o Dir::Cache="$dir/cache"
    -o APT::Sandbox::User=root)
  apt-get "${suite_options[@]}" -qq update
}

suite_apt() { apt-get "${suite_options[@]}" -qq "$@"; }

# suite_unpack DIR PACKAGE…: the files of these packages, without what they depend on, under DIR.
suite_unpack() {
  local into=$1 debs
  shift
  debs=$(mktemp -d)
  (cd "$debs" && suite_apt download "$@" >/dev/null && for deb in *.deb; do dpkg-deb -x "$deb" "$into"; done)
  rm -rf "$debs"
}

# The address that this machine's apt has Debian's archive from.
debian_archive() {
  local archive
  archive=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 2>/dev/null |
    awk '$1 == "Debian" && $2 ~ /\/debian\/?$/ { print $2; exit }')
  if [[ -z $archive ]]; then
    echo "missing: Debian's archive among the sources of apt (run this on Debian, after apt-get update)" >&2
    exit 69
  fi
  printf '%s' "$archive"
}
