"""Samples of the networks that lie beside the repository, as the networks take them.

`NETWORKS[NAME](SHARED)` yields f32 samples and their labels; labels are None where there are none.
SHARED holds models/ and data/. Needs numpy, and pillow for pictures.
"""

import gzip

import numpy as np

F = np.float32


def idx(path):
    raw = gzip.open(path).read()
    kind, axes = raw[2], raw[3]
    dims = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(raw, {8: np.uint8, 9: np.int8}[kind], offset=4 + 4 * axes).reshape(dims)


def mnist(shared, mean, std, scale):
    folder = shared / "data/mnist"
    x = idx(folder / "t10k-first5000-images-idx3-ubyte.gz")[:, None].astype(F)
    return (x / scale - F(mean)) / F(std), idx(folder / "t10k-first5000-labels-idx1-ubyte.gz")


def cifar(shared, mean, std, scale):
    raw = gzip.open(shared / "data/cifar10/test_5000.bin.gz").read()
    raw = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    x = raw[:, 1:].reshape(-1, 3, 32, 32).astype(F)
    mean, std = (np.array(v, F).reshape(-1, 1, 1) for v in (mean, std))
    return (x / scale - mean) / std, raw[:, 0]


def keywords(shared):
    folder = shared / "data/kws01"
    x = (idx(folder / "kws01-500-inputs.idx.gz").astype(F) - 83) * F(0.5847029)
    return x, idx(folder / "kws01-500-labels.idx.gz")


def pictures(shared, side, rows=200):
    """Crops of photographs, x / 127.5 - 1; no labels."""
    from PIL import Image

    draw = np.random.default_rng(1)
    photos = sorted((shared / "models/real/images").glob("*.jpg"))
    photos = [Image.open(path).convert("RGB") for path in photos]
    crops = []
    for k in range(rows):
        photo = photos[k % len(photos)]
        size = int(min(photo.size) * draw.uniform(0.4, 1))
        x, y = (int(draw.uniform(0, extent - size + 1)) for extent in photo.size)
        crop = photo.crop((x, y, x + size, y + size)).resize((side, side), Image.BILINEAR)
        crops.append(np.asarray(crop, F).transpose(2, 0, 1) / F(127.5) - 1)
    return np.stack(crops), None


def spectra(rows=500):
    """Walks as smooth as log-mel frames; no labels."""
    draw = np.random.default_rng(2)
    return (np.cumsum(draw.normal(size=(rows, 640)), axis=1) / 8 - 20).astype(F), None


NETWORKS = {
    "mnist_lenet5_sakgoyal": lambda shared: mnist(shared, 0, 1, 1),
    "cifar10_simplenet5": lambda shared: cifar(shared, [0.5] * 3, [0.5] * 3, 255),
    "cifar10_resnet20": lambda shared: cifar(shared, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 255),
    "cifar10_mlperftiny_resnet8": lambda shared: cifar(shared, [0] * 3, [1] * 3, 1),
    "imagenet_mobilenet_v1_025_224": lambda shared: pictures(shared, 224),
    "vww_mlperftiny_mobilenet_v1_025_96_bn": lambda shared: pictures(shared, 96),
    "kws_mlperftiny_dscnn": keywords,
    "ad_mlperftiny_autoencoder": lambda shared: spectra(),
}
# Networks whose outputs are values; those of the others are classes.
VALUES = {"ad_mlperftiny_autoencoder"}
