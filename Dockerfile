# One image for every step: the multi-call executable, a link for each step, PostgreSQL's clients for backup-db and the OpenSSH client for swap-upstream.
ARG RUST=rust:1.95-bookworm
ARG BASE=debian:trixie-slim

FROM ${RUST} AS build
WORKDIR /src
COPY . .
ARG COMMIT
RUN CUTOVER_COMMIT=${COMMIT} cargo build --release --locked --bin cutover

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates openssh-client postgresql-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/cutover /usr/local/bin/cutover
RUN for step in $(cutover --list); do ln -s cutover /usr/local/bin/$step; done
# A container action has to run as root: the runner owns the files that outputs and summaries are written to.
# https://docs.github.com/en/actions/reference/workflows-and-actions/dockerfile-support
ENTRYPOINT ["/usr/local/bin/cutover"]
