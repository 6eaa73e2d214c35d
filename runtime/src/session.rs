//! The CPU session: load once, run many.
//!
//! [`Session::new`] plans everything that depends on the instruction set: where tensors lie, which kernel runs each operator, how
//! weights are laid out. [`Session::run`] calls the bound kernels in order; it allocates nothing and decides nothing.

mod amx;
mod axes;
mod bind;
mod budget;
mod layout;
mod threads;
mod trial;
mod weights;
mod windows;

use crate::float;
use crate::format::Artifact;
#[cfg(feature = "encode")]
use crate::isa::EmulatedTiles;
use crate::isa::{Available, Features, Isa};
use crate::kernels::{AlignedBytes, Borrowed, Input, Values, View};
use crate::program::{Op, Program};
use crate::{Pixels, RunError};
use bind::Step;
use budget::Budget;
use layout::Room;
use std::ops::Range;
use std::time::{Duration, Instant};
use threads::Threads;

pub use crate::kernels::limits::{measure_products, measure_reads};
pub use weights::WeightLayout;

/// Most threads of a session.
pub const MAX_THREADS: usize = 256;

/// How a session runs.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Instruction set; the best of the machine where `None`.
    pub isa: Option<Isa>,
    /// Number of threads, `1..=MAX_THREADS`. Results do not depend on it; layers too small to gain run on one.
    pub threads: usize,
    /// CPU features not to use even where the machine has them: results do not depend on them, times do.
    pub without: Features,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { isa: None, threads: 1, without: Features::NONE }
    }
}

/// A network planned for this machine, with its memory.
pub struct Session {
    artifact: Artifact,
    isa: Isa,
    threads: usize,
    /// Where there is more than one thread.
    workers: Option<Threads>,
    steps: Vec<Step>,
    /// Samples computed at a time in a batch.
    samples: usize,
    /// Memory of each.
    room: Room,
    /// How pixels become inputs, where that is known.
    pixels: Option<Pixels>,
    /// Where each tensor lies.
    views: Vec<View>,
    codes: AlignedBytes,
    floats: Vec<f32>,
    /// Where the values of each output of the network lie.
    outputs: Vec<Values>,
    input_len: usize,
    output_len: usize,
}

impl Session {
    /// Plans a network for an instruction set.
    ///
    /// # Errors
    /// [`RunError::Isa`] where the machine lacks the instruction set, [`RunError::Memory`] where the session would need more than 4 GiB.
    pub fn new(artifact: &Artifact, options: SessionOptions) -> Result<Self, RunError> {
        Self::with_weights(artifact, options, WeightLayout::default())
    }

    /// The same, for batches: [`Session::run_batch`] computes `samples` samples at a time, step by step, and their fully connected
    /// layers load each weight once for all of them. Takes the memory of as many samples.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn for_batches(artifact: &Artifact, options: SessionOptions, samples: usize) -> Result<Self, RunError> {
        Self::planned(artifact, options, WeightLayout::default(), samples.max(1))
    }

    /// The same, with weights in a given layout.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_weights(artifact: &Artifact, options: SessionOptions, weights: WeightLayout) -> Result<Self, RunError> {
        Self::planned(artifact, options, weights, 1)
    }

    fn planned(
        artifact: &Artifact,
        options: SessionOptions,
        weights: WeightLayout,
        samples: usize,
    ) -> Result<Self, RunError> {
        let available = options.isa.unwrap_or_else(Isa::detect).require()?.without(options.without);
        Self::plan(artifact, available, weights, options.threads, samples)
    }

    /// Plans a network for the best instruction set below AMX, with emulated tiles in the place of its tile unit: for tests on machines
    /// without one.
    #[doc(hidden)]
    #[cfg(feature = "encode")]
    pub fn with_emulated_tiles(artifact: &Artifact, tiles: EmulatedTiles, threads: usize) -> Result<Self, RunError> {
        Self::plan(artifact, Available::with_emulated_tiles(tiles), WeightLayout::default(), threads, 1)
    }

    fn plan(
        artifact: &Artifact,
        available: Available,
        weights: WeightLayout,
        threads: usize,
        samples: usize,
    ) -> Result<Self, RunError> {
        let program = artifact.program();
        let panels_bytes = available.tiles().map_or(0, |unit| amx::panels_bytes(unit, program));
        let places = layout::plan(program, bind::needs_words(available.isa()), panels_bytes);
        let (room, budget) = (places.room(), Budget::default());
        let all = room.times(samples, &budget)?;
        let steps = bind::steps(artifact, available, weights, &places, samples, all, &budget)?;
        let mut codes = AlignedBytes::zeroed(all.codes);
        for codes in codes[..all.codes].chunks_exact_mut(room.codes) {
            for (range, value) in &places.halos {
                codes[range.clone()].fill(*value);
            }
        }
        let outputs: Vec<_> = program.outputs.iter().map(|(_, slot)| places.floats[slot.0 as usize].clone()).collect();
        let threads = threads.clamp(1, MAX_THREADS);
        let helps = threads > 1 && steps.iter().any(|step| step.shared);
        let mut session = Session {
            artifact: artifact.clone(),
            isa: available.isa(),
            threads,
            workers: helps.then(|| Threads::new(threads)),
            steps,
            codes,
            floats: vec![0.0; all.floats],
            samples,
            room,
            input_len: program.input_len(),
            output_len: outputs.iter().map(Values::len).sum(),
            outputs,
            pixels: None,
            views: places.views,
        };
        // An artifact may record what does not fit its input; `run_u8` then asks for more.
        let _ = Pixels::recorded(artifact.metadata()).map(|pixels| session.set_pixels(pixels));
        Ok(session)
    }

    /// States how the pixels of [`Session::run_u8`] become inputs, instead of what the artifact records.
    ///
    /// # Errors
    /// [`RunError::Pixels`] where that does not fit the network's input.
    pub fn set_pixels(&mut self, pixels: Pixels) -> Result<(), RunError> {
        let program = self.artifact.program();
        let channels = pixel_channels(program).ok_or_else(|| {
            let what = "the network has several inputs, or reads its input as floats too";
            RunError::Pixels(what.to_owned())
        })?;
        pixels.check(channels as usize)?;
        bind::read_pixels(&mut self.steps, program, &self.views, self.room.codes, &pixels);
        self.pixels = Some(pixels);
        Ok(())
    }

    /// How pixels become inputs: what the artifact records or was set.
    pub fn pixels(&self) -> Option<&Pixels> {
        self.pixels.as_ref()
    }

    /// The instruction set it was planned for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The artifact it runs.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Values of one sample of all inputs.
    pub fn input_len(&self) -> usize {
        self.input_len
    }

    /// Values of one sample of all outputs.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// Where each output of the network lies in the output of a run, in program order.
    pub fn output_ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.outputs.iter().scan(0, |end, output| {
            let start = *end;
            *end += output.len();
            Some(start..*end)
        })
    }

    /// Runs one sample: all inputs one after the other, each in the order of ONNX; outputs likewise.
    ///
    /// # Errors
    /// When `input` or `output` does not hold exactly one sample.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), RunError> {
        self.check(input.len(), self.input_len(), output.len(), self.output_len)?;
        self.sample(Input::Floats(input), output);
        Ok(())
    }

    /// Runs one sample of pixels in the order of ONNX: what [`Session::run`] gives for the values that [`Pixels::value`] makes
    /// of them.
    ///
    /// # Errors
    /// When `pixels` or `output` does not hold exactly one sample, or [`RunError::Pixels`] where it is not known how pixels become inputs.
    pub fn run_u8(&mut self, pixels: &[u8], output: &mut [f32]) -> Result<(), RunError> {
        self.check(pixels.len(), self.input_len(), output.len(), self.output_len)?;
        if self.pixels.is_none() {
            let what = "the artifact records no preprocessing that fits its input; state mean and standard deviation";
            return Err(RunError::Pixels(what.to_owned()));
        }
        self.sample(Input::Pixels(pixels), output);
        Ok(())
    }

    /// Runs the samples in `input`, as many at a time as the session was planned for; each row of `output` is what [`Session::run`] gives.
    ///
    /// # Errors
    /// When `input` is not whole samples, or `output` does not hold as many.
    pub fn run_batch(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), RunError> {
        let (input_len, output_len) = (self.input_len(), self.output_len);
        let samples = input.len() / input_len;
        self.check(input.len(), samples * input_len, output.len(), samples * output_len)?;
        let many = if self.samples > 1 { samples / self.samples * self.samples } else { 0 };
        let (batches, rest) = input.split_at(many * input_len);
        let (batch_outputs, rest_outputs) = output.split_at_mut(many * output_len);
        let sizes = [self.samples * input_len, self.samples * output_len];
        for (x, y) in batches.chunks_exact(sizes[0]).zip(batch_outputs.chunks_exact_mut(sizes[1])) {
            self.batch(x, y);
        }
        for (x, y) in rest.chunks_exact(input_len).zip(rest_outputs.chunks_exact_mut(output_len)) {
            self.sample(Input::Floats(x), y);
        }
        Ok(())
    }

    /// The time each operator takes: the median of `rounds` runs after one that does not count, in program order.
    ///
    /// # Errors
    /// When `input` does not hold exactly one sample.
    pub fn profile(&mut self, input: &[f32], rounds: usize) -> Result<Vec<Duration>, RunError> {
        self.check(input.len(), self.input_len(), self.output_len, self.output_len)?;
        let mut times = vec![Vec::with_capacity(rounds + 1); self.artifact.program().ops.len()];
        for _ in 0..=rounds {
            let mut memory = Borrowed::new(&mut self.codes, &mut self.floats, Input::Floats(input));
            times.iter_mut().for_each(|times| times.push(Duration::ZERO));
            let run = self.workers.as_ref().map(Threads::begin);
            for step in &self.steps {
                let start = Instant::now();
                step.run(&mut memory, run.as_ref());
                if let Some(time) = times[step.op].last_mut() {
                    *time += start.elapsed();
                }
            }
        }
        let median = |times: &mut Vec<Duration>| {
            // The first run warms the caches.
            let counted = if rounds == 0 { &mut times[..] } else { &mut times[1..] };
            counted.sort_unstable();
            counted[counted.len() / 2]
        };
        Ok(times.iter_mut().map(median).collect())
    }

    /// Bytes of weights that each operator reads in a run, in program order: packed or widened, as it was planned.
    pub fn weight_bytes(&self) -> Vec<usize> {
        let mut bytes = vec![0; self.artifact.program().ops.len()];
        for step in &self.steps {
            bytes[step.op] += step.kernel.weight_bytes();
        }
        bytes
    }

    fn check(&self, input: usize, inputs: usize, output: usize, outputs: usize) -> Result<(), RunError> {
        if input != inputs || input == 0 {
            return Err(RunError::input_length(self.artifact.program(), input));
        }
        if output != outputs {
            return Err(RunError::OutputLength { found: output, required: outputs });
        }
        Ok(())
    }

    /// Computes as many samples as the session was planned for, all of them in each step.
    fn batch(&mut self, input: &[f32], output: &mut [f32]) {
        let run = self.workers.as_ref().map(Threads::begin);
        let Room { codes, floats } = self.room;
        let len = input.len() / self.samples;
        for step in &self.steps {
            let mut all = Borrowed::new(&mut self.codes, &mut self.floats, Input::Floats(&[]));
            if step.run_batched(&mut all, run.as_ref()) {
                continue;
            }
            for (i, (x, codes)) in input.chunks_exact(len).zip(self.codes.chunks_exact_mut(codes)).enumerate() {
                let floats = &mut self.floats[i * floats..][..floats];
                step.run(&mut Borrowed::new(codes, floats, Input::Floats(x)), run.as_ref());
            }
        }
        for (i, output) in output.chunks_exact_mut(self.output_len).enumerate() {
            copy_outputs(&self.outputs, &input[i * len..][..len], &self.floats[i * floats..][..floats], output);
        }
    }

    fn sample(&mut self, input: Input, output: &mut [f32]) {
        let mut memory = Borrowed::new(&mut self.codes, &mut self.floats, input);
        let run = self.workers.as_ref().map(Threads::begin);
        match input {
            Input::Floats(_) => self.steps.iter().for_each(|step| step.run(&mut memory, run.as_ref())),
            Input::Pixels(_) => self.steps.iter().for_each(|step| step.run_pixels(&mut memory, run.as_ref())),
        }
        // Pixels come only where no output is an input.
        let input = if let Input::Floats(input) = input { input } else { &[] };
        copy_outputs(&self.outputs, input, &self.floats, output);
    }
}

/// The outputs of a sample, one after the other.
fn copy_outputs(outputs: &[Values], input: &[f32], floats: &[f32], mut to: &mut [f32]) {
    for place in outputs {
        let (this, rest) = to.split_at_mut(place.len());
        match place {
            Values::Input(range) => {
                this.iter_mut().zip(&input[range.clone()]).for_each(|(to, &value)| *to = float::canonical(value));
            }
            Values::Slot(range) => this.copy_from_slice(&floats[range.clone()]),
        }
        to = rest;
    }
}

/// Channels of the input as pixels; `None` where there are several inputs, or one that is not only quantized.
fn pixel_channels(program: &Program) -> Option<u32> {
    let [(_, input)] = program.inputs[..] else { return None };
    if program.outputs.iter().any(|(_, slot)| *slot == input) {
        return None;
    }
    let mut channels = None;
    for op in program.ops.iter().filter(|op| op.reads_floats().contains(&input)) {
        let Op::Quantize { y, .. } = op else { return None };
        let found = program.tensor(*y).channels;
        if channels.replace(found).is_some_and(|other| other != found) {
            return None;
        }
    }
    channels
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("isa", &self.isa).field("threads", &self.threads).finish_non_exhaustive()
    }
}
