//! Binds every operator to its kernel, its places and its constants.

mod movement;
pub(super) mod winograd;

use super::amx;
use super::budget::Budget;
use super::layout::{self, Places, Room};
use super::threads::Awake;
use super::trial::{self, Trials};
use super::weights::{self, Form, Tiles, Wanted, WeightLayout};
use super::windows::{self, Windows, runs};
use crate::float;
use crate::format::Artifact;
use crate::isa::{Available, Isa, TileUnit};
use crate::kernels::conv::amx::TileConv;
use crate::kernels::conv::{self, Gather, GatherRuns, Grid, Layer, Run, Target, ToWords, Trim, widen};
use crate::kernels::convert::{Dequantize, Quantize, QuantizePixels};
use crate::kernels::depthwise::{self, Depthwise};
use crate::kernels::elementwise::{self, Affine, Table, Term};
use crate::kernels::floats::{self, Canonical, Island};
use crate::kernels::pool::{self, AveragePool, MaxPool, Pooling};
use crate::kernels::{Ahead, Borrowed, Bound, Clamp, Kernel, Values, View};
use crate::pack::{self, TILE_DEPTH, TILE_OUTPUTS};
use crate::program::{Conv, Destination, FloatId, Op, Order, Program, Tensor, TensorId, Window};
use crate::{Pixels, RunError};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A kernel and the operator it works for.
pub(super) struct Step {
    /// Index of the operator.
    pub(super) op: usize,
    pub(super) kernel: Bound,
    /// What takes its place for all samples of a batch at once.
    pub(super) batched: Option<Bound>,
    /// What takes its place where the network's input is pixels.
    pub(super) pixels: Option<Bound>,
    /// Whether it is worth sharing between threads.
    pub(super) shared: bool,
    /// What the next step reads.
    pub(super) ahead: Ahead,
}

impl Step {
    /// Computes it, on all threads where that is worth it.
    pub(super) fn run(&self, memory: &mut Borrowed, run: Option<&Awake>) {
        self.share(&self.kernel, memory, run);
    }

    /// The same where the network's input is pixels.
    pub(super) fn run_pixels(&self, memory: &mut Borrowed, run: Option<&Awake>) {
        self.share(self.pixels.as_ref().unwrap_or(&self.kernel), memory, run);
    }

    /// Computes it for all samples at once, where it can; `memory` is that of all of them.
    pub(super) fn run_batched(&self, memory: &mut Borrowed, run: Option<&Awake>) -> bool {
        if let Some(kernel) = &self.batched {
            self.share(kernel, memory, run);
        }
        self.batched.is_some()
    }

    fn share(&self, kernel: &Bound, memory: &mut Borrowed, run: Option<&Awake>) {
        self.ahead.ask();
        match run {
            Some(run) if self.shared => run.step(kernel, memory),
            _ => kernel.run(memory),
        }
    }
}

/// Least work worth sharing between threads: handing it over and back takes about a microsecond.
const SHARED_MACS: u64 = 1 << 20;

/// The same for values of operators without weights.
const SHARED_VALUES: usize = 1 << 15;

/// One or more steps an operator, in program order.
///
/// Layers whose windows cover their input get a kernel for `samples` samples too, where that is more than one.
///
/// # Errors
/// [`RunError::Memory`] where the budget, which has the memory of all samples, does not allow what they hold.
pub(super) fn steps(
    artifact: &Artifact,
    available: Available,
    weights: WeightLayout,
    places: &Places,
    samples: usize,
    memory: Room,
    budget: &Budget,
) -> Result<Vec<Step>, RunError> {
    let (program, trials) = (artifact.program(), RefCell::default());
    let binder = Binder { artifact, program, available, weights, places, memory, budget, trials };
    let mut steps = Vec::with_capacity(program.ops.len());
    // Inputs that operators on floats read.
    for (slot, x) in program.input_ranges() {
        if let Values::Slot(y) = binder.values(slot) {
            let kernel = Box::new(Canonical { x, y });
            let kernel = Bound::new(kernel, places.room().codes);
            steps.push(Step { op: 0, shared: false, kernel, batched: None, pixels: None, ahead: Ahead::default() });
        }
    }
    for (op, source) in program.ops.iter().enumerate() {
        let shared = match source {
            Op::Conv(conv) => binder.program.macs(conv) >= SHARED_MACS,
            _ => source.writes().is_some_and(|y| binder.program.tensor(y).len() >= SHARED_VALUES),
        };
        let kernels = binder.steps(op, source)?;
        let mut batched = match source {
            Op::Conv(conv) if samples > 1 && kernels.len() == 1 => binder.batched(conv, samples)?,
            _ => None,
        };
        steps.extend(kernels.into_iter().map(|kernel| {
            let shared = shared && kernel.parts() > 1;
            let batched = batched.take().map(|kernel| Bound::new(kernel, memory.codes));
            let kernel = Bound::new(kernel, places.room().codes);
            Step { op, shared, kernel, batched, pixels: None, ahead: Ahead::default() }
        }));
    }
    for next in 1..steps.len() {
        steps[next - 1].ahead = steps[next].kernel.ahead();
    }
    Ok(steps)
}

/// Binds the steps that read the network's input to pixels.
pub(super) fn read_pixels(steps: &mut [Step], program: &Program, places: &[View], arena: usize, pixels: &Pixels) {
    for step in steps {
        if let Op::Quantize { y, inv_scale, order, .. } = program.ops[step.op] {
            let z = program.tensor(y).zero_point;
            let kernel = QuantizePixels::new(places[y.0 as usize], inv_scale, z, pixels, order);
            step.pixels = Some(Bound::new(Box::new(kernel), arena));
        }
    }
}

struct Binder<'a> {
    artifact: &'a Artifact,
    program: &'a Program,
    available: Available,
    weights: WeightLayout,
    places: &'a Places,
    /// Of all samples.
    memory: Room,
    budget: &'a Budget,
    trials: RefCell<Trials>,
}

impl Binder<'_> {
    fn view(&self, id: TensorId) -> View {
        self.places.views[id.0 as usize]
    }

    fn zero_point(&self, id: TensorId) -> u8 {
        self.program.tensor(id).zero_point
    }

    /// An operator on floats.
    fn island(&self, at: usize, op: &Op) -> Result<Island, RunError> {
        let range = float::constants(self.program, op);
        self.budget.take(range.len())?;
        let reads: BTreeSet<FloatId> = op.reads_floats().into_iter().collect();
        let y = match op.writes_floats().map(|y| self.values(y)) {
            Some(Values::Slot(range)) => range,
            _ => 0..0,
        };
        Ok(Island {
            artifact: self.artifact.clone(),
            op: at,
            reads: reads.into_iter().map(|id| (id, self.values(id))).collect(),
            constants: float::decoded(&self.artifact.constants_section()[range]),
            y,
            unary: floats::unary(self.available),
            binary: floats::binary(self.available),
        })
    }

    fn values(&self, id: FloatId) -> Values {
        self.places.floats[id.0 as usize].clone()
    }

    /// First float of a slot that is written.
    fn floats(&self, id: FloatId) -> usize {
        match &self.places.floats[id.0 as usize] {
            Values::Slot(range) | Values::Input(range) => range.start,
        }
    }

    fn term(&self, x: TensorId, m: f32) -> Term {
        Term { z: self.zero_point(x), m }
    }

    fn clamp(&self, y: TensorId, lo: u8, hi: u8) -> Clamp {
        Clamp { z: self.zero_point(y), lo, hi }
    }

    fn pooling(&self, x: TensorId, y: TensorId, window: &Window) -> Result<Pooling, RunError> {
        self.budget.take(Pooling::bytes(&self.view(y)))?;
        Ok(Pooling::new(self.view(x), self.view(y), window))
    }

    /// The steps of operator `at`.
    fn steps(&self, at: usize, op: &Op) -> Result<Vec<Box<dyn Kernel>>, RunError> {
        let single: Box<dyn Kernel> = match *op {
            Op::Quantize { x, y, inv_scale, order } => {
                let (x, z) = (self.values(x), self.zero_point(y));
                Box::new(Quantize::new(self.available, x, self.view(y), inv_scale, z, order))
            }
            Op::Conv(ref conv) => return self.conv(conv),
            Op::MaxPool { x, y, ref window, lo, hi } => {
                Box::new(MaxPool::new(self.available, self.pooling(x, y, window)?, [lo, hi]))
            }
            Op::AveragePool { x, y, ref window, count_include_pad, multiplier, lo, hi } => Box::new(AveragePool {
                pooling: self.pooling(x, y, window)?,
                z: self.zero_point(x),
                count: count_include_pad.then_some(window.kernel[0] * window.kernel[1]),
                multiplier,
                clamp: self.clamp(y, lo, hi),
                pixel: pool::mean_pixel(self.available),
            }),
            Op::Affine { x, y, constants_offset, lo, hi } => {
                let (multipliers, addends) = self.artifact.affine(constants_offset, self.program.tensor(x).channels);
                let (z, clamp) = (self.zero_point(x), self.clamp(y, lo, hi));
                let row = elementwise::affine_row(self.available);
                Box::new(Affine { x: self.view(x), y: self.view(y), z, multipliers, addends, clamp, row })
            }
            Op::Table { x, y, constants_offset, per_channel } => {
                let tables = if per_channel { self.program.tensor(x).channels as usize } else { 1 };
                self.budget.take(256 * tables)?;
                let codes = &self.artifact.constants_section()[constants_offset as usize..][..256 * tables];
                let row = elementwise::lookup_row(self.available);
                Box::new(Table { x: self.view(x), y: self.view(y), codes: codes.as_chunks().0.to_vec(), row })
            }
            Op::Dequantize { x, y, order } => Box::new(Dequantize {
                x: self.view(x),
                z: self.zero_point(x),
                scale: self.program.tensor(x).scale,
                y: self.floats(y),
                order,
            }),
            _ => match self.movement(op)? {
                Some(kernel) => kernel,
                None => Box::new(self.island(at, op)?),
            },
        };
        Ok(vec![single])
    }

    /// The steps of a layer, the last of which computes it.
    fn conv(&self, conv: &Conv) -> Result<Vec<Box<dyn Kernel>>, RunError> {
        let x = self.program.tensor(conv.x);
        let mut windows = self.windows(conv, x);
        if let Some(depthwise) = self.depthwise(conv, &windows)? {
            return Ok(vec![Box::new(depthwise)]);
        }
        let mut steps: Vec<Box<dyn Kernel>> = Vec::new();
        let strip = self.strip(conv).map(|strip| Box::new(strip) as Box<dyn Kernel>);
        if let Some(unit) = self.tile_unit(conv, &windows) {
            steps.extend(strip);
            steps.push(Box::new(self.tile_conv(conv, unit, windows)?));
            return Ok(steps);
        }
        if let Some(transformed) = self.winograd(conv)? {
            return Ok(transformed.into());
        }
        match self.trimmed(conv, &windows) {
            Some(trimmed) => windows = trimmed,
            None => steps.extend(strip),
        }
        let gather = windows.gather.take();
        let (words, kernel) = match self.form(conv, &windows) {
            Some(form) => self.layer(conv, &windows, self.wanted(conv, form, gather.is_none()), 1)?,
            None if gather.is_some() => self.layer(conv, &windows, self.wanted(conv, Form::Widened, false), 1)?,
            None => (None, self.tried(conv, &windows, 1)?),
        };
        steps.extend(words.map(|words| Box::new(words) as Box<dyn Kernel>));
        steps.push(match gather {
            Some(gather) => Box::new(conv::Gathered { conv: kernel, gather }),
            None => Box::new(kernel),
        });
        Ok(steps)
    }

    /// Where the codes of a layer should lie, if that is known without a trial.
    fn form(&self, conv: &Conv, windows: &Windows) -> Option<Form> {
        let depth = conv.depth(self.program.tensor(conv.x));
        if !weights::may_lie_in_place(conv, depth, windows.run_depth, &windows.runs) {
            return Some(Form::Widened);
        }
        let (isa, count) = (self.available.isa(), windows.grid.height * windows.grid.width);
        self.weights.form(isa, count, conv.bits.bits(), weights::widened_bytes(conv, depth))
    }

    fn wanted(&self, conv: &Conv, form: Form, words: bool) -> Wanted {
        Wanted { form, words, outputs: conv.outputs as usize }
    }

    /// The layer in the form that is faster on this machine; packed where there is no memory for a trial.
    fn tried(&self, conv: &Conv, windows: &Windows, samples: usize) -> Result<conv::Conv, RunError> {
        let shape = trial::Shape {
            bits: conv.bits.bits(),
            windows: windows.grid.height * windows.grid.width,
            depth: conv.depth(self.program.tensor(conv.x)),
            outputs: conv.outputs as usize,
        };
        let layer = |wanted| self.layer(conv, windows, wanted, samples).map(|(_, layer)| layer);
        let all = |form| self.wanted(conv, form, false);
        let mut trials = self.trials.borrow_mut();
        let form = match trials.decided(shape) {
            Some(form) => form,
            None if !self.budget.allows(self.memory.bytes() + 2 * weights::widened_bytes(conv, shape.depth)) => {
                Form::InPlace
            }
            None => {
                let outputs = trial::outputs(weights::widened_bytes(conv, shape.depth) / shape.outputs);
                let [packed, widened] =
                    [Form::InPlace, Form::Widened].map(|form| layer(Wanted { outputs, ..all(form) }));
                trials.faster(shape, [&packed?, &widened?], self.artifact, self.memory)
            }
        };
        layer(all(form))
    }

    /// A layer with one window a sample, for all samples of a batch: their windows are as far apart as their memory, and use each
    /// weight together.
    fn batched(&self, conv: &Conv, samples: usize) -> Result<Option<Box<dyn Kernel>>, RunError> {
        let mut windows = self.windows(conv, self.program.tensor(conv.x));
        let single = [windows.grid.height, windows.grid.width] == [1, 1];
        if !single || windows.gather.is_some() || self.depthwise(conv, &windows)?.is_some() {
            return Ok(None);
        }
        let grid = &mut windows.grid;
        let pixel = self.places.room().codes;
        (grid.width, grid.pixel, grid.row) = (samples, pixel, samples * pixel);
        Ok(Some(Box::new(match self.form(conv, &windows) {
            Some(form) => self.layer(conv, &windows, self.wanted(conv, form, false), samples)?.1,
            None => self.tried(conv, &windows, samples)?,
        })))
    }

    /// Where a layer's results go, for each of `samples` samples.
    fn target(&self, conv: &Conv, positions: usize, samples: usize) -> Target {
        let room = self.places.room();
        match conv.destination {
            Destination::Codes { y, lo, hi } => {
                let view = self.view(y);
                let y_view = if samples > 1 { View { pixel: room.codes, ..view } } else { view };
                Target::Codes { y: y_view, clamp: self.clamp(y, lo, hi) }
            }
            Destination::Logits { y, order } => {
                let [channel, position] = match order {
                    Order::ChannelFirst => [positions, 1],
                    Order::Same => [1, conv.outputs as usize],
                };
                // Of several samples there is one position each.
                let step = if samples > 1 { room.floats } else { position };
                Target::Logits { first: self.floats(y), positions: channel, step }
            }
        }
    }

    /// A layer whose codes lie as wanted, with the step that must come before it.
    fn layer(
        &self,
        conv: &Conv,
        windows: &Windows,
        wanted: Wanted,
        samples: usize,
    ) -> Result<(Option<ToWords>, conv::Conv), RunError> {
        let isa = self.available.isa();
        let (mut grid, mut runs) = (windows.grid, windows.runs.clone());
        // Where few windows use each weight, twice the bytes of weights cost more than they save.
        let many = grid.height * grid.width > 16;
        let words = wanted.words && many && needs_words(isa) && layout::uses_words(self.program, conv);
        let wanted = Wanted { words, ..wanted };
        let (run_depth, depth) = (windows.run_depth, conv.depth(self.program.tensor(conv.x)));
        self.budget.take(weights::arranged_bytes(conv, depth, run_depth, &runs, wanted))?;
        let tiles = weights::arrange(self.artifact, isa, conv, run_depth, &runs, wanted);
        let mut input_bytes = 1;
        let to_words = (tiles.form.stored == 16).then(|| {
            let groups = conv.groups as usize;
            let from = windows.bytes(groups, self.program.tensor(conv.x).channels as usize / groups);
            (grid, runs) = windows.doubled(from.start, self.places.words);
            input_bytes = 2;
            ToWords { from, to: self.places.words, copy: widen::widen(self.available) }
        });
        let form = tiles.form;
        let most = conv::trimmed_windows(self.available, form);
        let inside = windows.inside.as_ref().filter(|_| most > 0);
        self.budget.take(inside.map_or(0, |_| Trim::most_bytes(&grid, runs.len())))?;
        let trim = inside.map(|inside| Trim::new(inside, &grid, most));
        let layer = Layer { trim, ..self.bound(conv, grid, runs, tiles, input_bytes, samples) };
        Ok((to_words, conv::Conv::new(self.available, layer, form, windows::cut(self.program, conv))))
    }

    /// A layer over windows of inputs of `input_bytes` each, for `samples` samples.
    fn bound(
        &self,
        conv: &Conv,
        grid: Grid,
        runs: Vec<Run>,
        tiles: Tiles,
        input_bytes: usize,
        samples: usize,
    ) -> Layer {
        let [height, width] = self.program.conv_output(conv).map(|extent| extent as usize);
        let groups = conv.groups as usize;
        let group_outputs = tiles.group_outputs;
        Layer {
            grid,
            depth_groups: runs.iter().map(|run| run.groups).sum(),
            slides: runs.iter().all(|run| run.groups * TILE_DEPTH == 3 * grid.pixel),
            runs,
            groups,
            group_inputs: self.program.tensor(conv.x).channels as usize / groups * input_bytes,
            group_outputs,
            group_tiles: group_outputs.div_ceil(TILE_OUTPUTS),
            vectors: block_vectors(samples * height * width),
            weights: tiles.codes,
            biases: tiles.biases,
            multipliers: tiles.multipliers,
            target: self.target(conv, height * width, samples),
            trim: None,
        }
    }

    /// The tile unit, where there is one and the layer is to run on it.
    fn tile_unit(&self, conv: &Conv, windows: &Windows) -> Option<TileUnit> {
        let chosen = |&unit: &TileUnit| amx::is_chosen(unit, self.program, conv, &windows.grid, &windows.runs);
        self.available.tiles().filter(|_| windows.gather.is_none()).filter(chosen)
    }

    /// The layer on tiles.
    fn tile_conv(&self, conv: &Conv, unit: TileUnit, mut windows: Windows) -> Result<TileConv, RunError> {
        amx::pad(&mut windows.runs);
        let tiles = amx::arrange(self.artifact, unit, conv, windows.run_depth, &windows.runs, self.budget)?;
        let stored = tiles.form.stored;
        let layer = self.bound(conv, windows.grid, windows.runs, tiles, 1, 1);
        let cut = windows::cut(self.program, conv);
        Ok(TileConv::new(self.available, unit, layer, stored, cut, self.places.panels))
    }

    /// The kernel for one channel a group, where the instruction set has one and the halo holds the padding.
    fn depthwise(&self, conv: &Conv, windows: &Windows) -> Result<Option<Depthwise>, RunError> {
        let x = self.program.tensor(conv.x);
        let single = conv.groups == x.channels && conv.groups == conv.outputs;
        let Destination::Codes { y, lo, hi } = conv.destination else { return Ok(None) };
        if !single || windows.gather.is_some() {
            return Ok(None);
        }
        let (channels, kernel) = (x.channels as usize, conv.window.kernel.map(|k| k as usize));
        let depth = conv.depth(x);
        self.budget.take(Depthwise::most_bytes(channels, kernel).saturating_add(channels * depth))?;
        let view = self.view(conv.x);
        let dilation = conv.window.dilation.map(|d| d as usize);
        let source = depthwise::Source {
            codes: &pack::unpack(self.artifact.weights(conv), conv.outputs as usize, depth, conv.bits),
            biases: &self.artifact.biases(conv),
            multipliers: &self.artifact.multipliers(conv),
            bits: conv.bits.bits(),
            kernel,
            tap_steps: [dilation[0] * view.row, dilation[1] * view.pixel],
            channels,
            grid: windows.grid,
            y: self.view(y),
            clamp: self.clamp(y, lo, hi),
        };
        Ok(Depthwise::new(self.available, &source))
    }

    /// The step that copies a layer's windows to one strip, where that is worth it.
    fn strip(&self, conv: &Conv) -> Option<GatherRuns> {
        if !layout::gathers_strip(self.program, &self.places.dense, conv) {
            return None;
        }
        let x = self.program.tensor(conv.x);
        let from = self.tensor_windows(conv);
        let offsets = from.runs.iter().map(|run| run.offset).collect();
        Some(GatherRuns { from: from.grid, offsets, run_bytes: from.run_depth, to: self.windows(conv, x).grid })
    }

    /// The windows of a layer as runs over its input, whose halo holds the padding.
    fn tensor_windows(&self, conv: &Conv) -> Windows {
        let [height, width] = self.program.conv_output(conv).map(|extent| extent as usize);
        let window = &conv.window;
        let [kernel, stride, dilation] = [window.kernel, window.stride, window.dilation].map(|v| v.map(|v| v as usize));
        let [top, left, ..] = window.padding.map(|p| p as usize);
        let view = self.view(conv.x);
        let origin = view.offset - top * view.row - left * view.pixel;
        let grid = Grid { origin, row: stride[0] * view.row, pixel: stride[1] * view.pixel, height, width };
        let inputs = view.pixel / conv.groups as usize;
        let (run_depth, runs) = runs(kernel, inputs, [dilation[0] * view.row, dilation[1] * view.pixel]);
        Windows { grid, gather: None, inside: None, run_depth, runs }
    }

    /// The windows of a layer without what lies outside its input, where that is worth it.
    fn trimmed(&self, conv: &Conv, windows: &Windows) -> Option<Windows> {
        if windows.gather.is_some() || self.available.isa() == Isa::Scalar {
            return None;
        }
        let inside = windows::inside(self.program, conv)?;
        let view = self.view(conv.x);
        let [kernel, dilation] = [conv.window.kernel, conv.window.dilation].map(|v| v.map(|v| v as usize));
        let steps = [dilation[0] * view.row, dilation[1] * view.pixel];
        let runs = windows::tap_runs(kernel, view.pixel, steps);
        Some(Windows { inside: Some(inside), run_depth: view.pixel, runs, ..self.tensor_windows(conv) })
    }

    /// The windows of a layer: runs over the tensor itself where its halo holds the padding, else over gathered copies.
    fn windows(&self, conv: &Conv, x: &Tensor) -> Windows {
        let [height, width] = self.program.conv_output(conv).map(|extent| extent as usize);
        let window = &conv.window;
        let [kernel, stride, dilation] = [window.kernel, window.stride, window.dilation].map(|v| v.map(|v| v as usize));
        let [top, left, ..] = window.padding.map(|p| p as usize);
        let channels = x.channels as usize;
        let inputs = channels / conv.groups as usize;
        let view = self.view(conv.x);
        if layout::gathers_strip(self.program, &self.places.dense, conv) {
            let depth = (kernel[0] * kernel[1] * channels).next_multiple_of(TILE_DEPTH);
            let grid = Grid { origin: self.places.scratch, row: width * depth, pixel: depth, height, width };
            let (run_depth, runs) = runs(kernel, inputs, [kernel[1] * channels, channels]);
            return Windows { grid, gather: None, inside: None, run_depth, runs };
        }
        if layout::uses_halo(self.program, &self.places.dense, conv) {
            return self.tensor_windows(conv);
        }
        let depth = (kernel[0] * kernel[1] * channels).next_multiple_of(TILE_DEPTH);
        let gather = Gather { x: view, kernel, stride, dilation, before: [top, left], z: x.zero_point, width };
        let grid = Grid { origin: self.places.scratch, row: 0, pixel: depth, height, width };
        let (run_depth, runs) = runs(kernel, inputs, [kernel[1] * channels, channels]);
        Windows { grid, gather: Some(gather), inside: None, run_depth, runs }
    }
}

/// Most vectors of outputs in a block: fewer where the weights of a layer are used by few blocks, so that each is loaded, and unpacked,
/// once or twice.
fn block_vectors(windows: usize) -> usize {
    if (9..=16).contains(&windows) { 2 } else { 4 }
}

/// Whether an instruction set multiplies 8-bit weights as words.
pub(super) fn needs_words(isa: Isa) -> bool {
    matches!(isa, Isa::Avx2 | Isa::Avx512)
}
