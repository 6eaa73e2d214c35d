"""The eight networks of the ReLeQ paper as ONNX with random weights: cycles and energy depend on shapes and widths alone.

Where the paper does not give a shape, the usual one is taken: SVHN-10 is eight 3x3 layers and two fully connected ones, VGG-16
on CIFAR-10 has fully connected layers of 512. MobileNet-V1 has 28 layers with weights; the paper lists 30 widths, the first 28
are taken.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A network under construction."""

    def __init__(self, name, shape):
        self.name, self.shape, self.nodes, self.weights = name, list(shape), [], []
        self.input, self.value, self.count, self.layers = list(shape), "input", 0, 0
        self.rng = np.random.default_rng(7)

    def node(self, op, inputs, shape, **attributes):
        self.count += 1
        value = f"{op.lower()}{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [value], name=value, **attributes))
        self.value, self.shape = value, list(shape)
        return value

    def constant(self, shape, scale):
        name = f"w{len(self.weights)}"
        values = (self.rng.standard_normal(shape, dtype=np.float32) * scale).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, outputs, kernel, stride=1, padding=0, groups=1, relu=True):
        channels, height, width = self.shape
        depth = channels // groups * kernel * kernel
        weights = self.constant((outputs, channels // groups, kernel, kernel), (2 / depth) ** 0.5)
        bias = self.constant((outputs,), 0.01)
        extent = [(size + 2 * padding - kernel) // stride + 1 for size in (height, width)]
        self.node("Conv", [self.value, weights, bias], [outputs, *extent], kernel_shape=[kernel] * 2, strides=[stride] * 2,
                  pads=[padding] * 4, group=groups)
        self.layers += 1
        if relu:
            self.relu()
        return self

    def relu(self):
        self.node("Relu", [self.value], self.shape)
        return self

    def pool(self, kernel=2, stride=2):
        channels, height, width = self.shape
        extent = [(size - kernel) // stride + 1 for size in (height, width)]
        self.node("MaxPool", [self.value], [channels, *extent], kernel_shape=[kernel] * 2, strides=[stride] * 2)
        return self

    def mean(self):
        self.node("GlobalAveragePool", [self.value], [self.shape[0], 1, 1])
        return self

    def fc(self, outputs, relu=True):
        if len(self.shape) == 3:
            self.node("Flatten", [self.value], [int(np.prod(self.shape))], axis=1)
        depth = self.shape[0]
        weights, bias = self.constant((outputs, depth), (2 / depth) ** 0.5), self.constant((outputs,), 0.01)
        self.node("Gemm", [self.value, weights, bias], [outputs], transB=1)
        self.layers += 1
        return self.relu() if relu else self

    def save(self, path):
        tensor = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape])
        graph = helper.make_graph(self.nodes, self.name, [tensor("input", self.input)], [tensor(self.value, self.shape)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        onnx.save(model, path)


def lenet():
    return Net("lenet", (1, 28, 28)).conv(20, 5, relu=False).pool().conv(50, 5, relu=False).pool().fc(500).fc(10, relu=False)


def simplenet():
    return Net("simplenet", (3, 32, 32)).conv(6, 5).pool().conv(16, 5).pool().fc(120).fc(84).fc(10, relu=False)


def alexnet():
    net = Net("alexnet", (3, 227, 227)).conv(96, 11, stride=4).pool(3, 2).conv(256, 5, padding=2).pool(3, 2)
    net.conv(384, 3, padding=1).conv(384, 3, padding=1).conv(256, 3, padding=1).pool(3, 2)
    return net.fc(4096).fc(4096).fc(1000, relu=False)


def svhn10():
    net = Net("svhn10", (3, 32, 32))
    for outputs in (64, 128, 256, 512):
        net.conv(outputs, 3, padding=1).conv(outputs, 3, padding=1).pool()
    return net.fc(512).fc(10, relu=False)


def vgg(name, stages):
    net = Net(name, (3, 32, 32))
    for count, outputs in stages:
        for _ in range(count):
            net.conv(outputs, 3, padding=1)
        net.pool()
    return net


def vgg11():
    return vgg("vgg11", [(1, 64), (1, 128), (2, 256), (2, 512), (2, 512)]).fc(10, relu=False)


def vgg16():
    return vgg("vgg16", [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]).fc(512).fc(512).fc(10, relu=False)


def resnet20():
    """With 1x1 shortcuts: 22 layers, the shortcut of a block after its two layers."""
    net = Net("resnet20", (3, 32, 32)).conv(16, 3, padding=1)
    for outputs in (16, 32, 64):
        for block in range(3):
            entry, shape = net.value, net.shape
            stride = 2 if block == 0 and outputs > 16 else 1
            net.conv(outputs, 3, stride, 1).conv(outputs, 3, 1, 1, relu=False)
            main, result = net.value, net.shape
            if stride == 2:
                net.value, net.shape = entry, shape
                net.conv(outputs, 1, 2, 0, relu=False)
                entry = net.value
            net.node("Add", [main, entry], result)
            net.relu()
    return net.mean().fc(10, relu=False)


def mobilenet():
    net = Net("mobilenet", (3, 224, 224)).conv(32, 3, 2, 1)
    for outputs, stride in [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]:
        net.conv(net.shape[0], 3, stride, 1, groups=net.shape[0]).conv(outputs, 1)
    return net.mean().fc(1000, relu=False)


MOBILENET = [8, 5, 6, 6, 4, 4, 7, 8, 4, 6, 8, 5, 5, 8, 6, 7, 7, 7, 6, 8, 6, 8, 8, 6, 7, 5, 5, 7, 8, 8]

# Networks with the widths that the paper reports.
PAPER = {
    "AlexNet": (alexnet, [8, 4, 4, 4, 4, 4, 4, 8]),
    "SimpleNet": (simplenet, [5, 5, 5, 5, 5]),
    "LeNet": (lenet, [2, 2, 3, 2]),
    "MobileNet-V1": (mobilenet, MOBILENET[:28]),
    "ResNet-20": (resnet20, [8, 2, 2, 3, 2, 2, 2, 3, 2, 3, 3, 3, 2, 2, 2, 3, 2, 2, 2, 2, 2, 8]),
    "SVHN-10": (svhn10, [8, 4, 4, 4, 4, 4, 4, 4, 4, 8]),
    "VGG-11": (vgg11, [8, 5, 8, 5, 6, 6, 6, 6, 8]),
    "VGG-16": (vgg16, [8, 8, 8, 6, 8, 6, 8, 6, 8, 6, 8, 6, 8, 6, 8, 8]),
}

# Widths that ADMM chose, and the paper's ratios of ReLeQ to them: speed, energy.
ADMM = {"AlexNet": ([8, 5, 5, 5, 5, 3, 3, 8], 1.22, 1.25), "LeNet": ([5, 3, 2, 3], 1.86, 1.87)}
