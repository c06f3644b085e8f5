# The image: the program, the system's certificate authorities, and nothing to run a shell with.
#
#   podman build --format docker -t itwin-auth-proxy .

FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# Both caches outlive the build, so that a change of the source compiles the source alone; what is
# kept of the target folder must therefore be copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin itwin-auth-proxy \
 && cp target/release/itwin-auth-proxy /itwin-auth-proxy

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /itwin-auth-proxy /usr/local/bin/itwin-auth-proxy
USER 65532:65532
# Listeners are on loopback unless the configuration says otherwise: share this container's network
# (deploy/compose), or admit callers explicitly.
ENTRYPOINT ["/usr/local/bin/itwin-auth-proxy"]
CMD ["run"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s --retries=3 \
  CMD ["/usr/local/bin/itwin-auth-proxy", "probe"]
