#!/usr/bin/env bash
# Builds the wheel into the folder that is named, or target/wheels: the command, stripped, and the extension module.
# Needs maturin (pip install maturin), strip and objdump.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/wheels}")

cargo build --release -p releqc
mkdir -p python/releqc/bin
strip -o python/releqc/bin/releqc "${CARGO_TARGET_DIR:-target}/release/releqc"
chmod 755 python/releqc/bin/releqc
# The wheel is for systems whose C library is as new as that which the command was linked with.
glibc=$(objdump -T python/releqc/bin/releqc | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -n 1 | cut -d_ -f2)
maturin build --release --manifest-path python/Cargo.toml --compatibility "manylinux_${glibc//./_}" --out "$out"
ls -l "$out"
