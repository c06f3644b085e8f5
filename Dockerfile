# The image: the program, the certificate authorities that the public web trusts, and licence texts.
# No shell, no C library, no user database; the user is a number.
#
#   docker build -t itwin-auth-proxy .          (or podman build --format docker …)
#
# Build arguments, all optional:
#   TARGETARCH          amd64 or arm64; set by --platform, what the building machine is not is cross-compiled
#   PROFILE             of cargo: release, or dev for a build that is quick and large
#   RUST_IMAGE          the compiler; give its digest, too, to build with the very same one
#   SOURCE_DATE_EPOCH   the time of all files, in seconds: $(git log -1 --format=%ct)
#   VERSION, REVISION, CREATED, SOURCE          for the labels: $(git rev-parse HEAD), a date as in RFC 3339, an URL
#
# The bill of materials (CycloneDX), and the program by itself:
#   docker build --target sbom --output . .     → itwin-auth-proxy.cdx.json
#   docker build --target program --output . .  → itwin-auth-proxy, for any Linux of that machine's kind

ARG RUST_IMAGE=docker.io/library/rust:1-bookworm
FROM --platform=$BUILDPLATFORM $RUST_IMAGE AS toolchain

# Writes the list of dependencies into the program, where scanners look for it, and into a file.
FROM toolchain AS tools
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --quiet --locked --root /tools cargo-auditable@0.7.7 cargo-cyclonedx@0.5.9

FROM toolchain AS dependencies
COPY --from=tools /tools/bin /usr/local/bin
ARG TARGETARCH
ARG PROFILE=release
WORKDIR /src
COPY deploy/image/target.sh deploy/image/
COPY Cargo.toml Cargo.lock ./
# Without the system's keyring: a container has none.
#
# A program of nothing takes the place of the source, so that this layer holds for as long as the two
# files above stay as they are. That benchmarks exist is all that cargo wants to know of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    mkdir src benches && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
 && for bench in $(sed -n '/^\[\[bench\]\]/{n;s/name = "\(.*\)"/\1/p}' Cargo.toml); do touch "benches/$bench.rs"; done \
 && cargo fetch --quiet --locked \
 && . deploy/image/target.sh \
 && cargo auditable build --locked --profile "$PROFILE" --target "$target" --bin itwin-auth-proxy --no-default-features

FROM dependencies AS build
ARG TARGETARCH
ARG PROFILE=release
COPY src src
# Whatever time the source's files have, they are newer than what was built of nothing.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    touch src/lib.rs src/main.rs \
 && cargo fetch --quiet --locked \
 && . deploy/image/target.sh \
 && cargo auditable build --locked --profile "$PROFILE" --target "$target" --bin itwin-auth-proxy --no-default-features \
 && case $PROFILE in dev) built=debug ;; *) built=$PROFILE ;; esac \
 && mkdir -p /image/usr/local/bin \
 && cp "target/$target/$built/itwin-auth-proxy" /image/usr/local/bin/

# What goes beside it, all of one time.
FROM build AS image
ARG TARGETARCH
ARG SOURCE_DATE_EPOCH=0
COPY deploy/image/licences.sh deploy/image/
COPY LICENSE /image/usr/share/doc/itwin-auth-proxy/
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo fetch --quiet --locked \
 && . deploy/image/target.sh \
 && sh deploy/image/licences.sh "$target" >/image/usr/share/doc/itwin-auth-proxy/THIRD-PARTY \
 && cargo cyclonedx --quiet --no-default-features --format json --spec-version 1.5 --target "$target" --override-filename bom \
 && mkdir -p /sbom /state/itwin-auth-proxy/authority && mv bom.json /sbom/itwin-auth-proxy.cdx.json \
 && mkdir -m 1777 /image/tmp && mkdir -p /image/var/lib \
 && find /image /sbom /state -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +

FROM scratch AS sbom
COPY --from=image /sbom /

FROM scratch AS program
COPY --from=image /image/usr/local/bin /

FROM scratch
COPY --from=toolchain /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=image /image /
# Empty; volumes mounted here belong to the user from the start.
COPY --from=image --chown=65532:65532 /state /var/lib
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="itwin-auth-proxy" \
      org.opencontainers.image.description="Gives software that knows nothing of OAuth valid access tokens for iTwin services" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE"
USER 65532:65532
# Listeners are on loopback unless the configuration says otherwise: share this container's network
# (deploy/compose), or admit callers explicitly.
ENTRYPOINT ["/usr/local/bin/itwin-auth-proxy"]
CMD ["run"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s --retries=3 \
  CMD ["/usr/local/bin/itwin-auth-proxy", "probe"]
