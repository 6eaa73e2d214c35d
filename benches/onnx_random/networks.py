"""Random ONNX networks of many operators, each a function of its seed.

`Network(seed)` holds a model that onnx's checker accepts, with an input `x`. Operators whose results jump (Sign, Round, Floor,
comparisons of activations) are left out: two right executions of them may differ by as much as they give.
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = [11, 12, 13, 14, 15, 17, 18, 19, 20, 21]
SHAPES = [(3, 12, 12), (8, 8, 8), (4, 10), (16,), (6, 8), (1, 16, 12), (5, 1, 20)]
MOST_VALUES = 30_000


class Network:
    """A graph under construction, then `model` and `shape`, the extents of a sample."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.values, self.names = [], [], [], 0
        self.opset = self.pick(OPSETS)
        self.symbolic = self.chance(0.5)
        self.shape = self.pick(SHAPES)
        self.values.append(("x", (1, *self.shape)))
        self.model = self._model(self._grow())

    def _grow(self):
        at, wanted = self.values[0], int(self.random.integers(3, 10))
        for attempt in range(80):
            kinds = FIRST if len(self.values) == 1 else OPERATORS
            kept = len(self.nodes), len(self.constants), len(self.values)
            made = self.pick(kinds)(self, *at)
            if made is None or np.prod(made[1]) > MOST_VALUES or min(made[1]) < 1 or made[1][0] != 1 or len(made[1]) < 2:
                del self.nodes[kept[0]:], self.constants[kept[1]:], self.values[kept[2]:]
                continue
            at, wanted = made, wanted - 1
            if wanted == 0:
                break
            if self.chance(0.1):
                at = self.pick([v for v in self.values[1:] if v[1][0] == 1])
        return at

    def _model(self, last):
        outputs = [last]
        others = [v for v in self.values if v[0] not in ("x", last[0]) and v[1][0] == 1]
        if others and self.chance(0.2):
            outputs.append(self.pick(others))
        batch = "N" if self.symbolic else 1
        info = lambda v: helper.make_tensor_value_info(v[0], TensorProto.FLOAT, [batch, *v[1][1:]])
        graph = helper.make_graph(
            self.nodes, "random", [info(self.values[0])], [info(v) for v in outputs], initializer=self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)

    def operators(self):
        return [node.op_type for node in self.nodes]

    def name(self, prefix):
        self.names += 1
        return f"{prefix}{self.names}"

    def chance(self, share):
        return self.random.random() < share

    def pick(self, choices):
        return choices[int(self.random.integers(len(choices)))]

    def constant(self, values):
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def ints(self, values):
        return self.constant(np.array(values, np.int64))

    def weight(self, *shape, fan):
        """Values that keep the power of what they are multiplied with."""
        return self.constant((self.random.standard_normal(shape) * np.sqrt(1.6 / fan)).astype(np.float32))

    def normal(self, *shape, mean=0.0, deviation=1.0):
        return self.constant(np.asarray(mean + deviation * self.random.standard_normal(shape), np.float32))

    def add(self, op, inputs, shape, **attributes):
        output = self.name("v")
        self.nodes.append(helper.make_node(op, inputs, [output], name=self.name("n"), **attributes))
        self.values.append((output, tuple(int(d) for d in shape)))
        return self.values[-1]

    def alike(self, value, shape, fits):
        return [v for v in self.values if v[0] != value and len(v[1]) == len(shape) and fits(v[1])]


def convolution(net, x, s):
    if len(s) not in (3, 4):
        return None
    axes = range(len(s) - 2)
    kernel, strides = [net.pick([1, 2, 3, 3, 5]) for _ in axes], [net.pick([1, 1, 2]) for _ in axes]
    dilations = [net.pick([1, 1, 2]) for _ in axes]
    groups = net.pick([1, 1, 1, s[1]]) if s[1] % 2 or net.chance(0.8) else 2
    outputs = groups * net.pick([1, 1, 2]) if groups > 1 else net.pick([4, 6, 8, 12])
    pads = net.pick(["given", "given", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if pads.startswith("SAME"):
        dilations = [1 for _ in axes]
    reach = [dilations[i] * (kernel[i] - 1) + 1 for i in axes]
    attributes = dict(kernel_shape=kernel, strides=strides, dilations=dilations, group=groups)
    before, after = [0 for _ in axes], [0 for _ in axes]
    if pads == "given":
        before = [int(net.random.integers(0, r)) if net.chance(0.7) else 0 for r in reach]
        after = [int(net.random.integers(0, r)) if net.chance(0.3) else b for r, b in zip(reach, before)]
        attributes["pads"] = before + after
    else:
        attributes["auto_pad"] = pads
    extent = lambda i: (s[2 + i] + before[i] + after[i] - reach[i]) // strides[i] + 1
    extents = [-(-s[2 + i] // strides[i]) if pads.startswith("SAME") else extent(i) for i in axes]
    if min(extents) < 1:
        return None
    inputs = [x, net.weight(outputs, s[1] // groups, *kernel, fan=s[1] // groups * np.prod(kernel))]
    if net.chance(0.7):
        inputs.append(net.normal(outputs, deviation=0.2))
    return net.add("Conv", inputs, (s[0], outputs, *extents), **attributes)


def transposed_convolution(net, x, s):
    if len(s) not in (3, 4) or max(s[2:]) > 20:
        return None
    axes, outputs = range(len(s) - 2), net.pick([3, 4, 8])
    kernel, strides = [net.pick([2, 3, 4]) for _ in axes], [net.pick([1, 2, 2, 3]) for _ in axes]
    pads, more = [net.pick([0, 1]) for _ in axes], [net.pick([0, 0, 1]) if strides[i] > 1 else 0 for i in axes]
    extents = [strides[i] * (s[2 + i] - 1) + more[i] + kernel[i] - 2 * pads[i] for i in axes]
    if min(extents) < 1:
        return None
    weight = net.weight(s[1], outputs, *kernel, fan=s[1] * np.prod(kernel) / np.prod(strides))
    return net.add("ConvTranspose", [x, weight, net.normal(outputs, deviation=0.2)], (s[0], outputs, *extents),
                   kernel_shape=kernel, strides=strides, pads=pads + pads, output_padding=more)


def pool(net, x, s):
    if len(s) not in (3, 4):
        return None
    axes = range(len(s) - 2)
    op = net.pick(["MaxPool", "AveragePool", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"])
    if op.startswith("Global"):
        return net.add(op, [x], (*s[:2], *[1 for _ in axes]))
    kernel, strides = [net.pick([2, 3]) for _ in axes], [net.pick([1, 2]) for _ in axes]
    before, after = [net.pick([0, 0, 1]) for _ in axes], [net.pick([0, 1]) for _ in axes]
    attributes = dict(kernel_shape=kernel, strides=strides, pads=before + after)
    steps = [(s[2 + i] + before[i] + after[i] - kernel[i], strides[i]) for i in axes]
    extents = [length // stride + 1 for length, stride in steps]
    if op != "LpPool" and net.chance(0.3):
        attributes["ceil_mode"] = 1
        extents = [-(-length // stride) + 1 for length, stride in steps]
        # A window that would begin behind the values is left out.
        extents = [e - ((e - 1) * strides[i] >= s[2 + i] + before[i]) for i, e in enumerate(extents)]
    elif op == "AveragePool" and net.chance(0.4):
        attributes["count_include_pad"] = 1
    fits = all(length >= 0 for length, _ in steps) and min(extents) > 0
    return net.add(op, [x], (*s[:2], *extents), **attributes) if fits else None


SINCE = {"HardSwish": 14, "Gelu": 20, "Mish": 18, "Celu": 12}


def function(net, x, s):
    op = net.pick(["Relu", "Relu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "LeakyRelu", "Elu", "Selu", "Softplus",
                   "Abs", "Neg", "Erf", "Softsign", "Clip", "Clip", "Clip", "Celu", "PRelu", "Gelu", "Mish", "Sin", "Atan"])
    if net.opset < SINCE.get(op, 0):
        return None
    if op == "Clip":
        low, high = np.sort(net.random.normal(size=2)).astype(np.float32)
        bounds = net.pick([(low, high + np.float32(0.3)), (low, None), (None, high)])
        inputs = [x] + [net.constant(b) if b is not None else "" for b in bounds]
        return net.add(op, inputs if inputs[-1] else inputs[:-1], s)
    if op == "PRelu":
        return net.add(op, [x, net.constant((net.random.random((s[1], *[1] * (len(s) - 2))) * 0.5).astype(np.float32))], s)
    return net.add(op, [x], s)


def arithmetic(net, x, s):
    op = net.pick(["Add", "Sub", "Mul", "Div", "Max", "Min", "Add", "Mul"])
    form = net.pick(["all", "scalar", "channel", "last", "same", "same", "broadcast", "gate"])
    if form == "gate":
        return net.add("Mul", [x, net.add("Sigmoid", [x], s)[0]], s)
    if form in ("same", "broadcast"):
        fits = lambda t: all(a == b or (a == 1 and form == "broadcast") for a, b in zip(t, s))
        others = net.alike(x, s, fits)
        if not others or op == "Div":
            return None
        inputs = [x, net.pick(others)[0]]
    else:
        shape = {"all": s[1:], "channel": (s[1], *[1] * (len(s) - 2)), "last": s[-1:]}.get(form, ())
        values = net.random.standard_normal(shape)
        inputs = [x, net.constant(np.asarray(np.sign(values) * (np.abs(values) + 0.5) if op == "Div" else values, np.float32))]
    return net.add(op, inputs[::-1] if op != "Div" and net.chance(0.4) else inputs, s)


def reshape(net, x, s):
    form, n = net.pick(["flat", "split", "merge", "any", "unsqueeze", "flatten"]), int(np.prod(s[1:]))
    if form == "flatten":
        return net.add("Flatten", [x], (s[0], n), axis=1)
    if form == "unsqueeze":
        if len(s) > 4:
            return None
        axis = int(net.random.integers(1, len(s) + 1))
        shape = (*s[:axis], 1, *s[axis:])
        return net.add("Unsqueeze", [x, net.ints([axis])], shape) if net.opset >= 13 else net.add("Unsqueeze", [x], shape, axes=[axis])
    if form == "flat":
        shape = [n]
    elif form == "merge" and len(s) > 2:
        shape = [s[1] * s[2], *s[3:]]
    elif form == "split" and len(s) <= 4:
        axis = int(net.random.integers(1, len(s)))
        if s[axis] % 2:
            return None
        shape = [*s[1:axis], *net.pick([[2, s[axis] // 2], [s[axis] // 2, 2]]), *s[axis + 1:]]
    else:
        shape, rest, factor = [1] * net.pick([1, 2, 3]), n, 2
        while rest > 1:
            if rest % factor:
                factor += 1
            else:
                shape[int(net.random.integers(len(shape)))] *= factor
                rest //= factor
    return net.add("Reshape", [x, net.ints([net.pick([-1, 0] if net.symbolic else [-1, 0, 1]), *shape])], (s[0], *shape))


def transpose(net, x, s):
    if len(s) < 3:
        return None
    axes = [0, *(int(a) for a in 1 + net.random.permutation(len(s) - 1))]
    return net.add("Transpose", [x], [s[a] for a in axes], perm=axes)


def slices(net, x, s):
    axis = int(net.random.integers(1, len(s)))
    if s[axis] < 3:
        return None
    step = net.pick([1, 1, 2, -1, -2])
    first, end = (int(a) for a in np.sort(net.random.choice(s[axis] + 1, 2, replace=False)))
    if step > 0:
        begin, stop, taken = first, net.pick([end, 2**31, np.iinfo(np.int64).max]) if end == s[axis] else end, range(first, end, step)
    else:
        begin, stop, taken = end - 1, first - 1 if first else -(2**31), range(end - 1, first - 1, step)
    axes = net.ints([net.pick([axis, axis - len(s)])])
    shape = (*s[:axis], len(taken), *s[axis + 1:])
    return net.add("Slice", [x, net.ints([begin]), net.ints([stop]), axes, net.ints([step])], shape) if len(taken) else None


def split(net, x, s):
    axis = int(net.random.integers(1, len(s)))
    if s[axis] < 2:
        return None
    first = int(net.random.integers(1, s[axis]))
    parts = [first, s[axis] - first]
    names = [net.name("v"), net.name("v")]
    if net.opset >= 13:
        net.nodes.append(helper.make_node("Split", [x, net.ints(parts)], names, axis=axis, name=net.name("n")))
    else:
        net.nodes.append(helper.make_node("Split", [x], names, axis=axis, split=parts, name=net.name("n")))
    made = [(name, (*s[:axis], part, *s[axis + 1:])) for name, part in zip(names, parts)]
    net.values += made
    if net.chance(0.5):
        changed = function(net, *made[0]) or made[0]
        return net.add("Concat", [made[1][0], changed[0]], s, axis=axis)
    return net.pick(made)


def concat(net, x, s):
    axis = int(net.random.integers(1, len(s)))
    others = net.alike(x, s, lambda t: all(a == b or i == axis for i, (a, b) in enumerate(zip(t, s))))
    parts = [(x, s)] + ([net.pick(others) for _ in range(net.pick([1, 2]))] if others else [(x, s)])
    if not net.symbolic and net.chance(0.2):
        shape = (*s[:axis], 2, *s[axis + 1:])
        parts.append((net.normal(*shape), shape))
    parts = [parts[i] for i in net.random.permutation(len(parts))]
    return net.add("Concat", [p[0] for p in parts], (*s[:axis], sum(p[1][axis] for p in parts), *s[axis + 1:]), axis=axis)


def pad(net, x, s):
    mode = net.pick(["constant", "constant", "reflect", "edge"])
    if mode != "constant" and len(s) > 4:
        return None
    most = [d - 1 if mode == "reflect" else 2 for d in s]
    some = lambda i: min(int(net.random.integers(0, 3)), most[i]) if i and net.chance(0.5) else 0
    before, after = [some(i) for i in range(len(s))], [some(i) for i in range(len(s))]
    if mode == "constant" and net.chance(0.2):
        before = [-1 if i and s[i] > 3 and net.chance(0.3) else b for i, b in enumerate(before)]
    fill = [net.constant(np.float32(net.random.normal()))] if mode == "constant" and net.chance(0.5) else []
    return net.add("Pad", [x, net.ints(before + after), *fill], [d + b + a for d, b, a in zip(s, before, after)], mode=mode)


def reduction(net, x, s):
    if len(s) < 3:
        return None
    op = net.pick(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceLogSumExp"])
    axes = sorted(int(a) for a in net.random.choice(np.arange(1, len(s)), net.pick([1, 1, min(2, len(s) - 1)]), replace=False))
    keep = int(net.chance(0.6))
    shape = [1 if i in axes else d for i, d in enumerate(s) if keep or i not in axes]
    written = [net.pick([a, a - len(s)]) for a in axes]
    if net.opset >= 18 or (op == "ReduceSum" and net.opset >= 13):
        return net.add(op, [x, net.ints(written)], shape, keepdims=keep)
    return net.add(op, [x], shape, axes=written, keepdims=keep)


def dense(net, x, s):
    if len(s) == 2 and net.chance(0.6):
        outputs, turned = net.pick([5, 8, 10, 16]), int(net.chance(0.5))
        weight = net.weight(*((outputs, s[1]) if turned else (s[1], outputs)), fan=s[1])
        factors = dict(alpha=net.pick([0.5, 2.0]), beta=0.5) if net.chance(0.3) else {}
        return net.add("Gemm", [x, weight, net.normal(outputs, deviation=0.2)], (s[0], outputs), transB=turned, **factors)
    if len(s) < 2:
        return None
    outputs = net.pick([4, 6, 8])
    y = net.add("MatMul", [x, net.weight(s[-1], outputs, fan=s[-1])], (*s[:-1], outputs))
    return net.add("Add", [y[0], net.normal(outputs, deviation=0.2)], y[1]) if net.chance(0.6) else y


def normalization(net, x, s):
    op = net.pick(["BatchNormalization", "InstanceNormalization", "LayerNormalization", "LRN", "LpNormalization",
                   "GroupNormalization", "written out"])
    ones = lambda n: net.normal(n, mean=1.0, deviation=0.3)
    shifts, c, positions = lambda n: net.normal(n, deviation=0.2), s[1], np.prod(s[2:])
    if op == "BatchNormalization":
        variance = net.constant((0.5 + net.random.random(c)).astype(np.float32))
        return net.add(op, [x, ones(c), shifts(c), shifts(c), variance], s)
    if op == "InstanceNormalization" and len(s) in (3, 4) and positions > 3:
        return net.add(op, [x, ones(c), shifts(c)], s)
    if op == "LayerNormalization" and net.opset >= 17 and s[-1] > 2:
        return net.add(op, [x, ones(s[-1]), shifts(s[-1])], s, axis=-1)
    if op == "LRN" and len(s) == 4:
        return net.add(op, [x], s, size=net.pick([3, 5]), alpha=0.01, beta=0.75)
    if op == "LpNormalization" and s[-1] > 2:
        return net.add(op, [x], s, axis=net.pick([-1, 1]), p=net.pick([1, 2]))
    if op == "GroupNormalization" and net.opset >= 21 and len(s) in (3, 4) and c % 2 == 0 and positions > 1:
        return net.add(op, [x, ones(c), shifts(c)], s, num_groups=2)
    if op == "written out" and s[-1] > 2 and net.opset < 18:
        mean = lambda v: net.add("ReduceMean", [v], (*s[:-1], 1), axes=[-1], keepdims=1)[0]
        centred = net.add("Sub", [x, mean(x)], s)[0]
        variance = mean(net.add("Pow", [centred, net.constant(np.float32(2))], s)[0])
        shifted = net.add("Add", [variance, net.constant(np.float32(1e-5))], (*s[:-1], 1))[0]
        return net.add("Div", [centred, net.add("Sqrt", [shifted], (*s[:-1], 1))[0]], s)
    return None


def softmax(net, x, s):
    axis = int(net.random.integers(1, len(s))) if net.opset >= 13 else 1
    return net.add(net.pick(["Softmax", "Softmax", "LogSoftmax"]), [x], s, axis=net.pick([axis, axis - len(s)]) if net.opset >= 13 else 1)


def resize(net, x, s):
    if len(s) != 4 or max(s[2:]) > 16:
        return None
    mode = net.pick(["nearest", "nearest", "linear", "cubic"])
    attributes = dict(mode=mode, coordinate_transformation_mode=net.pick(["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]))
    if mode == "nearest":
        attributes["nearest_mode"] = net.pick(["floor", "round_prefer_floor", "ceil", "round_prefer_ceil"])
    if net.symbolic or net.chance(0.5):
        return net.add("Resize", [x, "", net.constant(np.float32([1, 1, 2, 2]))], (*s[:2], 2 * s[2], 2 * s[3]), **attributes)
    extents = [int(d * net.pick([1, 2, 2, 1.5])) for d in s[2:]]
    return net.add("Resize", [x, "", "", net.ints([1, s[1], *extents])], (*s[:2], *extents), **attributes)


def depth_and_space(net, x, s):
    if len(s) != 4:
        return None
    if s[1] % 4 == 0 and net.chance(0.6):
        return net.add("DepthToSpace", [x], (s[0], s[1] // 4, 2 * s[2], 2 * s[3]), blocksize=2, mode=net.pick(["DCR", "CRD"]))
    if s[2] % 2 == 0 and s[3] % 2 == 0:
        return net.add("SpaceToDepth", [x], (s[0], 4 * s[1], s[2] // 2, s[3] // 2), blocksize=2)
    return None


def gather(net, x, s):
    axis = int(net.random.integers(1, len(s)))
    if net.chance(0.3) and len(s) > 2:
        index = int(net.random.integers(-s[axis], s[axis]))
        return net.add("Gather", [x, net.constant(np.int64(index))], (*s[:axis], *s[axis + 1:]), axis=axis)
    indices = net.random.integers(-s[axis], s[axis], size=net.pick([2, 3, s[axis]]))
    return net.add("Gather", [x, net.ints(indices)], (*s[:axis], len(indices), *s[axis + 1:]), axis=axis)


def recurrence(net, x, s):
    if net.symbolic or len(s) != 3 or s[1] > 12:
        return None
    op, units, both = net.pick(["LSTM", "GRU"]), net.pick([3, 6]), net.pick([1, 2])
    gates = 4 if op == "LSTM" else 3
    attributes = dict(hidden_size=units, direction="bidirectional" if both == 2 else net.pick(["forward", "reverse"]))
    if op == "GRU" and net.chance(0.5):
        attributes["linear_before_reset"] = 1
    steps = net.add("Transpose", [x], (s[1], 1, s[2]), perm=[1, 0, 2])[0]
    inputs = [steps, net.weight(both, gates * units, s[2], fan=s[2]), net.weight(both, gates * units, units, fan=units),
              net.normal(both, 2 * gates * units, deviation=0.2)]
    y = net.add(op, inputs, (s[1], both, 1, units), **attributes)[0]
    y = net.add("Transpose", [y], (1, s[1], both, units), perm=[2, 0, 1, 3])[0]
    return net.add("Reshape", [y, net.ints([1, s[1], both * units])], (1, s[1], both * units))


def attention(net, x, s):
    if len(s) != 3 or s[1] > 40:
        return None
    project = lambda: net.add("MatMul", [x, net.weight(s[2], 8, fan=s[2])], (*s[:2], 8))[0]
    queries, keys, values = project(), project(), project()
    keys = net.add("Transpose", [keys], (s[0], 8, s[1]), perm=[0, 2, 1])[0]
    scores = net.add("MatMul", [queries, keys], (s[0], s[1], s[1]))
    scores = net.add("Div", [scores[0], net.constant(np.float32(8**0.5))], scores[1])
    weights = net.add("Softmax", [scores[0]], scores[1], axis=-1 if net.opset >= 13 else 2)[0]
    return net.add("MatMul", [weights, values], (*s[:2], 8))


def repetition(net, x, s):
    if net.symbolic:
        return None
    if 1 in s[1:] and net.chance(0.7):
        shape = [3 if d == 1 and i else d for i, d in enumerate(s)]
        return net.add("Expand", [x, net.ints(shape)], shape)
    axis = int(net.random.integers(1, len(s)))
    times = [2 if i == axis else 1 for i in range(len(s))]
    return net.add("Tile", [x, net.ints(times)], [d * t for d, t in zip(s, times)])


def selection(net, x, s):
    chosen = net.constant(net.random.random(s[1:]) < 0.5)
    return net.add("Where", [chosen, x, net.constant(np.float32(0.25))], s)


def einsum(net, x, s):
    if len(s) == 3 and net.opset >= 12:
        return net.add("Einsum", [x, net.weight(s[2], 5, fan=s[2])], (*s[:2], 5), equation="bij,jk->bik")
    if len(s) == 4 and net.opset >= 12:
        return net.add("Einsum", [x, net.weight(s[1], 5, fan=s[1])], (s[0], 5, *s[2:]), equation="bchw,cd->bdhw")
    return None


FIRST = [convolution, convolution, dense]
OPERATORS = [convolution] * 7 + [function] * 6 + [arithmetic] * 5 + [
    transposed_convolution, pool, pool, reshape, reshape, transpose, transpose, slices, split, concat, concat, pad, reduction, dense,
    dense, normalization, normalization, softmax, resize, depth_and_space, gather, recurrence, attention, repetition, selection, einsum,
]
