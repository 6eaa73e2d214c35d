//! One operator: its constants and its call.

use crate::literal::{array, comment, float};
use crate::places::Places;
use crate::primitives::Primitive;
use crate::weights;
use releqc_runtime::Pixels;
use releqc_runtime::format::Artifact;
use releqc_runtime::program::{ArithmeticKind, Conv, Destination, Op, Order, Tensor, TensorId, Window};
use std::collections::BTreeSet;

/// What the operators of a network need.
pub(crate) struct Calls<'a> {
    artifact: &'a Artifact,
    pub(crate) places: Places<'a>,
    pub(crate) used: BTreeSet<Primitive>,
    /// Definitions of constants.
    pub(crate) constants: String,
    /// Bytes that they take.
    pub(crate) constant_bytes: usize,
    /// Bytes of unpacked weights.
    pub(crate) scratch: usize,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(artifact: &'a Artifact) -> Self {
        Calls {
            places: Places::new(artifact.program()),
            artifact,
            used: BTreeSet::new(),
            constants: String::new(),
            constant_bytes: 0,
            scratch: 0,
        }
    }

    fn tensor(&self, id: TensorId) -> &'a Tensor {
        self.artifact.program().tensor(id)
    }

    fn bytes(&mut self, name: &str, values: &[u8]) {
        self.constant_bytes += values.len();
        self.constants += &array("uint8_t", name, values.iter());
    }

    fn words(&mut self, name: &str, values: &[u32]) {
        self.constant_bytes += 4 * values.len();
        self.constants += &array("uint32_t", name, values.iter());
    }

    fn floats(&mut self, name: &str, values: &[f32]) {
        self.constant_bytes += 4 * values.len();
        self.constants += &array("float", name, values.iter().map(|&value| float(value)));
    }

    fn section(&self, offset: u64, len: usize) -> &'a [u8] {
        &self.artifact.constants_section()[offset as usize..][..len]
    }

    /// The statement of operator `index`, no operator on floats.
    pub(crate) fn of(&mut self, index: usize, op: &Op) -> String {
        match op {
            Op::Conv(conv) => self.layer(index, conv),
            Op::Quantize { x, y, inv_scale, order } => {
                self.used.insert(Primitive::Quantize);
                let (from, to, t) = (self.places.slot(*x), self.places.tensor(*y), self.tensor(*y));
                let [plane, channels] = ordered(t, *order);
                format!("quantize({from}, {to}, {plane}, {channels}, {}, {});", float(*inv_scale), t.zero_point)
            }
            Op::MaxPool { x, y, window, lo, hi } => {
                self.used.insert(Primitive::MaxPool);
                self.pool(index, *x, *y, window, [*lo, *hi]);
                let (from, to) = (self.places.tensor(*x), self.places.tensor(*y));
                format!("max_pool(&pool_{index}, {from}, {to});")
            }
            Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi } => {
                self.used.insert(Primitive::AveragePool);
                self.pool(index, *x, *y, window, [*lo, *hi]);
                let (from, to) = (self.places.tensor(*x), self.places.tensor(*y));
                let all = u8::from(*count_include_pad);
                format!("average_pool(&pool_{index}, {}, {all}, {from}, {to});", float(*multiplier))
            }
            Op::Arithmetic { a, b, y, .. } => {
                self.used.insert(Primitive::Arithmetic);
                self.arithmetic(index, op);
                let [a, b, y] = [a, b, y].map(|id| self.places.tensor(*id));
                format!("arithmetic(&arithmetic_{index}, {a}, {b}, {y});")
            }
            Op::Concat { xs, y, outer, lo, hi } => self.concat(xs, *y, *outer, [*lo, *hi]),
            Op::Affine { x, y, constants_offset, lo, hi } => {
                self.used.insert(Primitive::Affine);
                let (from, to) = (self.places.tensor(*x), self.places.tensor(*y));
                let (x, y) = (self.tensor(*x), self.tensor(*y));
                let (multipliers, addends) = self.artifact.affine(*constants_offset, x.channels);
                self.floats(&format!("multipliers_{index}"), &multipliers);
                self.floats(&format!("addends_{index}"), &addends);
                format!(
                    "affine({from}, {to}, {}, {}, multipliers_{index}, addends_{index}, {}, {}, {});",
                    x.len(),
                    x.channels,
                    x.zero_point,
                    steps(y.zero_point, *lo, *hi),
                    y.zero_point
                )
            }
            Op::Constant { y, constants_offset } => {
                let (to, len) = (self.places.tensor(*y), self.tensor(*y).len());
                self.bytes(&format!("codes_{index}"), self.section(*constants_offset, len));
                format!("memcpy({to}, codes_{index}, sizeof codes_{index});")
            }
            Op::Table { x, y, constants_offset, per_channel } => {
                self.used.insert(Primitive::Table);
                let (from, to, t) = (self.places.tensor(*x), self.places.tensor(*y), self.tensor(*x));
                let channels = if *per_channel { t.channels } else { 1 };
                let table = self.section(*constants_offset, 256 * channels as usize);
                self.bytes(&format!("table_{index}"), table);
                format!("look_up({from}, {to}, {}, {channels}, table_{index});", t.len())
            }
            Op::Move { x, y, tables, fill } => {
                self.used.insert(Primitive::Move);
                let (from, to) = (self.places.tensor(*x), self.places.tensor(*y));
                let lengths: Vec<u32> = tables.iter().map(|table| table.len() as u32).collect();
                // An array of C is not empty.
                let or_one = |values: Vec<u32>| if values.is_empty() { vec![0] } else { values };
                self.words(&format!("lengths_{index}"), &or_one(lengths));
                self.words(&format!("entries_{index}"), &or_one(tables.concat()));
                format!("move({from}, {to}, {}, lengths_{index}, entries_{index}, {fill});", tables.len())
            }
            Op::Dequantize { x, y, order } => {
                self.used.insert(Primitive::Dequantize);
                let (from, to, t) = (self.places.tensor(*x), self.places.slot(*y), self.tensor(*x));
                let [plane, channels] = ordered(t, *order);
                format!("dequantize({from}, {to}, {plane}, {channels}, {}, {});", float(t.scale), t.zero_point)
            }
            _ => String::new(),
        }
    }

    /// The statement that quantizes pixels in the place of operator `index`.
    pub(crate) fn of_pixels(
        &mut self,
        index: usize,
        y: TensorId,
        inv_scale: f32,
        order: Order,
        pixels: &Pixels,
    ) -> String {
        self.used.insert(Primitive::QuantizePixels);
        let (to, t) = (self.places.tensor(y), self.tensor(y));
        let tables = match pixels {
            Pixels::Raw => 1,
            Pixels::Normalize { mean, std } => mean.len().max(std.len()),
        };
        let z = f32::from(t.zero_point);
        let code = |channel: usize, level: u8| {
            let v = pixels.value(level, channel) * inv_scale;
            (v.max(-z).min(255.0 - z).round_ties_even() + z) as u8
        };
        let codes: Vec<u8> = (0..tables).flat_map(|c| (0..=255).map(move |level| code(c, level))).collect();
        self.bytes(&format!("pixel_codes_{index}"), &codes);
        let (plane, channels, last) = (t.height * t.width, t.channels, u8::from(order == Order::Same));
        format!("quantize_pixels(pixels, {to}, {plane}, {channels}, {last}, pixel_codes_{index}, {tables});")
    }

    fn layer(&mut self, index: usize, conv: &Conv) -> String {
        let (x, program) = (self.tensor(conv.x), self.artifact.program());
        let [height, width] = program.conv_output(conv);
        self.constants += &format!("/* {} */\n", comment(&conv.name));
        self.bytes(&format!("weights_{index}"), &weights::rows(self.artifact, conv));
        let biases = self.artifact.biases(conv);
        self.constant_bytes += 4 * biases.len();
        // The least i32 is no literal of C.
        let bias = |bias: i32| if bias == i32::MIN { "(-2147483647 - 1)".to_owned() } else { bias.to_string() };
        self.constants += &array("int32_t", &format!("biases_{index}"), biases.into_iter().map(bias));
        self.floats(&format!("multipliers_{index}"), &self.artifact.multipliers(conv));
        let (y_z, lo, hi) = match conv.destination {
            Destination::Codes { y, lo, hi } => (self.tensor(y).zero_point, lo, hi),
            Destination::Logits { .. } => (0, 0, 0),
        };
        self.constants += &format!(
            "static const struct layer layer_{index} = {{\n    weights_{index}, biases_{index}, multipliers_{index}, {},\n    \
             {}, {}, {}, {height}, {width}, {}, {}, {}, {}, {y_z}, {},\n}};\n\n",
            window(&conv.window),
            x.height,
            x.width,
            x.channels,
            conv.outputs,
            conv.groups,
            conv.bits.bits(),
            x.zero_point,
            steps(y_z, lo, hi),
        );
        self.constant_bytes += LAYER_BYTES;
        let (depth, from) = (conv.depth(x), self.places.tensor(conv.x));
        match conv.destination {
            Destination::Codes { y, .. }
                if conv.groups == x.channels && conv.outputs == x.channels && x.channels.is_multiple_of(4) =>
            {
                self.used.insert(Primitive::Depthwise);
                self.scratch = self.scratch.max(5 * depth);
                format!("depthwise(&layer_{index}, {from}, {});", self.places.tensor(y))
            }
            Destination::Codes { y, .. } => {
                self.convolved(conv, depth);
                format!("conv(&layer_{index}, {from}, {}, NULL, 0);", self.places.tensor(y))
            }
            Destination::Logits { y, order } => {
                self.convolved(conv, depth);
                let first = u8::from(order == Order::ChannelFirst);
                format!("conv(&layer_{index}, {from}, NULL, {}, {first});", self.places.slot(y))
            }
        }
    }

    fn convolved(&mut self, conv: &Conv, depth: usize) {
        self.used.insert(Primitive::Conv);
        // Codes of 8 bits are read in place.
        self.scratch = self.scratch.max(if conv.bits.bits() == 8 { 1 } else { 4 * depth });
    }

    fn pool(&mut self, index: usize, x: TensorId, y: TensorId, of: &Window, [lo, hi]: [u8; 2]) {
        let (x, y) = (self.tensor(x), self.tensor(y));
        self.constant_bytes += POOL_BYTES;
        self.constants += &format!(
            "static const struct pool pool_{index} = {{\n    {}, {}, {}, {}, {}, {}, {}, {}, {}, {lo}, {hi},\n}};\n\n",
            window(of),
            x.height,
            x.width,
            x.channels,
            y.height,
            y.width,
            x.zero_point,
            y.zero_point,
            steps(y.zero_point, lo, hi),
        );
    }

    fn arithmetic(&mut self, index: usize, op: &Op) {
        let Op::Arithmetic { kind, a, b, y, extents, strides_a, strides_b, multiplier_a, multiplier_b, lo, hi } = op
        else {
            return;
        };
        let kind = match kind {
            ArithmeticKind::Add => "ADD",
            ArithmeticKind::Sub => "SUB",
            ArithmeticKind::Mul => "MUL",
            ArithmeticKind::Min => "MIN",
            ArithmeticKind::Max => "MAX",
        };
        let axes = joined(extents, [strides_a, strides_b]);
        let list = |of: fn(&[u32; 3]) -> u32| {
            let values: Vec<String> = axes.iter().map(|axis| of(axis).to_string()).collect();
            format!("{{{}}}", values.join(", "))
        };
        let [z_a, z_b, y_z] = [a, b, y].map(|id| self.tensor(*id).zero_point);
        self.constant_bytes += ARITHMETIC_BYTES;
        self.constants += &format!(
            "static const struct arithmetic arithmetic_{index} = {{\n    {kind}, {}, {}, {}, {},\n    \
             {}, {}, {z_a}, {z_b}, {y_z}, {},\n}};\n\n",
            axes.len(),
            list(|axis| axis[0]),
            list(|axis| axis[1]),
            list(|axis| axis[2]),
            float(*multiplier_a),
            float(*multiplier_b),
            steps(y_z, *lo, *hi),
        );
    }

    fn concat(&mut self, xs: &[(TensorId, Option<f32>)], y: TensorId, outer: u32, [lo, hi]: [u8; 2]) -> String {
        let (to, y) = (self.places.tensor(y), self.tensor(y));
        let step = y.len() / outer as usize;
        let mut first = 0;
        let mut calls = Vec::new();
        for (x, multiplier) in xs {
            let (from, x) = (self.places.tensor(*x), self.tensor(*x));
            let len = x.len() / outer as usize;
            let place = format!("{from}, {to} + {first}, {outer}, {len}, {step}");
            calls.push(match multiplier {
                None => {
                    self.used.insert(Primitive::Concat);
                    format!("part({place}, {lo}, {hi});")
                }
                Some(m) => {
                    self.used.insert(Primitive::RescaledConcat);
                    let (x_z, y_z) = (x.zero_point, y.zero_point);
                    format!("rescaled_part({place}, {}, {x_z}, {}, {y_z});", float(*m), steps(y_z, lo, hi))
                }
            });
            first += len;
        }
        calls.join("\n    ")
    }
}

/// Bytes of the structures where pointers have 4 bytes.
const LAYER_BYTES: usize = 3 * 4 + 32 + 12 * 4;
const POOL_BYTES: usize = 32 + 11 * 4;
const ARITHMETIC_BYTES: usize = 8 + 3 * 32 + 7 * 4;

/// Values a channel and channels of a conversion; a single channel where nothing changes its place.
fn ordered(t: &Tensor, order: Order) -> [usize; 2] {
    match order {
        Order::ChannelFirst => [t.height as usize * t.width as usize, t.channels as usize],
        Order::Same => [t.len(), 1],
    }
}

/// A clamp as steps from the zero point.
fn steps(zero_point: u8, lo: u8, hi: u8) -> String {
    let of = |code: u8| float(f32::from(i16::from(code) - i16::from(zero_point)));
    format!("{}, {}", of(lo), of(hi))
}

fn window(window: &Window) -> String {
    let Window { kernel: [ky, kx], stride: [sy, sx], dilation: [dy, dx], padding: [top, left, ..] } = window;
    format!("{{{{{ky}, {kx}}}, {{{sy}, {sx}}}, {{{dy}, {dx}}}, {{{top}, {left}}}}}")
}

/// Extent and strides of each axis, neighbours joined where both operands cross them evenly; at least one axis.
fn joined(extents: &[u32], strides: [&[u32]; 2]) -> Vec<[u32; 3]> {
    let mut axes: Vec<[u32; 3]> = Vec::new();
    for (axis, &extent) in extents.iter().enumerate().filter(|&(_, &extent)| extent != 1) {
        let [a, b] = strides.map(|strides| strides[axis]);
        let evenly = |last: &&mut [u32; 3]| {
            let crosses = |outer: u32, inner: u32| u64::from(outer) == u64::from(inner) * u64::from(extent);
            crosses(last[1], a) && crosses(last[2], b)
        };
        match axes.last_mut().filter(evenly) {
            Some(last) => *last = [last[0] * extent, a, b],
            None => axes.push([extent, a, b]),
        }
    }
    if axes.is_empty() { vec![[1, 0, 0]] } else { axes }
}
