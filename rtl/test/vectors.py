#!/usr/bin/env python3
"""Vectors for core_test.v by an independent model of docs/accelerator.md: small random operations, a convolution, a pool, a
sum or a quantization each.

It shares no code with the compiler and the simulators. Needs Python alone.
usage: vectors.py DIR SEED COUNT ROWS COLUMNS LANES WEIGHT_BYTES ACTIVATION_BYTES CONSTANT_SLOTS [REQUANTIZERS] [plain]

With `plain` no results are all clamped and no weights all alike, so that whatever reads other bytes gives other results.
"""
import operator
import os
import random
import struct
import sys


def f32(value):
    """A double rounded to single, to nearest even."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def scaled(accumulator, multiplier):
    # The product of two singles is exact in a double, so each line rounds once.
    converted = f32(float(accumulator))
    return f32(converted * multiplier)


def to_code(value, zero, lo, hi):
    steps = min(max(value, lo - zero), hi - zero)
    return round(steps) + zero  # Python rounds halves to even


def wrap(value):
    return (value + 2**31) % 2**32 - 2**31


def pack(codes, outputs, depth, k):
    """Packed tiles of 16 outputs x 4 depths: planes of 4, 2 and 1 bits, lowest first; 8 bits a byte each."""
    packed = bytearray()
    for first in range(0, outputs, 16):
        for deep in range(0, depth, 4):
            tile = [codes[o][d] if o < outputs and d < depth else 0 for o in range(first, first + 16) for d in range(deep, deep + 4)]
            if k == 8:
                packed += bytes(code & 255 for code in tile)
                continue
            fields, shift = [code + 2 ** (k - 1) for code in tile], 0
            for plane in (plane for plane in (4, 2, 1) if k & plane):
                part = [field >> shift & (1 << plane) - 1 for field in fields]
                if plane == 1:
                    packed += bytes(sum(part[8 * b + j] << j for j in range(8)) for b in range(8))
                else:
                    size = 64 * plane // 8
                    packed += bytes(sum(part[b + j * size] << j * plane for j in range(8 // plane)) for b in range(size))
                shift += plane
    return packed


def requantizers_of(machine):
    """Requantizers of a row; one where a machine does not say."""
    return machine[6] if len(machine) > 6 else 1


def word(opcode, *fields):
    value, at = opcode, 8
    for field, width in fields:
        assert 0 <= field < 1 << width
        value |= field << at
        at += width
    return value


class Case:
    """A random convolution that fits the machine."""

    def __init__(self, rng, machine, plain):
        self.machine, self.plain = machine, plain
        while not self.draw(rng):
            pass

    def draw(self, rng):
        rows, columns, lanes, weight_bytes, activation_bytes, slots = self.machine[:6]
        self.k = rng.randint(2, 8)
        self.over = rng.choice([0, 0, 0, 1, 1, 2])
        self.groups = 1 if self.over == 2 else rng.choice([1, 1, 2, 3, rng.randint(1, 40)])
        group_inputs = rng.choice([1, 1, 2, 3, rng.randint(1, 2 * lanes + 3)])
        group_outputs = rng.choice([1, 1, 2, rng.randint(1, 2 * rows + 3)])
        self.channels, self.layer_outputs = group_inputs * self.groups, group_outputs * self.groups
        self.kernel = [rng.randint(1, 5), rng.randint(1, 5)]
        if self.over == 2:
            self.stride, self.dilation, self.padding = [rng.randint(1, 3), rng.randint(1, 3)], [1, 1], [0] * 4
            self.image = list(self.kernel)
        else:
            self.stride, self.dilation = [rng.randint(1, 3), rng.randint(1, 3)], [rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2])]
            self.padding = [rng.randint(0, 2) for _ in range(4)]
            self.image = [rng.randint(1, 9), rng.randint(1, 2 * columns + 5)]
        spans = [self.image[i] + self.padding[i] + self.padding[i + 2] - self.dilation[i] * (self.kernel[i] - 1) - 1 for i in (0, 1)]
        if min(spans) < 0:
            return False
        self.extent = [span // stride + 1 for span, stride in zip(spans, self.stride)]
        self.first = 16 * rng.randint(0, (self.layer_outputs - 1) // 16)
        self.outputs = rng.randint(1, self.layer_outputs - self.first)
        self.depth = self.kernel[0] * self.kernel[1] * group_inputs
        self.host = rng.random() < 0.2
        self.place = rng.randint(0, 3)
        self.y_channels = self.place + self.outputs + rng.randint(0, 2)
        self.x_len = self.image[0] * self.image[1] * self.channels
        self.y_len = 0 if self.host else self.extent[0] * self.extent[1] * self.y_channels
        self.w_len = -(-self.outputs // 16) * -(-self.depth // 4) * 8 * self.k
        if self.plain and self.depth * self.outputs < 64:
            return False
        if self.x_len + self.y_len > activation_bytes or self.w_len > weight_bytes or self.outputs > slots:
            return False
        if self.extent[0] * self.extent[1] * self.outputs * self.depth > 150_000:
            return False
        self.x_at = rng.randint(0, activation_bytes - self.x_len - self.y_len)
        self.y_at = rng.randint(self.x_at + self.x_len, activation_bytes - self.y_len)
        self.w_at = rng.randint(0, weight_bytes - self.w_len)
        self.slot = rng.randint(0, slots - self.outputs)
        self.zero = [rng.randint(0, 255), rng.choice([0, 128, rng.randint(0, 255)])]
        clamps = sorted([rng.randint(0, 255), rng.randint(0, 255)])
        self.clamp = rng.choice([[0, 255], [self.zero[1], 255], clamps])
        full = not self.plain and rng.random() < 0.2
        code = lambda: -(2 ** (self.k - 1)) if full else rng.randint(-(2 ** (self.k - 1)), 2 ** (self.k - 1) - 1)
        self.codes = [[code() for _ in range(self.depth)] for _ in range(self.outputs)]
        self.x = [255 if full else rng.randint(0, 255) for _ in range(self.x_len)]
        self.biases = [rng.randint(-30000, 30000) for _ in range(self.outputs)]
        if rng.random() < 0.1:
            self.biases[0] = 2**31 - 1  # wraps
        self.multipliers = [f32(2.0 ** rng.uniform(-12, -4)) for _ in range(self.outputs)]
        if rng.random() < 0.1:
            self.multipliers = [0.5] * self.outputs  # ties
        if self.plain:
            self.zero[1], self.clamp = 128, [0, 255]
            self.biases = [rng.randint(-30, 30) for _ in range(self.outputs)]
            most = max(1, max(abs(total) for total in self.accumulators().values()))
            self.multipliers = [f32(rng.uniform(90, 127) / most) for _ in range(self.outputs)]
        self.channel_last = rng.randint(0, 1)
        self.host_extent = [self.place + self.extent[0] + rng.randint(0, 1), self.extent[1], self.layer_outputs]
        self.host_at = rng.randint(0, 1000)
        self.tokens = [rng.randint(0, 1) for _ in range(4)]
        return True

    def accumulators(self):
        """{(row, column, output counted from the first)}: the wrapped sum."""
        inputs, outputs = self.channels // self.groups, self.layer_outputs // self.groups
        sums = {}
        for row in range(self.extent[0]):
            for column in range(self.extent[1]):
                # What lies under the window, (ky, kx, channel of all groups).
                cells = []
                for ky in range(self.kernel[0]):
                    for kx in range(self.kernel[1]):
                        y = row * self.stride[0] + ky * self.dilation[0] - self.padding[0]
                        x = column * self.stride[1] + kx * self.dilation[1] - self.padding[1]
                        inside = 0 <= y < self.image[0] and 0 <= x < self.image[1]
                        at = (y * self.image[1] + x) * self.channels
                        cells.append(self.x[at : at + self.channels] if inside else [self.zero[0]] * self.channels)
                patches = {}
                for o in range(self.outputs):
                    group = (self.first + o) // outputs
                    if group not in patches:
                        patches[group] = [q for cell in cells for q in cell[group * inputs : (group + 1) * inputs]]
                    sums[row, column, o] = wrap(self.biases[o] + sum(map(operator.mul, self.codes[o], patches[group])))
        return sums

    def cycles(self):
        rows, columns, lanes = self.machine[:3]
        requantizers = requantizers_of(self.machine)
        inputs, outputs, taps = self.channels // self.groups, self.layer_outputs // self.groups, self.kernel[0] * self.kernel[1]
        steps = [-(-inputs // lanes) * taps, -(-taps // lanes) * inputs, -(-self.depth // lanes)][self.over]
        blocks, o = 0, self.first
        while o < self.first + self.outputs:
            o = min(o + rows, (o // outputs + 1) * outputs, self.first + self.outputs)
            blocks += 1
        computed = drained = 0
        positions = self.extent[0] * self.extent[1]
        for _ in range(blocks):
            for position in range(0, positions, columns):
                computed = max(computed + steps * self.k, drained)
                drained = computed + -(-min(columns, positions - position) // requantizers)
        return 8 + drained

    def instructions(self):
        h, w = self.extent
        yield word(0x01, (self.x_at, 32), (self.image[0], 25), (self.image[1], 25), (self.channels, 25), (self.zero[0], 8), (0, 1))
        yield word(0x03, (self.y_at, 32), (h, 25), (w, 25), (self.y_channels, 25), (self.zero[1], 8), (0, 1))
        yield word(0x04, *[(v, 25) for v in self.kernel + self.dilation])
        yield word(0x05, *[(v, 25) for v in self.stride])
        yield word(0x06, *[(v, 25) for v in self.padding])
        yield word(0x07, (12345, 34), (678, 30), (self.k, 4), (self.layer_outputs, 25), (self.groups, 25), (self.over, 2))
        yield word(0x08, *[(v, 8) for v in self.clamp])
        if self.host:
            yield word(0x09, (self.host_at, 32), *[(v, 25) for v in self.host_extent], (self.channel_last, 1))
        tokens = [(v, 1) for v in self.tokens]
        yield word(0x23 if self.host else 0x22, *tokens, (self.w_at, 24), (self.slot, 12), (self.first, 25), (self.outputs, 17), (self.place, 25))


VECTOR_LANES = 16


class Pool:
    """A random POOL_MAX or POOL_AVG."""

    def __init__(self, rng, machine):
        self.mean, self.count_padding, self.zero = rng.random() < 0.5, rng.randint(0, 1), [rng.randint(0, 255), rng.randint(0, 255)]
        self.multiplier = rng.choice([1.0, 0.5, f32(2.0 ** rng.uniform(-6, 4))])
        while not self.draw(rng, machine[4]):
            pass

    def draw(self, rng, activation_bytes):
        self.kernel, self.stride = [rng.randint(1, 4), rng.randint(1, 4)], [rng.randint(1, 3), rng.randint(1, 3)]
        self.dilation = [1, 1] if self.mean else [rng.choice([1, 1, 2]), rng.choice([1, 1, 3])]
        self.padding = [rng.randint(0, 2) for _ in range(4)]
        self.image, self.channels = [rng.randint(1, 9), rng.randint(1, 9)], rng.randint(1, 21)
        spans = [self.image[i] + self.padding[i] + self.padding[i + 2] - self.dilation[i] * (self.kernel[i] - 1) - 1 for i in (0, 1)]
        if min(spans) < 0:
            return False
        self.extent = [span // stride + 1 for span, stride in zip(spans, self.stride)]
        self.x_len = self.image[0] * self.image[1] * self.channels
        self.y_len = self.extent[0] * self.extent[1] * self.channels
        if self.x_len + self.y_len > activation_bytes:
            return False
        self.x_at = rng.randint(self.y_len, activation_bytes - self.x_len)
        self.y_at = rng.randint(0, self.x_at - self.y_len)
        self.x = [rng.randint(0, 255) for _ in range(self.x_len)]
        self.clamp = rng.choice([[0, 255], sorted([rng.randint(0, 255), rng.randint(0, 255)])])
        return True

    def results(self):
        for row in range(self.extent[0]):
            for column in range(self.extent[1]):
                for channel in range(self.channels):
                    cells = []
                    for ky in range(self.kernel[0]):
                        for kx in range(self.kernel[1]):
                            y = row * self.stride[0] + ky * self.dilation[0] - self.padding[0]
                            x = column * self.stride[1] + kx * self.dilation[1] - self.padding[1]
                            if 0 <= y < self.image[0] and 0 <= x < self.image[1]:
                                cells.append(self.x[(y * self.image[1] + x) * self.channels + channel])
                    if self.mean:
                        count = self.kernel[0] * self.kernel[1] if self.count_padding else max(len(cells), 1)
                        # Twice the digits of a single and more: rounding once more changes no quotient.
                        scale = f32(self.multiplier / count)
                        yield to_code(scaled(sum(cells) - self.zero[0] * len(cells), scale), self.zero[1], *self.clamp)
                    else:
                        yield min(max(0, self.clamp[0], *cells), self.clamp[1])

    def cycles(self):
        return 8 + -(-self.kernel[0] * self.kernel[1] * self.y_len // VECTOR_LANES)

    def instructions(self):
        yield word(0x01, (self.x_at, 32), (self.image[0], 25), (self.image[1], 25), (self.channels, 25), (self.zero[0], 8), (0, 1))
        yield word(0x03, (self.y_at, 32), (self.extent[0], 25), (self.extent[1], 25), (self.channels, 25), (self.zero[1], 8), (0, 1))
        yield word(0x04, *[(v, 25) for v in self.kernel + self.dilation])
        yield word(0x05, *[(v, 25) for v in self.stride])
        yield word(0x06, *[(v, 25) for v in self.padding])
        yield word(0x08, *[(v, 8) for v in self.clamp])
        yield word(0x14, (bits_of(self.multiplier), 32), (self.count_padding, 1)) if self.mean else word(0x13)


class Add:
    """A random ADD."""

    def __init__(self, rng, machine):
        self.extent = [rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)]
        self.y_len = self.extent[0] * self.extent[1] * self.extent[2]
        # Three places apart in any order.
        gaps = sorted(rng.randint(0, machine[4] - 3 * self.y_len) for _ in range(3))
        places = [gap + i * self.y_len for i, gap in enumerate(gaps)]
        rng.shuffle(places)
        self.a_at, self.b_at, self.y_at = places
        self.zero = [rng.randint(0, 255) for _ in range(3)]
        ties = rng.random() < 0.3
        self.multipliers = [0.5, 0.25] if ties else [f32(2.0 ** rng.uniform(-12, 2)) for _ in range(2)]
        self.a, self.b = [[rng.randint(0, 255) for _ in range(self.y_len)] for _ in range(2)]
        self.clamp = rng.choice([[0, 255], sorted([rng.randint(0, 255), rng.randint(0, 255)])])

    def results(self):
        for a, b in zip(self.a, self.b):
            left, right = scaled(a - self.zero[0], self.multipliers[0]), scaled(b - self.zero[1], self.multipliers[1])
            yield to_code(f32(left + right), self.zero[2], *self.clamp)

    def cycles(self):
        return 8 + -(-2 * self.y_len // VECTOR_LANES)

    def instructions(self):
        for opcode, at, zero in zip([0x01, 0x02, 0x03], [self.a_at, self.b_at, self.y_at], self.zero):
            yield word(opcode, (at, 32), *[(v, 25) for v in self.extent], (zero, 8), (0, 1))
        yield word(0x08, *[(v, 8) for v in self.clamp])
        yield word(0x15, *[(bits_of(v), 32) for v in self.multipliers])


class Quantize:
    """A random QUANTIZE."""

    def __init__(self, rng, machine):
        self.extent = [rng.randint(1, 9), rng.randint(1, 9), rng.randint(1, 9)]
        self.y_len = self.extent[0] * self.extent[1] * self.extent[2]
        self.y_at = rng.randint(0, machine[4] - self.y_len)
        self.zero, self.scale, self.channel_last = rng.randint(0, 255), f32(2.0 ** rng.uniform(-3, 6)), rng.randint(0, 1)
        self.host_at = rng.randint(0, 1000)
        # Halves of steps are ties when the scale is a power of two.
        if rng.random() < 0.3:
            self.scale = 4.0
        self.values = [f32(rng.randint(-600, 600) / 2 / self.scale) if rng.random() < 0.5 else f32(rng.gauss(0, 100) / self.scale) for _ in range(self.y_len)]

    def results(self):
        rows, columns, channels = self.extent
        for row in range(rows):
            for column in range(columns):
                for channel in range(channels):
                    at = (row * columns + column) * channels + channel if self.channel_last else (channel * rows + row) * columns + column
                    yield to_code(f32(self.values[at] * self.scale), self.zero, 0, 255)

    def cycles(self):
        return 8 + -(-self.y_len // VECTOR_LANES)

    def instructions(self):
        yield word(0x03, (self.y_at, 32), *[(v, 25) for v in self.extent], (self.zero, 8), (0, 1))
        yield word(0x10, (self.host_at, 32), (bits_of(self.scale), 32), (self.channel_last, 1))


class Vectors:
    """The files of a folder, and the activation buffer as the machine should leave it."""

    def __init__(self, folder, machine):
        os.makedirs(folder, exist_ok=True)
        names = ["script", "instructions", "weights", "constants", "activations", "expected", "host", "inputs"]
        self.files = {name: open(os.path.join(folder, name + ".hex"), "w") for name in names}
        self.buffer = bytearray(machine[4])
        with open(os.path.join(folder, "machine.txt"), "w") as file:
            print(*machine[:6], 16, requantizers_of(machine), file=file)

    def step(self, kind, a, b):
        self.files["script"].write(f"{kind:02x}{a:08x}{b:08x}\n")

    def lines(self, name, digits, values):
        self.files[name].writelines(f"{value:0{digits}x}\n" for value in values)

    def activations(self, at, codes):
        self.step(3, at, len(codes))
        self.lines("activations", 2, codes)
        self.buffer[at : at + len(codes)] = bytes(codes)

    def inputs(self, at, values):
        self.step(7, at, len(values))
        self.lines("inputs", 8, [bits_of(value) for value in values])

    def run(self, case):
        words = list(case.instructions())
        self.step(4, case.cycles(), len(words))
        self.lines("instructions", 32, words)

    def expect(self, at, length):
        self.step(5, at, length)
        self.lines("expected", 2, self.buffer[at : at + length])

    def vector(self, case):
        """A pool, a sum or a quantization, its operands being there."""
        self.run(case)
        self.buffer[case.y_at : case.y_at + case.y_len] = bytes(case.results())
        self.expect(case.y_at, case.y_len)

    def conv(self, case):
        """A convolution, its input being there."""
        weights = pack(case.codes, case.outputs, case.depth, case.k)
        assert len(weights) == case.w_len
        self.step(1, case.w_at, len(weights))
        self.lines("weights", 2, weights)
        self.step(2, case.slot, case.outputs)
        self.lines("constants", 16, [bits_of(m) << 32 | b % 2**32 for m, b in zip(case.multipliers, case.biases)])
        self.run(case)
        for (row, column, o), total in case.accumulators().items():
            value = scaled(total, case.multipliers[o])
            if case.host:
                rows, columns, channels = case.host_extent
                r, c = row + case.place, case.first + o
                place = (r * columns + column) * channels + c if case.channel_last else (c * rows + r) * columns + column
                self.step(6, case.host_at + place, 1)
                self.lines("host", 8, [bits_of(value)])
            else:
                at = case.y_at + (row * case.extent[1] + column) * case.y_channels + case.place + o
                self.buffer[at] = to_code(value, case.zero[1], *case.clamp)
        if not case.host:
            self.expect(case.y_at, case.y_len)

    def close(self):
        # All of it: nothing else was written.
        self.expect(0, len(self.buffer))
        self.step(0, 0, 0)
        for file in self.files.values():
            file.close()


def main():
    folder, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    plain = sys.argv[-1] == "plain"
    machine = [int(v) for v in sys.argv[4:] if v != "plain"]
    rng, vectors = random.Random(seed), Vectors(folder, machine)
    for index in range(count):
        if not plain and index % 8 == 3:
            case = Pool(rng, machine)
            vectors.activations(case.x_at, case.x)
            vectors.vector(case)
        elif not plain and index % 8 == 5:
            case = Add(rng, machine)
            vectors.activations(case.a_at, case.a)
            vectors.activations(case.b_at, case.b)
            vectors.vector(case)
        elif not plain and index % 8 == 7:
            case = Quantize(rng, machine)
            vectors.inputs(case.host_at, case.values)
            vectors.vector(case)
        else:
            case = Case(rng, machine, plain)
            vectors.activations(case.x_at, case.x)
            vectors.conv(case)
    vectors.close()


if __name__ == "__main__":
    main()
