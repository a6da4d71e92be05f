# Two images from one build. `steps`: the static executable, a link for each step, the CA roots, and nothing else. `clients`: beside
# them what some steps start, PostgreSQL's clients, the SSH client and a shell. An action that is built from this file, as all are before
# a release, gets the last one.
#
# Whoever has no registry gives RUST and BASE other names, PGDG=true and the MAJORS that BASE itself has.
ARG RUST=rust:1.95-bookworm
ARG BASE=debian:trixie-slim

FROM ${RUST} AS build
# aws-lc and zstd are C.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG COMMIT
RUN target="$(uname -m)-unknown-linux-musl" \
    && rustup target add "$target" \
    && CUTOVER_COMMIT=${COMMIT} cargo build --release --locked --bin cutover --target "$target" \
    && mkdir -p /out/usr/local/bin /out/etc/ssl/certs /out/tmp \
    && chmod 1777 /out/tmp \
    && cp "target/$target/release/cutover" /out/usr/local/bin/ \
    && for step in $(/out/usr/local/bin/cutover --list); do ln -s cutover "/out/usr/local/bin/$step"; done \
    && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM scratch AS steps
COPY --from=build /out/ /
# A container action has to run as root: the runner owns the files that outputs and summaries are written to.
# https://docs.github.com/en/actions/reference/workflows-and-actions/dockerfile-support
ENTRYPOINT ["/usr/local/bin/cutover"]

FROM ${BASE} AS clients
# The majors that https://www.postgresql.org/support/versioning/ names: a server is dumped with its own or a later one.
ARG MAJORS="15 16 17 18"
ARG PGDG="/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates openssh-client postgresql-common \
    && ${PGDG} \
    && for major in ${MAJORS}; do packages="$packages postgresql-client-$major"; done \
    && apt-get install --yes --no-install-recommends $packages \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/usr/local/bin/ /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/cutover"]
