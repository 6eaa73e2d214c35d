//! What every executor relies on: checked once when an artifact is loaded, whoever wrote it.

use crate::error::quoted;
use crate::pack::{TILE_DEPTH, TILE_OUTPUTS, packed_len, tile_bytes, unpack_tile};
use crate::program::{Conv, Destination, FloatId, LayerKind, Op, Port, Program, Tensor, TensorId, Window};
use crate::{BitWidth, FormatError};
use std::collections::BTreeMap;
use std::ops::Range;

/// Largest extent of any axis, kernel, stride or dilation.
pub const MAX_EXTENT: u32 = 1 << 24;

/// Multipliers are normal numbers in this range, so that a caller's flush-to-zero mode cannot change a code or a logit.
pub const MULTIPLIER_RANGE: std::ops::RangeInclusive<f32> = 9.094_947e-13..=1_048_576.0; // 2^-40, 2^20

/// Largest magnitude of an affine addend, in steps.
pub const MAX_ADDEND: f32 = 1_048_576.0;

/// Checks a decoded program against the sections it points into.
///
/// # Errors
/// The first violation, with the operator and what is required.
pub fn program(program: &Program, constants: &[u8], weights: &[u8]) -> Result<(), FormatError> {
    let mut checker = Checker {
        program,
        constants,
        weights,
        written: vec![None; program.tensors.len()],
        last_read: vec![0; program.tensors.len()],
        float_written: vec![false; program.floats.len()],
        quantized: false,
        used_constants: Ranges::default(),
        used_weights: Ranges::default(),
    };
    checker.ports()?;
    checker.tensors()?;
    for (at, op) in program.ops.iter().enumerate() {
        let name = || match op {
            Op::Conv(conv) => format!("operator {at} ({} {})", op.label(), quoted(&conv.name)),
            _ => format!("operator {at} ({})", op.label()),
        };
        checker.op(at, op).map_err(|what| FormatError::malformed(name(), what))?;
    }
    for (port, slot) in &program.outputs {
        checker
            .output(port.len(), *slot)
            .map_err(|what| FormatError::malformed(format!("output {}", quoted(&port.name)), what))?;
    }
    checker.arena()
}

struct Checker<'a> {
    program: &'a Program,
    constants: &'a [u8],
    weights: &'a [u8],
    /// The operator that wrote each tensor.
    written: Vec<Option<usize>>,
    /// The last operator that reads each tensor.
    last_read: Vec<usize>,
    float_written: Vec<bool>,
    /// Whether an operator has read the input. One does in the end: nothing else is written without reading what was written.
    quantized: bool,
    used_constants: Ranges,
    used_weights: Ranges,
}

/// Disjoint ranges, each by its first byte and its end.
///
/// As no two operators share a byte of a section, what all of them read is never more than the file.
#[derive(Default)]
struct Ranges(BTreeMap<usize, usize>);

impl Ranges {
    /// Adds a range that is not empty.
    fn add(&mut self, range: Range<usize>, section: &str) -> Check {
        let before = self.0.range(..range.end).next_back();
        let free = before.is_none_or(|(_, &end)| end <= range.start);
        require(free, || format!("bytes {range:?} of the {section} section belong to another operator too"))?;
        self.0.insert(range.start, range.end);
        Ok(())
    }
}

type Check<T = ()> = Result<T, String>;

fn require(condition: bool, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(what()) }
}

impl<'a> Checker<'a> {
    fn ports(&self) -> Result<(), FormatError> {
        let program = self.program;
        for port in std::iter::once(&program.input).chain(program.outputs.iter().map(|(port, _)| port)) {
            let len = port.dims.iter().try_fold(1u32, |len, &d| len.checked_mul(d)).unwrap_or(0);
            if port.dims.is_empty() || port.dims.len() > 4 || len == 0 || len > MAX_EXTENT {
                let what =
                    format!("extents {:?}; 1 to 4 extents of 1..={MAX_EXTENT} values in all are required", port.dims);
                return Err(FormatError::malformed(format!("port {}", quoted(&port.name)), what));
            }
        }
        if input_extents(&program.input).is_none() {
            let what = format!("extents {:?}; an input has 1 to 3", program.input.dims);
            return Err(FormatError::malformed(format!("port {}", quoted(&program.input.name)), what));
        }
        if program.outputs.is_empty() {
            return Err(FormatError::malformed("plan section", "no output; at least one is required"));
        }
        Ok(())
    }

    fn tensors(&self) -> Result<(), FormatError> {
        for (i, t) in self.program.tensors.iter().enumerate() {
            let extents = [t.height, t.width, t.channels];
            let bytes = extents.iter().try_fold(1u32, |len, &e| len.checked_mul(e)).unwrap_or(0);
            let fits = t.arena_offset.checked_add(bytes).is_some_and(|end| end <= self.program.arena_bytes);
            let error = |what: String| Err(FormatError::malformed(format!("tensor {i} ({})", quoted(&t.name)), what));
            if bytes == 0 || extents.iter().any(|&e| e > MAX_EXTENT) {
                return error(format!("extents {extents:?} are out of range"));
            }
            if !fits {
                return error(format!(
                    "{bytes} bytes at {} leave the arena of {}",
                    t.arena_offset, self.program.arena_bytes
                ));
            }
            if !(t.scale.is_normal() && t.scale > 0.0) {
                return error(format!("scale {}; a positive normal number is required", t.scale));
            }
        }
        Ok(())
    }

    fn read(&mut self, at: usize, id: TensorId) -> Check<&'a Tensor> {
        let tensor =
            self.program.tensors.get(id.0 as usize).ok_or_else(|| format!("tensor {} does not exist", id.0))?;
        require(self.written[id.0 as usize].is_some(), || format!("tensor {} is read before it is written", id.0))?;
        self.last_read[id.0 as usize] = at;
        Ok(tensor)
    }

    fn write(&mut self, at: usize, id: TensorId) -> Check<&'a Tensor> {
        let tensor =
            self.program.tensors.get(id.0 as usize).ok_or_else(|| format!("tensor {} does not exist", id.0))?;
        let first = self.written[id.0 as usize].replace(at).is_none();
        require(first, || format!("tensor {} is written twice", id.0))?;
        self.last_read[id.0 as usize] = at;
        Ok(tensor)
    }

    fn write_float(&mut self, id: FloatId, len: usize) -> Check {
        let slot =
            self.program.floats.get(id.0 as usize).ok_or_else(|| format!("float slot {} does not exist", id.0))?;
        require(slot.len as usize == len, || {
            format!("float slot {} holds {} values, {len} are written", id.0, slot.len)
        })?;
        let first = !std::mem::replace(&mut self.float_written[id.0 as usize], true);
        require(first, || format!("float slot {} is written twice", id.0))
    }

    fn read_float(&self, id: FloatId) -> Check<usize> {
        let written = self.float_written.get(id.0 as usize).copied().unwrap_or(false);
        require(written, || format!("float slot {} is read before it is written", id.0))?;
        Ok(self.program.floats[id.0 as usize].len as usize)
    }

    fn output(&self, len: usize, id: FloatId) -> Check {
        let slot = self.read_float(id)?;
        require(slot == len, || format!("{len} values stated, float slot {} holds {slot}", id.0))
    }

    fn op(&mut self, at: usize, op: &Op) -> Check {
        match op {
            Op::Quantize { y, inv_scale } => {
                let y = self.write(at, *y)?;
                let first = !std::mem::replace(&mut self.quantized, true);
                require(first, || "the input is quantized already; one operator does it".into())?;
                let (found, dims) = ([y.channels, y.height, y.width], &self.program.input.dims);
                require(input_extents(&self.program.input) == Some(found), || {
                    format!("channels, rows and columns {found:?} for an input of {dims:?}; they must be equal")
                })?;
                multiplier(*inv_scale)
            }
            Op::Conv(conv) => self.conv(at, conv),
            Op::MaxPool { x, y, window } => {
                let (x, y) = (self.read(at, *x)?, self.write(at, *y)?);
                require(same_quantization(x, y), || "input and result must share scale and zero point".into())?;
                pooled(x, y, window)
            }
            Op::AveragePool { x, y, window, multiplier: m, lo, hi, .. } => {
                let (x, y) = (self.read(at, *x)?, self.write(at, *y)?);
                let cells = u64::from(window.kernel[0]) * u64::from(window.kernel[1]);
                require(window.dilation == [1, 1], || "dilation must be 1".into())?;
                require(cells <= 1 << 22, || format!("a window of {cells} cells; at most 2^22 are allowed"))?;
                multiplier(*m)?;
                multiplier(*m / cells as f32)?;
                clamp(*lo, *hi)?;
                pooled(x, y, window)
            }
            Op::Add { a, b, y, multiplier_a, multiplier_b, lo, hi } => {
                let (a, b, y) = (self.read(at, *a)?, self.read(at, *b)?, self.write(at, *y)?);
                require(same_extents(a, y) && same_extents(b, y), || {
                    "inputs and result must have equal extents".into()
                })?;
                multiplier(*multiplier_a)?;
                multiplier(*multiplier_b)?;
                clamp(*lo, *hi)
            }
            Op::Concat { xs, y } => self.concat(at, xs, *y),
            Op::Affine { x, y, constants_offset, lo, hi } => {
                let (x, y) = (self.read(at, *x)?, self.write(at, *y)?);
                require(same_extents(x, y), || "input and result must have equal extents".into())?;
                let [mut multipliers, mut addends] = self.constants(*constants_offset, x.channels)?.map(floats);
                multipliers.try_for_each(|value| multiplier(value.abs()))?;
                require(addends.all(|value| value.abs() <= MAX_ADDEND), || format!("an addend exceeds {MAX_ADDEND}"))?;
                clamp(*lo, *hi)
            }
            Op::Reshape { x, y } => {
                let (x, y) = (self.read(at, *x)?, self.write(at, *y)?);
                require(x.len() == y.len(), || format!("{} codes become {}", x.len(), y.len()))?;
                require(same_quantization(x, y), || "input and result must share scale and zero point".into())
            }
            Op::Dequantize { x, y } => {
                let x = self.read(at, *x)?;
                self.write_float(*y, x.len())
            }
            Op::Softmax { x, y, .. } => {
                let len = self.read_float(*x)?;
                self.write_float(*y, len)
            }
        }
    }

    fn concat(&mut self, at: usize, xs: &[(TensorId, Option<f32>)], y: TensorId) -> Check {
        let y = self.write(at, y)?;
        let mut channels = 0u32;
        for (x, rescale) in xs {
            let x = self.read(at, *x)?;
            require([x.height, x.width] == [y.height, y.width], || {
                "rows and columns of the inputs must be equal".into()
            })?;
            match rescale {
                Some(m) => multiplier(*m)?,
                None => require(same_quantization(x, y), || "codes of another scale cannot move".into())?,
            }
            channels = channels.saturating_add(x.channels);
        }
        require(channels == y.channels, || format!("{channels} channels in, {} out", y.channels))
    }

    fn conv(&mut self, at: usize, conv: &Conv) -> Check {
        let x = self.read(at, conv.x)?;
        let groups = conv.groups;
        let divides = |n: u32| groups != 0 && n.is_multiple_of(groups);
        require(divides(x.channels) && divides(conv.outputs), || {
            format!("{groups} groups must divide {} inputs and {} outputs", x.channels, conv.outputs)
        })?;
        let [height, width] = windowed(x, &conv.window)?;
        require(conv.outputs != 0 && conv.outputs <= MAX_EXTENT, || format!("{} outputs", conv.outputs))?;
        if conv.kind == LayerKind::FullyConnected {
            let whole = conv.window.kernel == [x.height, x.width] && conv.window.padding == [0; 4] && groups == 1;
            require(whole, || "the kernel of a fully connected layer must cover its whole input".into())?;
        }
        let cells = [height, width, conv.outputs].into_iter().try_fold(1u32, |n, e| n.checked_mul(e));
        let cells = cells.ok_or("the result is too large")?;
        match conv.destination {
            Destination::Codes { y, lo, hi } => {
                let y = self.write(at, y)?;
                require([y.height, y.width, y.channels] == [height, width, conv.outputs], || {
                    format!(
                        "result {}x{}x{}; {height}x{width}x{} is required",
                        y.height, y.width, y.channels, conv.outputs
                    )
                })?;
                clamp(lo, hi)?;
            }
            Destination::Logits { y } => self.write_float(y, cells as usize)?,
        }
        let [_, multipliers] = self.constants(conv.constants_offset, conv.outputs)?;
        floats(multipliers).try_for_each(multiplier)?;
        let taps = u64::from(conv.window.kernel[0]) * u64::from(conv.window.kernel[1]);
        let depth = taps.checked_mul(u64::from(x.channels / groups)).and_then(|d| usize::try_from(d).ok());
        let len = depth.and_then(|d| packed_len(conv.outputs as usize, d, conv.bits)).ok_or("too many weights")?;
        let end = usize::try_from(conv.weights_offset).ok().and_then(|offset| offset.checked_add(len));
        let start = conv.weights_offset as usize;
        let weights = end.and_then(|end| self.weights.get(start..end));
        let weights = weights.filter(|_| conv.weights_offset.is_multiple_of(64)).ok_or_else(|| {
            format!("{len} bytes of weights at {} leave the section or are not aligned", conv.weights_offset)
        })?;
        self.used_weights.add(start..start + len, "weights")?;
        let padded = is_padded(weights, conv.outputs as usize, depth.unwrap_or(0), conv.bits);
        require(padded, || "the weights are not padded with 0 to whole tiles".into())
    }

    /// Two times `count` words at an offset of the constants section, which no other operator uses.
    fn constants(&mut self, offset: u64, count: u32) -> Check<[&'a [u8]; 2]> {
        let start = usize::try_from(offset).map_err(|_| "constants out of range")?;
        let range = start..start.saturating_add(count as usize * 8);
        let bytes = self.constants.get(range.clone()).filter(|_| offset.is_multiple_of(64));
        let bytes =
            bytes.ok_or_else(|| format!("{count} constants at {offset} leave the section or are not aligned"))?;
        self.used_constants.add(range, "constants")?;
        Ok(bytes.split_at(count as usize * 4).into())
    }

    /// No two tensors that live at the same time share a byte.
    fn arena(&self) -> Result<(), FormatError> {
        let tensors = &self.program.tensors;
        if let Some(i) = self.written.iter().position(Option::is_none) {
            return Err(FormatError::malformed(
                format!("tensor {i} ({})", quoted(&tensors[i].name)),
                "is never written",
            ));
        }
        if let Some(i) = self.float_written.iter().position(|&written| !written) {
            return Err(FormatError::malformed(format!("float slot {i}"), "is never written"));
        }
        // Sweep in order of first byte; a tensor is dropped from the window once its bytes end.
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| tensors[i].arena_offset);
        let mut open: Vec<usize> = Vec::new();
        let mut pairs = 0u64;
        for &i in &order {
            open.retain(|&j| tensors[j].arena_range().end > tensors[i].arena_range().start);
            for &j in &open {
                let (first_i, first_j) = (self.written[i].unwrap_or(0), self.written[j].unwrap_or(0));
                if first_i <= self.last_read[j] && first_j <= self.last_read[i] {
                    let what =
                        format!("shares arena bytes with tensor {j} ({}) while both live", quoted(&tensors[j].name));
                    return Err(FormatError::malformed(format!("tensor {i} ({})", quoted(&tensors[i].name)), what));
                }
            }
            pairs += open.len() as u64;
            if pairs > MAX_OVERLAP_PAIRS {
                return Err(FormatError::malformed(
                    "plan section",
                    "the memory plan has too many overlapping tensors to check",
                ));
            }
            open.push(i);
        }
        Ok(())
    }
}

/// Channels, rows and columns of a sample: of one extent the channels, of two the rows and columns.
fn input_extents(input: &Port) -> Option<[u32; 3]> {
    match input.dims[..] {
        [channels] => Some([channels, 1, 1]),
        [height, width] => Some([1, height, width]),
        [channels, height, width] => Some([channels, height, width]),
        _ => None,
    }
}

/// Words of a section as floats.
fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| f32::from_le_bytes(word))
}

/// Whether the codes that fill the last tiles of each axis up are 0. Kernels multiply those beyond the depth with whatever lies there.
fn is_padded(weights: &[u8], outputs: usize, depth: usize, bits: BitWidth) -> bool {
    let (tiles_deep, bytes) = (depth.div_ceil(TILE_DEPTH), tile_bytes(bits));
    let last_row = outputs / TILE_OUTPUTS;
    weights.chunks_exact(tiles_deep * bytes).enumerate().all(|(row, tiles)| {
        // Only the last tile of a row is not full, and all of the last row.
        let whole = if row < last_row { depth / TILE_DEPTH } else { 0 };
        tiles.chunks_exact(bytes).enumerate().skip(whole).all(|(tile, packed)| {
            let codes = unpack_tile(packed, bits);
            let is_inside =
                |i: usize| row * TILE_OUTPUTS + i / TILE_DEPTH < outputs && tile * TILE_DEPTH + i % TILE_DEPTH < depth;
            codes.iter().enumerate().all(|(i, &code)| code == 0 || is_inside(i))
        })
    })
}

/// Bound on the work of the arena check; a network of 5,000 tensors that all reuse one region stays below it.
const MAX_OVERLAP_PAIRS: u64 = 1 << 24;

fn multiplier(value: f32) -> Check {
    require(MULTIPLIER_RANGE.contains(&value), || format!("multiplier {value:e}; 2^-40..=2^20 is required"))
}

fn clamp(lo: u8, hi: u8) -> Check {
    require(lo <= hi, || format!("clamp {lo}..={hi} is empty"))
}

fn same_extents(a: &Tensor, b: &Tensor) -> bool {
    [a.height, a.width, a.channels] == [b.height, b.width, b.channels]
}

fn same_quantization(a: &Tensor, b: &Tensor) -> bool {
    a.scale.to_bits() == b.scale.to_bits() && a.zero_point == b.zero_point
}

fn windowed(x: &Tensor, window: &Window) -> Check<[u32; 2]> {
    let fields = [window.kernel, window.stride, window.dilation].concat();
    require(fields.iter().all(|&v| (1..=MAX_EXTENT).contains(&v)), || format!("window {fields:?}; each must be >= 1"))?;
    require(window.padding.iter().all(|&p| p <= MAX_EXTENT), || {
        format!("padding {:?} is out of range", window.padding)
    })?;
    window.output(x.height, x.width).ok_or_else(|| "the window does not fit its input".into())
}

fn pooled(x: &Tensor, y: &Tensor, window: &Window) -> Check {
    let [height, width] = windowed(x, window)?;
    let [top, left, bottom, right] = window.padding;
    let span = |axis: usize| (u64::from(window.kernel[axis]) - 1) * u64::from(window.dilation[axis]) + 1;
    require(u64::from(top.max(bottom)) < span(0) && u64::from(left.max(right)) < span(1), || {
        format!("padding {:?} must be smaller than the window", window.padding)
    })?;
    require([y.height, y.width, y.channels] == [height, width, x.channels], || {
        format!("result {}x{}x{}; {height}x{width}x{} is required", y.height, y.width, y.channels, x.channels)
    })
}
