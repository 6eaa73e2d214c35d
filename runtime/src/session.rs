//! The CPU session: load once, run many.
//!
//! [`Session::new`] plans everything that depends on the instruction set: where tensors lie, which kernel runs each operator, how
//! weights are laid out. [`Session::run`] calls the bound kernels in order; it allocates nothing and decides nothing.

mod bind;
mod layout;
mod pool;
mod trial;
mod weights;

use crate::RunError;
use crate::format::Artifact;
use crate::isa::Isa;
use crate::kernels::{AlignedBytes, Memory};
use bind::Step;
use pool::Pool;
use std::ops::Range;
use std::time::{Duration, Instant};

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
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { isa: None, threads: 1 }
    }
}

/// A network planned for this machine, with its memory.
pub struct Session {
    artifact: Artifact,
    isa: Isa,
    threads: usize,
    /// Where there is more than one thread.
    pool: Option<Pool>,
    steps: Vec<Step>,
    codes: AlignedBytes,
    floats: Vec<f32>,
    /// For each output of the network, its floats in `floats`.
    outputs: Vec<Range<usize>>,
    output_len: usize,
}

impl Session {
    /// Plans a network for an instruction set.
    ///
    /// # Errors
    /// [`RunError::Isa`] where the machine lacks the instruction set.
    pub fn new(artifact: &Artifact, options: SessionOptions) -> Result<Self, RunError> {
        Self::with_weights(artifact, options, WeightLayout::default())
    }

    /// The same, with weights in a given layout.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_weights(artifact: &Artifact, options: SessionOptions, weights: WeightLayout) -> Result<Self, RunError> {
        let available = options.isa.unwrap_or_else(Isa::detect).require()?;
        let program = artifact.program();
        let places = layout::plan(program, bind::needs_words(available.isa()));
        let steps = bind::steps(artifact, available, weights, &places);
        let mut codes = AlignedBytes::zeroed(places.arena_bytes);
        for (range, value) in &places.halos {
            codes[range.clone()].fill(*value);
        }
        let outputs: Vec<_> = program.outputs.iter().map(|(_, slot)| places.floats[slot.0 as usize].clone()).collect();
        let threads = options.threads.clamp(1, MAX_THREADS);
        let helps = threads > 1 && steps.iter().any(|step| step.shared);
        Ok(Session {
            artifact: artifact.clone(),
            isa: available.isa(),
            threads,
            pool: helps.then(|| Pool::new(threads)),
            steps,
            codes,
            floats: vec![0.0; places.float_count],
            output_len: outputs.iter().map(ExactSizeIterator::len).sum(),
            outputs,
        })
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

    /// Values of one input sample.
    pub fn input_len(&self) -> usize {
        self.artifact.program().input.len()
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

    /// Runs one sample: `input` in (channel, row, column) order, outputs one after the other.
    ///
    /// # Errors
    /// When `input` or `output` does not hold exactly one sample.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), RunError> {
        self.check(input.len(), self.input_len(), output.len(), self.output_len)?;
        self.sample(input, output);
        Ok(())
    }

    /// Runs the samples in `input`, one after the other; each row of `output` is what [`Session::run`] gives.
    ///
    /// # Errors
    /// When `input` is not whole samples, or `output` does not hold as many.
    pub fn run_batch(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), RunError> {
        let (input_len, output_len) = (self.input_len(), self.output_len);
        let samples = input.len() / input_len;
        self.check(input.len(), samples * input_len, output.len(), samples * output_len)?;
        for (x, y) in input.chunks_exact(input_len).zip(output.chunks_exact_mut(output_len)) {
            self.sample(x, y);
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
            let memory = Memory::new(&mut self.codes, &mut self.floats, input);
            times.iter_mut().for_each(|times| times.push(Duration::ZERO));
            let run = self.pool.as_ref().map(Pool::begin);
            for step in &self.steps {
                let start = Instant::now();
                step.run(&memory, run.as_ref());
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

    fn check(&self, input: usize, inputs: usize, output: usize, outputs: usize) -> Result<(), RunError> {
        if input != inputs || input == 0 {
            let port = &self.artifact.program().input;
            return Err(RunError::InputLength {
                name: port.name.clone(),
                found: input,
                dims: port.dims.clone(),
                required: port.len(),
            });
        }
        if output != outputs {
            return Err(RunError::OutputLength { found: output, required: outputs });
        }
        Ok(())
    }

    fn sample(&mut self, input: &[f32], output: &mut [f32]) {
        let memory = Memory::new(&mut self.codes, &mut self.floats, input);
        let run = self.pool.as_ref().map(Pool::begin);
        for step in &self.steps {
            step.run(&memory, run.as_ref());
        }
        drop(run);
        let mut start = 0;
        for range in &self.outputs {
            output[start..start + range.len()].copy_from_slice(&self.floats[range.clone()]);
            start += range.len();
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("isa", &self.isa).field("threads", &self.threads).finish_non_exhaustive()
    }
}
