//! Builds artifacts operator by operator, with seeded random weights and multipliers that keep activations spread over the codes.

#[path = "operators.rs"]
mod operators;

use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::program::{
    ArithmeticKind, Conv, Destination, FloatId, FloatSlot, LayerKind, Op, Order, Port, Program, Tensor, TensorId,
    Window,
};
use releqc_runtime::{BitWidth, pack};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `0..n`.
    pub fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// `lo..=hi`.
    pub fn between(&mut self, lo: u32, hi: u32) -> u32 {
        lo + self.below(hi - lo + 1)
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    /// `0.0..1.0`.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Roughly normal with deviation 1.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// The codes of one output, normal, the largest magnitude at the largest code.
    pub fn normal_row(&mut self, depth: usize, bits: BitWidth) -> Vec<i8> {
        // Four uniform terms are normal enough, and end at 3.5 deviations as the weights of a layer do.
        let row: Vec<f32> = (0..depth).map(|_| (0..4).map(|_| self.unit()).sum::<f32>() - 2.0).collect();
        let most = row.iter().fold(f32::MIN_POSITIVE, |most, w| most.max(w.abs()));
        row.iter().map(|w| (w / most * f32::from(bits.max_code())).round() as i8).collect()
    }

    /// A weight code, the foreign `-2^(k-1)` included.
    pub fn code(&mut self, bits: BitWidth) -> i8 {
        (self.next() as i8) >> (8 - bits.bits())
    }
}

/// Steps of values that are dense in the order of axes.
pub fn dense(extents: &[u32]) -> Vec<u32> {
    (0..extents.len()).map(|i| extents[i + 1..].iter().product()).collect()
}

/// A square window.
pub fn square(kernel: u32, stride: u32, padding: u32) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding: [padding; 4] }
}

/// A program under construction.
pub struct Net {
    pub program: Program,
    pub constants: Vec<u8>,
    pub weights: Vec<u8>,
    pub random: Random,
    /// Weights as in trained nets, normal and scaled to the largest of their output, instead of uniform over all codes.
    pub normal: bool,
    /// Only the two codes that are farthest from zero: the largest products and sums there can be.
    pub extreme: bool,
    /// The clamp of pools and concatenations.
    pub bounds: [u8; 2],
}

impl Net {
    /// A net with an input of `[channels, height, width]`, quantized at once.
    pub fn new(seed: u64, [channels, height, width]: [u32; 3], zero_point: u8) -> (Self, TensorId) {
        let mut net = Net {
            program: Program::default(),
            constants: vec![],
            weights: vec![],
            random: Random(seed),
            normal: false,
            extreme: false,
            bounds: [0, 255],
        };
        let x = net.slot(channels * height * width);
        let port = Port { name: "input".into(), dims: vec![1, channels, height, width], ..Port::default() };
        net.program.inputs.push((port, x));
        let scale = 1.0 / 40.0;
        let y = net.tensor([height, width, channels], scale, zero_point);
        net.program.ops.push(Op::Quantize { x, y, inv_scale: 1.0 / scale, order: Order::ChannelFirst });
        (net, y)
    }

    /// `[height, width, channels]` of a tensor.
    pub fn extents(&self, id: TensorId) -> [u32; 3] {
        let t = self.program.tensor(id);
        [t.height, t.width, t.channels]
    }

    pub fn tensor(&mut self, [height, width, channels]: [u32; 3], scale: f32, zero_point: u8) -> TensorId {
        let arena_offset = self.program.arena_bytes;
        let name = format!("t{}", self.program.tensors.len());
        self.program.tensors.push(Tensor { name, height, width, channels, scale, zero_point, arena_offset });
        self.program.arena_bytes += height * width * channels;
        TensorId(self.program.tensors.len() as u32 - 1)
    }

    pub fn slot(&mut self, len: u32) -> FloatId {
        self.program.floats.push(FloatSlot { len });
        FloatId(self.program.floats.len() as u32 - 1)
    }

    pub fn add_constants(&mut self, words: impl Iterator<Item = u32>) -> u64 {
        self.constants.resize(self.constants.len().next_multiple_of(64), 0);
        let offset = self.constants.len() as u64;
        self.constants.extend(words.flat_map(u32::to_le_bytes));
        offset
    }

    /// Convolution to codes clamped to `lo..=hi` around `zero_point`; `None` where the window does not fit.
    pub fn conv(
        &mut self,
        x: TensorId,
        outputs: u32,
        window: Window,
        groups: u32,
        bits: BitWidth,
        [zero_point, lo, hi]: [u8; 3],
    ) -> Option<TensorId> {
        let t = self.program.tensor(x).clone();
        let [height, width] = window.output(t.height, t.width)?;
        let y = self.tensor([height, width, outputs], 1.0, zero_point);
        self.layer(x, outputs, window, groups, bits, LayerKind::Conv, Destination::Codes { y, lo, hi });
        Some(y)
    }

    /// Fully connected layer to codes with ReLU.
    pub fn fully_connected(&mut self, x: TensorId, outputs: u32, bits: BitWidth) -> TensorId {
        let y = self.tensor([1, 1, outputs], 1.0, 0);
        self.layer(
            x,
            outputs,
            self.whole(x),
            1,
            bits,
            LayerKind::FullyConnected,
            Destination::Codes { y, lo: 0, hi: 255 },
        );
        y
    }

    /// Fully connected layer to a network output.
    pub fn logits(&mut self, x: TensorId, outputs: u32, bits: BitWidth) -> FloatId {
        let y = self.slot(outputs);
        self.layer(
            x,
            outputs,
            self.whole(x),
            1,
            bits,
            LayerKind::FullyConnected,
            Destination::Logits { y, order: Order::ChannelFirst },
        );
        y
    }

    /// Convolution to a network output; `None` where the window does not fit.
    pub fn conv_logits(
        &mut self,
        x: TensorId,
        outputs: u32,
        window: Window,
        groups: u32,
        bits: BitWidth,
    ) -> Option<FloatId> {
        let t = self.program.tensor(x);
        let [height, width] = window.output(t.height, t.width)?;
        let y = self.slot(outputs * height * width);
        self.layer(
            x,
            outputs,
            window,
            groups,
            bits,
            LayerKind::Conv,
            Destination::Logits { y, order: Order::ChannelFirst },
        );
        Some(y)
    }

    fn whole(&self, x: TensorId) -> Window {
        let t = self.program.tensor(x);
        Window { kernel: [t.height, t.width], stride: [1; 2], dilation: [1; 2], padding: [0; 4] }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of a layer")]
    pub fn layer(
        &mut self,
        x: TensorId,
        outputs: u32,
        window: Window,
        groups: u32,
        bits: BitWidth,
        kind: LayerKind,
        destination: Destination,
    ) {
        let t = self.program.tensor(x).clone();
        let depth = (window.kernel[0] * window.kernel[1] * (t.channels / groups)) as usize;
        let codes: Vec<i8> = if self.extreme {
            // Long stretches of one sign, so that sums grow.
            let random = &mut self.random;
            let mut row = |_| {
                let (sign, often) = (random.once_in(2), random.between(2, 400));
                let code = |low: bool| if low { !bits.max_code() } else { bits.max_code() };
                (0..depth).map(|_| code(sign != random.once_in(often))).collect::<Vec<i8>>()
            };
            (0..outputs).flat_map(&mut row).collect()
        } else if self.normal {
            (0..outputs).flat_map(|_| self.random.normal_row(depth, bits)).collect()
        } else {
            (0..depth * outputs as usize).map(|_| self.random.code(bits)).collect()
        };
        self.weights.resize(self.weights.len().next_multiple_of(64), 0);
        let weights_offset = self.weights.len() as u64;
        self.weights.extend(pack::pack(&codes, outputs as usize, depth, bits));
        // Activations deviate by some 50 codes.
        let power: f32 = codes.iter().map(|&w| f32::from(w) * f32::from(w)).sum();
        let deviation = (power / outputs as f32).sqrt().max(1.0) * 50.0;
        let z = i32::from(t.zero_point);
        let biases: Vec<i32> = codes
            .chunks(depth)
            .map(|row| {
                let sum: i32 = row.iter().map(|&w| i32::from(w)).sum();
                (self.random.normal() * deviation * 0.3) as i32 - z * sum
            })
            .collect();
        let multipliers: Vec<f32> = biases.iter().map(|_| (0.5 + self.random.unit()) * 60.0 / deviation).collect();
        let words = biases.into_iter().map(i32::cast_unsigned).chain(multipliers.into_iter().map(f32::to_bits));
        let constants_offset = self.add_constants(words);
        let name = format!("layer{}", self.program.convs().count());
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
    }

    pub fn like(&mut self, x: TensorId, extents: [u32; 3]) -> TensorId {
        let (scale, zero_point) = (self.program.tensor(x).scale, self.program.tensor(x).zero_point);
        self.tensor(extents, scale, zero_point)
    }

    /// Maximum over a window; `None` where it does not fit.
    pub fn max_pool(&mut self, x: TensorId, window: Window) -> Option<TensorId> {
        let [h, w, c] = self.extents(x);
        let [height, width] = window.output(h, w)?;
        let y = self.like(x, [height, width, c]);
        self.program.ops.push(Op::MaxPool { x, y, window, lo: self.bounds[0], hi: self.bounds[1] });
        Some(y)
    }

    /// Mean over a window; `None` where it does not fit.
    pub fn average_pool(&mut self, x: TensorId, window: Window, count_include_pad: bool, z: u8) -> Option<TensorId> {
        let [h, w, c] = self.extents(x);
        let [height, width] = window.output(h, w)?;
        let y = self.tensor([height, width, c], 1.0, z);
        let multiplier = 0.7 + self.random.unit();
        self.program.ops.push(Op::AveragePool { x, y, window, count_include_pad, multiplier, lo: 0, hi: 255 });
        Some(y)
    }

    /// Sum of two tensors of equal extents.
    pub fn add(&mut self, a: TensorId, b: TensorId, [zero_point, lo, hi]: [u8; 3]) -> TensorId {
        let y = self.tensor(self.extents(a), 1.0, zero_point);
        let (multiplier_a, multiplier_b) = (0.3 + self.random.unit(), 0.3 + self.random.unit());
        self.program.ops.push(Op::Arithmetic {
            kind: ArithmeticKind::Add,
            a,
            b,
            y,
            extents: self.extents(y).to_vec(),
            strides_a: dense(&self.extents(y)),
            strides_b: dense(&self.extents(y)),
            multiplier_a,
            multiplier_b,
            lo,
            hi,
        });
        y
    }

    /// Multiplier and addend a channel.
    pub fn affine(&mut self, x: TensorId, [zero_point, lo, hi]: [u8; 3]) -> TensorId {
        let extents = self.extents(x);
        let y = self.tensor(extents, 1.0, zero_point);
        let mut words: Vec<u32> = (0..extents[2]).map(|_| (self.random.normal() * 0.7 + 0.01).to_bits()).collect();
        words.extend((0..extents[2]).map(|_| (self.random.normal() * 30.0).to_bits()));
        let constants_offset = self.add_constants(words.into_iter());
        self.program.ops.push(Op::Affine { x, y, constants_offset, lo, hi });
        y
    }

    /// Channels of all, rescaled where `rescale` says so.
    pub fn concat(&mut self, xs: &[(TensorId, bool)]) -> TensorId {
        let [h, w, _] = self.extents(xs[0].0);
        let channels = xs.iter().map(|&(x, _)| self.extents(x)[2]).sum();
        let y = self.like(xs[0].0, [h, w, channels]);
        let (scale, z) = (self.program.tensor(y).scale, self.program.tensor(y).zero_point);
        let xs = xs.iter().map(|&(x, rescale)| {
            let t = self.program.tensor(x);
            let moves = t.scale.to_bits() == scale.to_bits() && t.zero_point == z && !rescale;
            (x, (!moves).then(|| 0.3 + self.random.unit()))
        });
        let xs = xs.collect();
        self.program.ops.push(Op::Concat { xs, y, outer: h * w, lo: self.bounds[0], hi: self.bounds[1] });
        y
    }

    /// The same codes under other extents.
    pub fn reshape(&mut self, x: TensorId, extents: [u32; 3]) -> TensorId {
        let y = self.like(x, extents);
        let [from, to] = [x, y].map(|id| self.extents(id)).map(|[h, w, c]| [h * w, c]);
        // Places in (channel, row, column) order stay.
        let place = |i: u32| {
            let kept = i % to[1] * to[0] + i / to[1];
            kept % from[0] * from[1] + kept / from[0]
        };
        let tables = vec![(0..to[0] * to[1]).map(place).collect()];
        self.program.ops.push(Op::Move { x, y, tables, fill: 0 });
        y
    }

    /// Codes as floats.
    pub fn dequantize(&mut self, x: TensorId) -> FloatId {
        let len = self.extents(x).iter().product();
        let y = self.slot(len);
        self.program.ops.push(Op::Dequantize { x, y, order: Order::ChannelFirst });
        y
    }

    /// Softmax of a slot.
    pub fn softmax(&mut self, x: FloatId, log: bool) -> FloatId {
        let len = self.program.floats[x.0 as usize].len;
        let y = self.slot(len);
        self.program.ops.push(Op::Softmax { x, y, log, outer: 1, len, inner: 1 });
        y
    }

    /// Makes a slot an output of the network.
    pub fn output(&mut self, slot: FloatId) {
        let len = self.program.floats[slot.0 as usize].len;
        let name = format!("output{}", self.program.outputs.len());
        self.program.outputs.push((Port { name, dims: vec![len], ..Port::default() }, slot));
    }

    /// The loaded artifact.
    pub fn artifact(self) -> Artifact {
        let Net { program, constants, weights, .. } = self;
        let bytes = encode(&ArtifactParts { program, constants, weights, ..ArtifactParts::default() });
        Artifact::from_bytes(bytes, LoadOptions::default()).expect("the builder writes valid artifacts")
    }
}
