#!/usr/bin/env python3
"""Vectors for core_test.v with the shapes of real networks and random weights, by the model of vectors.py, on the machine of 16 x 16 x 16:

LeNet whole at widths 2,2,3,2 and 8, six layers of ResNet-20 and a depthwise layer of MobileNet at widths 2 to 8.
usage: networks.py DIR        one folder of vectors each below DIR
"""
import os
import random
import sys

from vectors import Case, Pool, Quantize, Vectors, f32

MACHINE = [16, 16, 16, 294912, 262144, 2048]


def conv(rng, k, image, channels, outputs, kernel, stride=1, padding=0, groups=1, over=0, first=0, count=None, x_at=0, y_at=0, zero=(0, 0), **more):
    """A convolution of a range of channels to a tile that holds all channels of the layer."""
    case = object.__new__(Case)
    case.machine, case.k, case.over, case.groups = MACHINE, k, over, groups
    case.image, case.channels, case.layer_outputs = [image, image], channels, outputs
    case.kernel, case.stride, case.dilation, case.padding = [kernel] * 2, [stride] * 2, [1, 1], [padding] * 4
    case.extent = [(image + 2 * padding - kernel) // stride + 1] * 2
    case.first, case.outputs = first, outputs if count is None else count
    case.depth = kernel * kernel * channels // groups
    case.host, case.place, case.y_channels = False, first, outputs
    case.x_len, case.y_len = image * image * channels, case.extent[0] * case.extent[1] * outputs
    case.w_len = -(-case.outputs // 16) * -(-case.depth // 4) * 8 * k
    case.x_at, case.y_at, case.w_at, case.slot = x_at, y_at, rng.randint(0, MACHINE[3] - case.w_len), rng.randint(0, 2048 - case.outputs)
    case.zero, case.clamp = list(zero), [zero[1], 255]
    low, high = -(2 ** (k - 1)), 2 ** (k - 1) - 1
    case.codes = [[rng.randint(low, high) for _ in range(case.depth)] for _ in range(case.outputs)]
    case.biases = [rng.randint(-1000, 1000) - case.zero[0] * sum(codes) for codes in case.codes]
    # Results of a few hundred steps: neither all clamped nor all alike.
    case.multipliers = [f32(rng.uniform(1.0, 2.0) / (2 ** (k - 1) * case.depth**0.5)) for _ in range(case.outputs)]
    case.channel_last, case.host_extent, case.host_at = 0, [1, 1, outputs], 0
    case.tokens = [rng.randint(0, 1) for _ in range(4)]
    for name, value in more.items():
        setattr(case, name, value)
    return case


def lenet(folder, widths):
    rng, vectors = random.Random(repr(widths)), Vectors(folder, MACHINE)
    quantize = object.__new__(Quantize)
    quantize.extent, quantize.y_len, quantize.y_at, quantize.zero = [28, 28, 1], 784, 11520, 110
    quantize.scale, quantize.channel_last, quantize.host_at = f32(49.999996), 0, 0
    quantize.values = [f32(rng.uniform(-2.2, 2.9)) for _ in range(784)]
    vectors.inputs(0, quantize.values)
    vectors.vector(quantize)

    def layer(**fields):
        case = conv(rng, **fields)
        case.x = list(vectors.buffer[case.x_at : case.x_at + case.x_len])
        vectors.conv(case)

    def pool(image, channels, x_at, y_at):
        case = object.__new__(Pool)
        case.mean, case.zero = False, [0, 0]
        case.kernel, case.stride, case.dilation, case.padding = [2, 2], [2, 2], [1, 1], [0] * 4
        case.image, case.channels, case.extent = [image] * 2, channels, [image // 2] * 2
        case.x_len, case.y_len, case.x_at, case.y_at = image * image * channels, image * image * channels // 4, x_at, y_at
        case.x, case.clamp = list(vectors.buffer[x_at : x_at + case.x_len]), [0, 255]
        vectors.vector(case)

    layer(k=widths[0], image=28, channels=1, outputs=20, kernel=5, over=1, x_at=11520, y_at=0, zero=(110, 130))
    pool(24, 20, 0, 11520)
    layer(k=widths[1], image=12, channels=20, outputs=50, kernel=5, x_at=11520, y_at=0, zero=(130, 139))
    pool(8, 50, 0, 3200)
    for first, count in ((0, 240), (240, 240), (480, 20)):
        layer(k=widths[2], image=4, channels=50, outputs=500, kernel=4, over=2, first=first, count=count, x_at=3200, y_at=0, zero=(139, 0))
    layer(k=widths[3], image=1, channels=500, outputs=10, kernel=1, over=2, zero=(0, 0), host=True, place=0, host_at=784)
    vectors.close()


RESNET = {
    "conv1": dict(image=32, channels=3, outputs=16, kernel=3, padding=1, over=0),
    "block1": dict(image=32, channels=16, outputs=16, kernel=3, padding=1),
    "block4": dict(image=32, channels=16, outputs=32, kernel=3, padding=1, stride=2),
    "block5": dict(image=16, channels=32, outputs=32, kernel=3, padding=1),
    "block7": dict(image=16, channels=32, outputs=64, kernel=3, padding=1, stride=2),
    "block8": dict(image=8, channels=64, outputs=64, kernel=3, padding=1),
}
DEPTHWISE = dict(image=28, channels=64, outputs=64, kernel=3, padding=1, groups=64, over=1)


def layers(folder, shapes, k):
    rng, vectors = random.Random(k), Vectors(folder, MACHINE)
    for shape in shapes:
        case = conv(rng, k, **shape, y_at=131072, zero=(rng.randint(0, 255), rng.choice([0, 128])))
        case.x = [rng.randint(0, 255) for _ in range(case.x_len)]
        vectors.activations(case.x_at, case.x)
        vectors.conv(case)
    vectors.close()


def main():
    folder = sys.argv[1]
    for widths in ([2, 2, 3, 2], [8, 8, 8, 8]):
        lenet(os.path.join(folder, "lenet_" + "".join(map(str, widths))), widths)
    for k in range(2, 9):
        layers(os.path.join(folder, f"resnet20_{k}"), RESNET.values(), k)
        layers(os.path.join(folder, f"mobilenet_depthwise_{k}"), [DEPTHWISE], k)


main()
