# The command line in a small image: docker build -t releqc . && docker run --rm -v "$PWD:/work" releqc net.onnx -o net.rq --bits 8
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p releqc && strip target/release/releqc

FROM debian:bookworm-slim
COPY --from=build /src/target/release/releqc /usr/local/bin/releqc
WORKDIR /work
ENTRYPOINT ["releqc"]
