# syntax=docker/dockerfile:1
# Two images from one build: docker build --target worker|operator -t stockpipeline-worker|stockpipeline-operator .
FROM rust:1.95.0-bookworm AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends cmake libssl-dev perl pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY pipeline pipeline
COPY program program
COPY operator operator
COPY worker worker
# A member of the workspace: cargo wants to see it.
COPY e2e/system e2e/system
# zlib is linked in: distroless has none.
ENV LIBZ_SYS_STATIC=1
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --bins -p stockpipeline-worker \
    && cargo build --profile operator --locked --bins -p stockpipeline-operator \
    && mkdir /out && cp target/release/stockpipeline-worker target/operator/stockpipeline-operator /out/
# What a program needs and the image below lacks is found here and not in a cluster.
RUN for program in /out/*; do \
      if ldd "$program" | grep -vE 'linux-vdso|ld-linux|lib(c|m|gcc_s|ssl|crypto)\.so'; then echo "$program links what distroless lacks" >&2; exit 1; fi; \
    done

# Debian 12's C library, libgcc, libssl and certificates; no shell, no package manager, user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
WORKDIR /
USER 65532:65532
EXPOSE 8080
LABEL org.opencontainers.image.source="https://github.com/stockpipeline/stockpipeline" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM base AS worker
COPY --from=build /out/stockpipeline-worker /usr/local/bin/stockpipeline-worker
ENTRYPOINT ["/usr/local/bin/stockpipeline-worker"]

FROM base AS operator
COPY --from=build /out/stockpipeline-operator /usr/local/bin/stockpipeline-operator
ENTRYPOINT ["/usr/local/bin/stockpipeline-operator"]
CMD ["run"]
