#!/bin/sh
# Writes the licence texts of everything that is part of a statically linked program, each text once,
# with the names of those whose it is.
#
#   licences.sh TARGET
set -eu

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/texts" "$work/names"

# take NAME FILE…
take() {
  name=$1
  shift
  for file in "$@"; do
    [ -f "$file" ] || continue
    digest=$(sha256sum <"$file" | cut -c1-64)
    cp "$file" "$work/texts/$digest"
    echo "$name" >>"$work/names/$digest"
  done
}

# "name version" of the crates, without our own
cargo tree --no-default-features --locked --quiet --prefix none --edges normal --target "$1" --format '{p}|{l}' \
  | sed 's/ (\*)$//' | sed -n 's/^\([^ ]*\) v\([^ |]*\)\( (proc-macro)\)\{0,1\}|\(.*\)$/\1 \2 \4/p' | sort -u >"$work/crates"

echo "itwin-auth-proxy is made of the following, under the licences named; their texts are below."
echo
while read -r name version licence; do
  echo "$name $version: $licence"
  for unpacked in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-$version"; do
    found=$(find "$unpacked" -maxdepth 1 -type f \
      \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'copyright*' -o -iname 'unlicense*' \) \
      | LC_ALL=C sort)
    for file in $found; do take "$name $version" "$file"; done
  done
done <"$work/crates"
cat <<'END'
the Rust standard library: MIT OR Apache-2.0
the GNU C library, linked statically: LGPL-2.1-or-later; the program can be linked again with another one,
  from its source, by the Dockerfile in it
GCC's run-time library, linked statically: GPL-3.0-or-later WITH GCC-exception-3.1
certificates of authorities (/etc/ssl/certs), from Mozilla: MPL-2.0
END
rust=$(rustc --print sysroot)/share/doc/rust
take "the Rust standard library" "$rust"/COPYRIGHT "$rust"/LICENSE-*
take "the GNU C library" /usr/share/doc/libc6/copyright /usr/share/common-licenses/LGPL-2.1
take "GCC's run-time library" /usr/share/doc/gcc-12-base/copyright /usr/share/common-licenses/GPL-3
take "certificates of authorities" /usr/share/doc/ca-certificates/copyright

for names in "$work"/names/*; do
  printf '\n\n=== %s\n\n' "$(sort -u "$names" | paste -sd, - | sed 's/,/, /g')"
  cat "$work/texts/$(basename "$names")"
done
