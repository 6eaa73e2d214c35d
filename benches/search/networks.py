"""The networks that searches are measured on, and their data in the form of releqc.

Paths are those of a folder of public networks and data (docs/results.md names the sources): models/NAME.onnx, data/mnist,
data/cifar10, data/kws01, models/real.
"""
import gzip
from pathlib import Path

import numpy as np

RESNET = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
HALF = ["--mean", "0.5", "--std", "0.5"]

# Name: file, data, preprocessing.
NETWORKS = {
    "LeNet": ("mnist_lenet5_sakgoyal.onnx", "mnist", ["--raw-pixels"]),
    "SimpleNet": ("cifar10_simplenet5.onnx", "cifar10", HALF),
    "ResNet-20": ("cifar10_resnet20_convsc_bn.onnx", "cifar10", RESNET),
    "ResNet-8": ("cifar10_mlperftiny_resnet8_bn.onnx", "cifar10", ["--raw-pixels"]),
    "keyword spotting": ("kws_mlperftiny_dscnn.onnx", "kws01", []),
}
# 55 convolutions and 2 fully connected layers; no data, so it is judged by its signal-to-noise ratio.
DEEP = ("MiniFASNet", "real/antispoof_bin_128.onnx", ["--metric", "snr", "--input-range", "0:1"])


def idx(path):
    data = gzip.decompress(path.read_bytes())
    kind, rank = data[2], data[3]
    extents = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    dtype = {8: np.uint8, 9: np.int8}[kind]
    return np.frombuffer(data, dtype, offset=4 + 4 * rank).reshape(extents)


def cifar(path):
    records = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def samples(shared, name):
    """Training samples and labels, then test samples and labels."""
    folder = Path(shared) / "data" / name
    if name == "mnist":
        images = lambda stem: idx(folder / f"{stem}-images-idx3-ubyte.gz")[:, None]
        labels = lambda stem: idx(folder / f"{stem}-labels-idx1-ubyte.gz").astype(np.int64)
        return images("train"), labels("train"), images("t10k-first5000"), labels("t10k-first5000")
    if name == "cifar10":
        return *cifar(folder / "train_1_20000.bin.gz"), *cifar(folder / "test_5000.bin.gz")
    x = (idx(folder / "kws01-500-inputs.idx.gz").astype(np.float32) - 83) * np.float32(0.5847029)
    y = idx(folder / "kws01-500-labels.idx.gz").astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return x, y, x[:0], y[:0]


def write(shared, name, path, training=None, validation=None, test=None):
    """Writes an .npz of so many samples of each part. Of keyword spotting's 500 samples a third learns and two thirds validate."""
    x, y, x_test, y_test = samples(shared, name)
    if name == "kws01":
        training, validation = 150, 350
    order = np.random.default_rng(1).permutation(len(x))
    kept, held = order[validation : validation + training], order[:validation]
    parts = {"x_train": x[kept], "y_train": y[kept], "x_val": x[held], "y_val": y[held]}
    if test and len(x_test):
        parts.update(x_test=x_test[:test], y_test=y_test[:test])
    np.savez(path, **parts)
    return path
