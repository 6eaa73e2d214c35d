//! Small networks from a seed, with every operator of the arithmetic specification.

use releqc_runtime::BitWidth;
use releqc_runtime::accel::{self, AccelConfig};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::pack::pack;
use releqc_runtime::program::{
    ArithmeticKind, Conv, Destination, FloatId, FloatSlot, LayerKind, Op, Order, Port, Program, Tensor, TensorId,
    Window,
};

/// A fixed stream of numbers.
pub(crate) struct Stream(u64);

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        Stream(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// In `range`, both ends included.
    pub(crate) fn within(&mut self, low: u32, high: u32) -> u32 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() & 0xffff) as f32 / 65536.0
    }
}

/// The input as codes.
fn quantized(y: TensorId, inv_scale: f32) -> Op {
    Op::Quantize { x: FloatId(0), y, inv_scale, order: Order::ChannelFirst }
}

fn dequantized(x: TensorId, y: FloatId) -> Op {
    Op::Dequantize { x, y, order: Order::ChannelFirst }
}

/// The sum of two tensors of equal extents.
fn added(program: &Program, [a, b, y]: [TensorId; 3], [multiplier_a, multiplier_b]: [f32; 2], [lo, hi]: [u8; 2]) -> Op {
    Op::Arithmetic {
        kind: ArithmeticKind::Add,
        a,
        b,
        y,
        extents: vec![program.tensor(y).len() as u32],
        strides_a: vec![1],
        strides_b: vec![1],
        multiplier_a,
        multiplier_b,
        lo,
        hi,
    }
}

/// The same codes in (channel, row, column) order under other extents.
fn reshaped(program: &Program, x: TensorId, y: TensorId) -> Op {
    let extents = |id| {
        let t = program.tensor(id);
        [t.height * t.width, t.channels]
    };
    let ([plane, channels], [from_plane, from_channels]) = (extents(y), extents(x));
    let place = |i: u32| {
        let kept = i % channels * plane + i / channels;
        kept % from_plane * from_channels + kept / from_plane
    };
    Op::Move { x, y, tables: vec![(0..plane * channels).map(place).collect()], fill: 0 }
}

/// A network under construction.
pub(crate) struct Builder {
    pub(crate) stream: Stream,
    pub(crate) program: Program,
    pub(crate) constants: Vec<u8>,
    pub(crate) weights: Vec<u8>,
}

impl Builder {
    pub(crate) fn new(seed: u64, channels: u32, height: u32, width: u32) -> Self {
        let mut builder = Builder {
            stream: Stream::new(seed),
            program: Program::default(),
            constants: Vec::new(),
            weights: Vec::new(),
        };
        let slot = builder.float_slot(channels * height * width);
        let port = Port { name: "input".into(), dims: vec![1, channels, height, width], ..Port::default() };
        builder.program.inputs.push((port, slot));
        builder
    }

    pub(crate) fn tensor(
        &mut self,
        name: &str,
        [height, width, channels]: [u32; 3],
        scale: f32,
        zero_point: u8,
    ) -> TensorId {
        let arena_offset = self.program.arena_bytes + self.stream.within(0, 3);
        let tensor = Tensor { name: name.into(), height, width, channels, scale, zero_point, arena_offset };
        self.program.arena_bytes = arena_offset + tensor.len() as u32;
        self.program.tensors.push(tensor);
        TensorId(self.program.tensors.len() as u32 - 1)
    }

    fn zero_point(&mut self) -> u8 {
        if self.stream.within(0, 1) == 0 { 0 } else { self.stream.within(1, 255) as u8 }
    }

    fn any_tensor(&mut self, name: &str, extents: [u32; 3]) -> TensorId {
        let (scale, zero_point) = (0.01 + self.stream.unit(), self.zero_point());
        self.tensor(name, extents, scale, zero_point)
    }

    fn clamp(&mut self) -> (u8, u8) {
        match self.stream.within(0, 2) {
            0 => (0, 255),
            1 => (self.stream.within(0, 90) as u8, 255),
            _ => (self.stream.within(0, 40) as u8, self.stream.within(120, 255) as u8),
        }
    }

    pub(crate) fn float_slot(&mut self, len: u32) -> FloatId {
        self.program.floats.push(FloatSlot { len });
        FloatId(self.program.floats.len() as u32 - 1)
    }

    pub(crate) fn output(&mut self, name: &str, slot: FloatId) {
        let dims = vec![self.program.floats[slot.0 as usize].len];
        self.program.outputs.push((Port { name: name.into(), dims, ..Port::default() }, slot));
    }

    fn words(&mut self, words: impl IntoIterator<Item = u32>) -> u64 {
        self.constants.resize(self.constants.len().next_multiple_of(64), 0);
        let offset = self.constants.len() as u64;
        self.constants.extend(words.into_iter().flat_map(u32::to_le_bytes));
        offset
    }

    pub(crate) fn quantize(&mut self) -> TensorId {
        let dims = self.program.inputs[0].0.dims.clone();
        let y = self.any_tensor("codes", [dims[2], dims[3], dims[1]]);
        let inv_scale = 1.0 / self.program.tensor(y).scale;
        self.program.ops.push(quantized(y, inv_scale));
        y
    }

    /// Random weights and constants for a layer on `x`; `to_host` for logits.
    pub(crate) fn conv(
        &mut self,
        x: TensorId,
        window: Window,
        groups: u32,
        outputs: u32,
        bits: BitWidth,
        to_host: bool,
    ) -> Option<TensorId> {
        let t = self.program.tensor(x).clone();
        let [height, width] = window.output(t.height, t.width)?;
        let depth = (window.kernel[0] * window.kernel[1] * t.channels / groups) as usize;
        let lowest = -(1i32 << (bits.bits() - 1));
        let codes: Vec<i8> = (0..outputs as usize * depth)
            .map(|_| (lowest + self.stream.within(0, (1 << bits.bits()) - 1) as i32) as i8)
            .collect();
        self.weights.resize(self.weights.len().next_multiple_of(64), 0);
        let weights_offset = self.weights.len() as u64;
        self.weights.extend(pack(&codes, outputs as usize, depth, bits));
        let biases: Vec<u32> = (0..outputs).map(|_| self.stream.within(0, 4000).wrapping_sub(2000)).collect();
        let size = (depth as f32).sqrt() * f32::from(bits.max_code());
        let multipliers: Vec<u32> = (0..outputs).map(|_| ((0.1 + self.stream.unit()) / size).to_bits()).collect();
        let constants_offset = self.words(biases.into_iter().chain(multipliers));
        let (destination, y) = if to_host {
            (Destination::Logits { y: self.float_slot(height * width * outputs), order: Order::ChannelFirst }, None)
        } else {
            let (lo, hi) = self.clamp();
            let y = self.any_tensor("conv", [height, width, outputs]);
            (Destination::Codes { y, lo, hi }, Some(y))
        };
        let whole = window.kernel == [t.height, t.width] && window.padding == [0; 4] && groups == 1;
        let kind = if whole { LayerKind::FullyConnected } else { LayerKind::Conv };
        let name = format!("layer{}", self.program.ops.len());
        self.program.ops.push(Op::Conv(Conv {
            name,
            kind,
            x,
            destination,
            window,
            groups,
            outputs,
            bits,
            weights_offset,
            constants_offset,
        }));
        y
    }

    fn any_window(&mut self, dilated: bool) -> Window {
        let s = &mut self.stream;
        let kernel = [s.within(1, 3), s.within(1, 3)];
        let dilation = if dilated { [s.within(1, 2), s.within(1, 2)] } else { [1, 1] };
        let stride = [s.within(1, 2), s.within(1, 3)];
        let span = |axis: usize| (kernel[axis] - 1) * dilation[axis];
        let padding = std::array::from_fn(|side| s.within(0, span(side % 2)));
        Window { kernel, stride, dilation, padding }
    }

    fn fits(&self, x: TensorId, window: &Window) -> Option<[u32; 3]> {
        let t = self.program.tensor(x);
        window.output(t.height, t.width).map(|[height, width]| [height, width, t.channels])
    }

    /// One random operator on `x`, or none where it does not fit.
    fn step(&mut self, x: TensorId) -> Option<TensorId> {
        let t = self.program.tensor(x).clone();
        let extents = [t.height, t.width, t.channels];
        match self.stream.within(0, 9) {
            0..=3 => {
                let window = self.any_window(true);
                self.fits(x, &window)?;
                let divisors: Vec<u32> = (1..=t.channels).filter(|g| t.channels.is_multiple_of(*g)).collect();
                let groups = divisors[self.stream.next() as usize % divisors.len()];
                let outputs = if groups == 1 { self.stream.within(1, 40) } else { groups * self.stream.within(1, 3) };
                let bits = BitWidth::new(self.stream.within(2, 8) as u8)?;
                self.conv(x, window, groups, outputs, bits, false)
            }
            4 => {
                let window = self.any_window(true);
                let extents = self.fits(x, &window)?;
                let y = self.tensor("max", extents, t.scale, t.zero_point);
                self.program.ops.push(Op::MaxPool { x, y, window, lo: 0, hi: 255 });
                Some(y)
            }
            5 => {
                let window = self.any_window(false);
                let extents = self.fits(x, &window)?;
                let y = self.any_tensor("mean", extents);
                let ((lo, hi), count_include_pad) = (self.clamp(), self.stream.within(0, 1) == 1);
                let multiplier = t.scale / self.program.tensor(y).scale;
                self.program.ops.push(Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi });
                Some(y)
            }
            6 => {
                let b = self.affine(x);
                let y = self.any_tensor("sum", extents);
                let (lo, hi) = self.clamp();
                let (multiplier_a, multiplier_b) = (0.2 + self.stream.unit(), 0.2 + self.stream.unit());
                let op = added(&self.program, [x, b, y], [multiplier_a, multiplier_b], [lo, hi]);
                self.program.ops.push(op);
                Some(y)
            }
            7 => {
                let b = self.affine(x);
                let y = self.tensor("concat", [t.height, t.width, 2 * t.channels], t.scale, t.zero_point);
                let rescale = 0.2 + self.stream.unit();
                let mut xs = vec![(x, None), (b, Some(rescale))];
                if self.stream.within(0, 1) == 1 {
                    xs.reverse();
                }
                self.program.ops.push(Op::Concat { xs, y, outer: t.height * t.width, lo: 0, hi: 255 });
                Some(y)
            }
            8 => Some(self.affine(x)),
            _ => {
                let swapped = [t.channels, t.height, t.width];
                let y = self.tensor("reshape", swapped, t.scale, t.zero_point);
                let op = reshaped(&self.program, x, y);
                self.program.ops.push(op);
                Some(y)
            }
        }
    }

    fn affine(&mut self, x: TensorId) -> TensorId {
        let t = self.program.tensor(x).clone();
        let y = self.any_tensor("affine", [t.height, t.width, t.channels]);
        let sign = |s: &mut Stream| if s.within(0, 3) == 0 { -1.0 } else { 1.0 };
        let multipliers: Vec<u32> =
            (0..t.channels).map(|_| (sign(&mut self.stream) * (0.3 + self.stream.unit())).to_bits()).collect();
        let addends: Vec<u32> = (0..t.channels).map(|_| (40.0 * self.stream.unit() - 20.0).to_bits()).collect();
        let constants_offset = self.words(multipliers.into_iter().chain(addends));
        let (lo, hi) = self.clamp();
        self.program.ops.push(Op::Affine { x, y, constants_offset, lo, hi });
        y
    }

    /// The artifact, with its accelerator program.
    pub(crate) fn artifact(self) -> Artifact {
        let accelerator = accel::lower(&self.program, &AccelConfig::default()).unwrap();
        self.with_accelerator(accelerator)
    }

    pub(crate) fn with_accelerator(self, accelerator: Vec<u8>) -> Artifact {
        let Builder { program, constants, weights, .. } = self;
        let parts = ArtifactParts { program, constants, weights, accelerator, ..ArtifactParts::default() };
        Artifact::from_bytes(encode(&parts), LoadOptions::default()).unwrap()
    }
}

/// A network of up to eight random operators, logits and a softmax, and a second output of codes.
pub(crate) fn random(seed: u64) -> Builder {
    let mut s = Stream::new(!seed);
    let mut builder = Builder::new(seed, s.within(1, 6), s.within(1, 9), s.within(1, 9));
    let mut x = builder.quantize();
    for _ in 0..s.within(1, 8) {
        // Concat doubles the channels; wide tensors only end.
        if builder.program.tensor(x).channels <= 64 {
            x = builder.step(x).unwrap_or(x);
        }
    }
    let slot = builder.float_slot(builder.program.tensor(x).len() as u32);
    builder.program.ops.push(dequantized(x, slot));
    builder.output("codes", slot);
    let t = builder.program.tensor(x).clone();
    let kernel = if s.within(0, 1) == 0 { [1, 1] } else { [t.height, t.width] };
    let window = Window { kernel, stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
    let bits = BitWidth::new(s.within(2, 8) as u8).unwrap();
    builder.conv(x, window, 1, s.within(1, 20), bits, true);
    let logits = FloatId(builder.program.floats.len() as u32 - 1);
    builder.output("logits", logits);
    let len = builder.program.floats[logits.0 as usize].len;
    let probabilities = builder.float_slot(len);
    let log = s.within(0, 1) == 1;
    builder.program.ops.push(Op::Softmax { x: logits, y: probabilities, log, outer: 1, len, inner: 1 });
    builder.output("probabilities", probabilities);
    builder
}

/// Values around the range of a network's input, some of them not finite.
pub(crate) fn sample(artifact: &Artifact, seed: u64) -> Vec<f32> {
    let mut s = Stream::new(seed);
    let scale = artifact.program().tensors[0].scale;
    let value = |_| match s.within(0, 60) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        _ => (s.unit() - 0.5) * 400.0 * scale,
    };
    (0..artifact.program().input_len()).map(value).collect()
}

/// A hand-made network with every operator; conv layers are named.
pub(crate) fn small() -> Builder {
    let mut b = Builder::new(7, 3, 6, 7);
    let bits = |k| BitWidth::new(k).unwrap();
    let window = |kernel, stride, dilation, padding| Window { kernel, stride, dilation, padding };
    let x = b.tensor("codes", [6, 7, 3], 0.05, 120);
    b.program.ops.push(quantized(x, 1.0 / 0.05));
    let conv1 = b.layer("conv1", x, window([3, 2], [1, 1], [1, 2], [1, 0, 2, 1]), 1, 36, bits(3), [7, 6], 9);
    let max = b.tensor("max", [4, 3, 36], 0.1, 9);
    b.program.ops.push(Op::MaxPool {
        x: conv1,
        y: max,
        window: window([2, 2], [2, 2], [1, 1], [1, 0, 0, 0]),
        lo: 12,
        hi: 97,
    });
    let grouped = b.layer("grouped", max, window([2, 1], [2, 1], [1, 1], [1, 0, 0, 0]), 3, 36, bits(8), [2, 3], 30);
    let depthwise =
        b.layer("depthwise", grouped, window([2, 3], [1, 1], [1, 1], [0, 1, 1, 1]), 36, 36, bits(5), [2, 3], 77);
    let sum = b.tensor("sum", [2, 3, 36], 0.2, 3);
    let op = added(&b.program, [grouped, depthwise, sum], [0.75, 0.5], [5, 60]);
    b.program.ops.push(op);
    let affine = b.tensor("affine", [2, 3, 36], 0.2, 50);
    let words: Vec<u32> = (0..72u8).map(|c| (0.9 - f32::from(c) / 80.0).to_bits()).collect();
    let constants_offset = b.words(words);
    b.program.ops.push(Op::Affine { x: sum, y: affine, constants_offset, lo: 54, hi: 70 });
    let concat = b.tensor("concat", [2, 3, 72], 0.2, 50);
    let xs = vec![(affine, None), (depthwise, Some(0.8))];
    b.program.ops.push(Op::Concat { xs, y: concat, outer: 6, lo: 0, hi: 255 });
    let mean = b.tensor("mean", [2, 2, 72], 0.15, 60);
    let window_mean = window([2, 2], [1, 2], [1, 1], [1, 1, 0, 0]);
    b.program.ops.push(Op::AveragePool {
        x: concat,
        y: mean,
        window: window_mean,
        count_include_pad: false,
        multiplier: 1.3,
        lo: 61,
        hi: 90,
    });
    let table = b.tensor("table", [2, 2, 72], 0.15, 60);
    let words: Vec<u32> = (0..64).map(|_| b.stream.next().wrapping_mul(0x0101_0305)).collect();
    let constants_offset = b.words(words);
    b.program.ops.push(Op::Table { x: mean, y: table, constants_offset, per_channel: false });
    let reshape = b.tensor("reshape", [3, 8, 12], 0.15, 60);
    let op = reshaped(&b.program, table, reshape);
    b.program.ops.push(op);
    let codes = b.float_slot(288);
    b.program.ops.push(dequantized(reshape, codes));
    // One position: any stride is right; this one is already set.
    b.conv(reshape, window([3, 8], [1, 2], [1, 1], [0; 4]), 1, 20, bits(2), true);
    let logits = FloatId(2);
    if let Some(Op::Conv(conv)) = b.program.ops.last_mut() {
        conv.name = "fc".into();
    }
    let probabilities = b.float_slot(20);
    b.program.ops.push(Op::Softmax { x: logits, y: probabilities, log: false, outer: 1, len: 20, inner: 1 });
    b.output("codes", codes);
    b.output("logits", logits);
    b.output("probabilities", probabilities);
    b
}

impl Builder {
    /// A named layer whose result has the given extents and zero point, clamped to `zero_point / 2..=zero_point + 90`.
    #[allow(clippy::too_many_arguments, reason = "a row of a table of layers")]
    pub(crate) fn layer(
        &mut self,
        name: &str,
        x: TensorId,
        window: Window,
        groups: u32,
        outputs: u32,
        bits: BitWidth,
        [height, width]: [u32; 2],
        zero_point: u8,
    ) -> TensorId {
        let y = self.conv(x, window, groups, outputs, bits, false).unwrap();
        let tensor = &mut self.program.tensors[y.0 as usize];
        assert_eq!([tensor.height, tensor.width], [height, width], "{name}");
        (tensor.name, tensor.scale, tensor.zero_point) = (name.into(), 0.1, zero_point);
        if let Some(Op::Conv(conv)) = self.program.ops.last_mut() {
            conv.name = name.into();
            conv.destination = Destination::Codes { y, lo: zero_point / 2, hi: zero_point + 90 };
        }
        y
    }

    /// Two 5x5 convolutions with pools and two fully connected layers, at the sizes of LeNet.
    pub(crate) fn lenet(bits: BitWidth) -> Builder {
        let mut b = Builder::new(11, 1, 28, 28);
        let window =
            |kernel, stride| Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1, 1], padding: [0; 4] };
        let input = b.tensor("input", [28, 28, 1], 0.01, 30);
        b.program.ops.push(quantized(input, 100.0));
        let mut x = input;
        for (name, outputs, size) in [("conv1", 20, 24), ("conv2", 50, 8)] {
            let conv = b.layer(name, x, window(5, 1), 1, outputs, bits, [size; 2], 0);
            x = b.tensor("pool", [size / 2, size / 2, outputs], 0.1, 0);
            b.program.ops.push(Op::MaxPool { x: conv, y: x, window: window(2, 2), lo: 0, hi: 255 });
        }
        let hidden = b.layer("fc1", x, window(4, 1), 1, 500, bits, [1; 2], 0);
        b.conv(hidden, window(1, 1), 1, 10, bits, true);
        b.output("logits", FloatId(1));
        b
    }

    /// Residual blocks of 3x3 convolutions at the sizes of a 20-layer CIFAR network, logits of 10 classes.
    pub(crate) fn residual(bits: BitWidth) -> Builder {
        let mut b = Builder::new(3, 3, 32, 32);
        let three = |stride| Window { kernel: [3, 3], stride: [stride; 2], dilation: [1, 1], padding: [1; 4] };
        let one = |stride| Window { kernel: [1, 1], stride: [stride; 2], dilation: [1, 1], padding: [0; 4] };
        let input = b.tensor("input", [32, 32, 3], 0.02, 110);
        b.program.ops.push(quantized(input, 50.0));
        let mut x = b.layer("conv0", input, three(1), 1, 16, bits, [32, 32], 0);
        for (stage, channels) in [16u32, 32, 64].into_iter().enumerate() {
            let size = [32u32 >> stage; 2];
            for block in 0..3 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = |part: &str| format!("stage{stage}.{block}.{part}");
                let first = b.layer(&name("conv1"), x, three(stride), 1, channels, bits, size, 0);
                let second = b.layer(&name("conv2"), first, three(1), 1, channels, bits, size, 128);
                if stride == 2 {
                    x = b.layer(&name("shortcut"), x, one(2), 1, channels, bits, size, 128);
                }
                let y = b.tensor("sum", [size[0], size[1], channels], 0.1, 0);
                let op = added(&b.program, [second, x, y], [1.0, 1.0], [0, 255]);
                b.program.ops.push(op);
                x = y;
            }
        }
        let y = b.tensor("pool", [1, 1, 64], 0.1, 0);
        let window = Window { kernel: [8, 8], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
        b.program.ops.push(Op::AveragePool { x, y, window, count_include_pad: false, multiplier: 1.0, lo: 0, hi: 255 });
        b.conv(y, one(1), 1, 10, bits, true);
        b.output("logits", FloatId(1));
        b
    }
}
