"""The same networks as int8 flatbuffers: their size, and the arena that TensorFlow Lite Micro takes for them.

    pip install tensorflow-cpu tflite-micro; python benches/embedded/tflite_micro_sizes.py

Sizes do not depend on the values of the weights, so they are random. The flash of the interpreter and its kernels comes on
top and is not in the wheel; the arena is that of a 64-bit machine, whose pointers are twice as large.
"""

import contextlib
import os
import re
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy  # noqa: E402
import tensorflow  # noqa: E402
from tensorflow.keras import Model, layers  # noqa: E402
from tflite_micro import runtime  # noqa: E402


def conv(x, outputs, kernel, stride=1, relu=True, padding="same"):
    x = layers.Conv2D(outputs, kernel, stride, padding)(x)
    return layers.ReLU()(x) if relu else x


def separable(x, outputs, stride=1):
    x = layers.ReLU()(layers.DepthwiseConv2D(3, stride, "same")(x))
    return conv(x, outputs, 1)


def lenet():
    x = inputs = layers.Input((28, 28, 1), batch_size=1)
    for outputs in (6, 16):
        x = layers.AveragePooling2D(2)(conv(x, outputs, 5, padding="valid"))
    x = layers.Flatten()(x)
    for outputs in (120, 84):
        x = layers.Dense(outputs, activation="relu")(x)
    return Model(inputs, layers.Dense(10)(x))


def kws():
    inputs = layers.Input((49, 10, 1), batch_size=1)
    x = conv(inputs, 64, (10, 4), 2)
    for _ in range(4):
        x = separable(x, 64)
    return Model(inputs, layers.Dense(12)(layers.GlobalAveragePooling2D()(x)))


def resnet8():
    inputs = layers.Input((32, 32, 3), batch_size=1)
    x = conv(inputs, 16, 3)
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        y = conv(conv(x, outputs, 3, stride), outputs, 3, relu=False)
        if stride == 2:
            x = conv(x, outputs, 1, stride, relu=False)
        x = layers.ReLU()(layers.Add()([x, y]))
    return Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def vww():
    inputs = layers.Input((96, 96, 3), batch_size=1)
    x = conv(inputs, 8, 3, 2)
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        x = separable(x, outputs, stride)
    return Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def int8(model):
    shape = (1, *model.input_shape[1:])
    random = numpy.random.default_rng(0)
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([random.random(shape, numpy.float32)] for _ in range(8))
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    with contextlib.redirect_stdout(sys.stderr):
        return converter.convert()


def arena(flatbuffer, shape):
    """The interpreter writes what it allocated to the file of stderr, not to Python's."""
    interpreter = runtime.Interpreter.from_bytes(flatbuffer, arena_size=1 << 20)
    interpreter.set_input(numpy.zeros(shape, numpy.int8), 0)
    interpreter.invoke()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(2)
        os.dup2(said.fileno(), 2)
        interpreter.print_allocations()
        os.dup2(kept, 2)
        said.seek(0)
        text = said.read().decode()
    found = re.search(r"Arena allocation total (\d+) bytes", text)
    return int(found.group(1)) if found else sys.exit(f"no total in: {text}")


print("| network | flatbuffer, bytes | arena, bytes |\n|---|---|---|")
for build in (lenet, kws, resnet8, vww):
    network = build()
    flatbuffer = int8(network)
    print(f"| {build.__name__} | {len(flatbuffer):,} | {arena(flatbuffer, (1, *network.input_shape[1:])):,} |", flush=True)
