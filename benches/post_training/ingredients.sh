#!/bin/sh
# What each ingredient of quantization without retraining is worth, on the four networks of docs/results.md.
#     ingredients.sh SHARED WORK PYTHON [BITS ..]
# SHARED has models and data, WORK is a folder for what is written here, PYTHON has numpy.
set -eu
python=$3
mkdir -p "$2"
shared=$(cd "$1" && pwd) work=$(cd "$2" && pwd)
shift 3
[ $# -gt 0 ] || set -- 4
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
"$python" "$here/keyword_spotting.py" "$shared/data/kws01" "$work/kws.npz"
cargo build --release --quiet -p releqc-passes --example post_training
run() { "${CARGO_TARGET_DIR:-target}/release/examples/post_training" "$@"; }
run "$shared/models/cifar10_resnet20_convsc.onnx" "$shared/data/cifar10" .485,.456,.406 .229,.224,.225 "$@"
run "$shared/models/cifar10_mlperftiny_resnet8.onnx" "$shared/data/cifar10" raw raw "$@"
run "$shared/models/cifar10_simplenet5.onnx" "$shared/data/cifar10" 0.5 0.5 "$@"
run "$shared/models/kws_mlperftiny_dscnn.onnx" "$work/kws.npz" raw raw "$@"
