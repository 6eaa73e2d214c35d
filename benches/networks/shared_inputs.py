#!/usr/bin/env python3
"""Inputs, float results and labelled data for the networks of `../shared/models`.

    shared_inputs.py SHARED OUT [NAME ..]

For each NAME.onnx, also of `thirdparty/`: OUT/NAME.npz and OUT/NAME.calibration.npz as measure.py
reads them (4 samples with the results of onnxruntime; 64 others), and where SHARED has labels
OUT/NAME.labelled.npz: `x_train`, `y_train` (512 samples) and `x_val`, `y_val` (all test samples),
preprocessed as SHARED/README.md states, with `float_top1`, what onnxruntime reaches on the latter.
Networks without data get enlarged photographs of CIFAR-10, the autoencoder noisy spectra.

Needs numpy, pillow and onnxruntime. The same bytes for the same versions of those.
"""
import argparse
import gzip
import struct
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

F = np.float32
TRAIN, CALIBRATION, SHOWN = 512, 64, 4


def idx(path):
    """An IDX file."""
    data = gzip.open(path).read()
    kind, rank = data[2], data[3]
    extents = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, {8: np.uint8, 9: np.int8}[kind], offset=4 + 4 * rank).reshape(extents)


def cifar(path):
    """Records of a label and 3072 pixels."""
    rows = np.frombuffer(gzip.open(path).read(), np.uint8).reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def normalized(mean, std):
    mean, std = np.array(mean, F).reshape(1, -1, 1, 1), np.array(std, F).reshape(1, -1, 1, 1)
    return lambda x: (x.astype(F) / F(255) - mean) / std


def enlarged(side, width=None):
    """Pixels 0..255 of another size."""

    def resize(x):
        grey = x.shape[1] == 1
        out = []
        for picture in x:
            image = Image.fromarray(picture[0] if grey else picture.transpose(1, 2, 0))
            values = np.asarray(image.resize((width or side, side), Image.BILINEAR), F)
            out.append(values[None] if grey else values.transpose(2, 0, 1))
        return np.stack(out)

    return resize


def raw(x):
    return x.astype(F)


def unit(x):
    return x.astype(F) / F(255)


def after(first, second):
    return lambda x: second(first(x))


MNIST = normalized([0.1307], [0.3081])
RESNET = normalized([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = normalized([0.5], [0.5])


def signed(x):
    return x / F(127.5) - F(1)


# NAME -> data, what becomes of its pixels, whether its labels are the network's.
NETWORKS = {
    "cifar10_mlperftiny_resnet8": ("cifar10", raw, True),
    "cifar10_mlperftiny_resnet8_bn": ("cifar10", raw, True),
    "cifar10_resnet20": ("cifar10", RESNET, True),
    "cifar10_resnet20_bn": ("cifar10", RESNET, True),
    "cifar10_resnet20_convsc": ("cifar10", RESNET, True),
    "cifar10_resnet20_convsc_bn": ("cifar10", RESNET, True),
    "cifar10_simplenet5": ("cifar10", HALF, True),
    "kws_mlperftiny_dscnn": ("kws01", lambda x: (x.astype(F) - F(83)) * F(0.5847029), True),
    "mnist_burn_conv3": ("mnist", MNIST, True),
    "mnist_lenet5_sakgoyal": ("mnist", raw, True),
    "mnist_cntk_conv_opset8": ("mnist", raw, True),
    "mnist_fyh620_lenet5": ("mnist", MNIST, True),
    "mnist_jinsoo9595_lenet5": ("mnist", after(enlarged(32), unit), True),
    "mnist_yliess86_mlp": ("mnist", lambda x: unit(x).reshape(len(x), -1), True),
    "vnn21_cifar10_resnet_resnet_2b": ("cifar10", normalized([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]), True),
    "vnn21_marabou-cifar10_cifar10_small": ("cifar10", lambda x: unit(x).transpose(0, 2, 3, 1), True),
    "vnn21_oval21_cifar_base_kw": ("cifar10", normalized([0.485, 0.456, 0.406], [0.225]), True),
    "vnn21_verivital_convnet_maxpool": ("mnist", unit, True),
    "imagenet_mobilenet_v1_025_224": ("cifar10", after(enlarged(224), signed), False),
    "imagenet_mobilenet_v1_025_224_bn": ("cifar10", after(enlarged(224), signed), False),
    "imagenet_mobilenet_v2_100_224_dq8": ("cifar10", after(enlarged(224), signed), False),
    "vww_mlperftiny_mobilenet_v1_025_96_bn": ("cifar10", after(enlarged(96), unit), False),
    "ultraface_slim320_nopost": ("cifar10", after(enlarged(240, 320), lambda x: (x - F(127)) / F(128)), False),
    "espcn_subpixel_float": ("cifar10", after(enlarged(4), unit), False),
    "ad_mlperftiny_autoencoder": ("noise", raw, False),
}


def noise(count, seed):
    """Spectra in dB: five frames of 128 bands that fall off, with some lines."""
    r = np.random.default_rng(seed)
    bands = -20 - 40 * np.linspace(0, 1, 128) + 6 * r.standard_normal((count, 1, 128))
    frames = bands + 3 * r.standard_normal((count, 5, 128))
    return frames.reshape(count, 640).astype(F), np.zeros(count, np.int64)


def samples(shared, data):
    """Train and test samples, as they are stored, with labels."""
    if data == "noise":
        return noise(TRAIN, 1), noise(SHOWN, 2)
    folder = shared / "data" / data
    if data == "cifar10":
        return cifar(folder / "train_1_20000.bin.gz"), cifar(folder / "test_5000.bin.gz")
    if data == "mnist":
        train = idx(folder / "train-images-idx3-ubyte.gz"), idx(folder / "train-labels-idx1-ubyte.gz")
        test = idx(folder / "t10k-first5000-images-idx3-ubyte.gz"), idx(folder / "t10k-first5000-labels-idx1-ubyte.gz")
        return (train[0][:, None], train[1]), (test[0][:, None], test[1])
    # There is no other part: the first half of the samples is calibrated on as well.
    both = idx(folder / "kws01-500-inputs.idx.gz"), idx(folder / "kws01-500-labels.idx.gz")
    return (both[0][:250], both[1][:250]), both


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for name in a.names or NETWORKS:
        data, preprocess, labelled = NETWORKS[name]
        path = next(p for p in (a.shared / "models" / f"{name}.onnx", a.shared / "models/thirdparty" / f"{name}.onnx") if p.exists())
        session = ort.InferenceSession(str(path))
        feed, shape = session.get_inputs()[0].name, session.get_inputs()[0].shape
        single = shape[0] == 1

        def run(x):
            parts = ([x[i : i + 1] for i in range(len(x))] if single else [x])
            outputs = [session.run(None, {feed: part}) for part in parts]
            return [np.concatenate(y) for y in zip(*outputs)]

        (train, train_labels), (test, labels) = samples(a.shared, data)
        shown = preprocess(test[:SHOWN])
        results = {f"y{k}": y[:, None] for k, y in enumerate(run(shown))}
        np.savez(a.out / f"{name}.npz", x0=shown[:, None], **results)
        np.savez(a.out / f"{name}.calibration.npz", x0=preprocess(train[:CALIBRATION])[:, None])
        said = ""
        if labelled:
            held = preprocess(test)
            top1 = float((run(held)[0].reshape(len(held), -1).argmax(1) == labels).mean())
            train_x = preprocess(train[:TRAIN])
            np.savez(
                a.out / f"{name}.labelled.npz",
                x_train=train_x, y_train=train_labels[: len(train_x)].astype(np.int64),
                x_val=held, y_val=labels.astype(np.int64), float_top1=np.array(top1),
            )  # fmt: skip
            said = f", {100 * top1:.2f} % of {len(held)}"
        print(f"{name}: {list(shown.shape[1:])}, {shown.min():.4g}..{shown.max():.4g}{said}", flush=True)


if __name__ == "__main__":
    main()
