# For whom the image's program is compiled, and what keeps two builds of it from differing. Sourced by the
# steps of the Dockerfile, after `cargo fetch`.
#
# Static, the C library included, so that the image needs none; position-independent nevertheless.

case ${TARGETARCH:-$(dpkg --print-architecture)} in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *)
    echo "TARGETARCH is amd64 or arm64, not ${TARGETARCH}" >&2
    exit 64
    ;;
esac
target=$machine-unknown-linux-gnu
name=$(echo "$target" | tr a-z- A-Z_)

# Where sources were unpacked is in messages of panics and assertions; it differs with the registry
# that they were fetched from.
#
# A position-independent program notes where it has addresses in itself: packed, these notes are small.
flags="-Ctarget-feature=+crt-static -Clink-arg=-Wl,-z,pack-relative-relocs --remap-path-prefix=$PWD=."
for unpacked in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  flags="$flags --remap-path-prefix=${unpacked%/}=crates"
  CFLAGS="${CFLAGS:-} -ffile-prefix-map=${unpacked%/}=crates"
done
# Names of functions are for those who look into a process from outside, which no container has.
export CARGO_PROFILE_RELEASE_STRIP=symbols
export CFLAGS "CARGO_TARGET_${name}_RUSTFLAGS=$flags"

# The allocator is to work on kernels whatever the size of their pages: 64 KiB are in use on arm64.
if [ $machine = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi

if [ "$(uname -m)" != $machine ]; then
  rustup target add "$target"
  apt-get -qq update
  apt-get -qq install --no-install-recommends "gcc-$machine-linux-gnu" "g++-$machine-linux-gnu" \
    "libc6-dev-${TARGETARCH}-cross" >/dev/null
  export "CARGO_TARGET_${name}_LINKER=$machine-linux-gnu-gcc"
fi
