//! Runs many samples through one of the three executors.

use crate::args::{Executor, IsaFlag, MachineFlag};
use crate::console;
use crate::failure::Failure;
use crate::machine;
use releqc_runtime::accel::Simulator;
use releqc_runtime::format::Artifact;
use releqc_runtime::reference::Reference;
use releqc_runtime::session::{Session, SessionOptions};
use std::num::NonZeroUsize;

/// What computes, chosen by the user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) executor: Executor,
    /// For the CPU executor.
    pub(crate) cpu: IsaFlag,
    /// Samples computed at the same time.
    pub(crate) threads: usize,
}

impl Choice {
    pub(crate) fn cpu(cpu: IsaFlag, threads: Option<usize>) -> Self {
        Choice { executor: Executor::Cpu, cpu, threads: threads.unwrap_or_else(all_cores) }
    }
}

pub(crate) fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

enum Engine {
    Cpu(Box<Session>, Vec<f32>),
    Reference(Reference),
    Accelerator(Box<Simulator>),
}

impl Engine {
    fn new(artifact: &Artifact, choice: Choice) -> Result<Self, Failure> {
        Ok(match choice.executor {
            Executor::Cpu => {
                let options = SessionOptions { threads: 1, ..choice.cpu.options() };
                let session = Session::new(artifact, options).map_err(Failure::input)?;
                let output = vec![0.0; session.output_len()];
                Engine::Cpu(Box::new(session), output)
            }
            Executor::Reference => Engine::Reference(Reference::new(artifact)),
            Executor::Accelerator => Engine::Accelerator(Box::new(simulator(artifact)?)),
        })
    }

    /// The outputs of one sample, in program order.
    fn run(&mut self, input: &[f32]) -> Result<Vec<Vec<f32>>, Failure> {
        match self {
            Engine::Cpu(session, output) => {
                session.run(input, output).map_err(Failure::defect)?;
                Ok(session.output_ranges().map(|range| output[range].to_vec()).collect())
            }
            Engine::Reference(reference) => reference.run(input).map_err(Failure::defect),
            Engine::Accelerator(simulator) => simulator.run(input).map_err(Failure::defect),
        }
    }
}

/// The simulated accelerator with the artifact's program.
pub(crate) fn simulator(artifact: &Artifact) -> Result<Simulator, Failure> {
    let (machine, program) = machine::of_artifact(artifact, &MachineFlag { machine: None })?;
    Simulator::with_program(artifact, &program, &machine.config)
        .map_err(|error| Failure::input(format!("accelerator program: {error}")))
}

/// Calls `result` with the outputs of each of `count` samples, which `read` provides; yields the results in sample order,
/// whatever the number of threads. `progress` is called once a sample.
pub(crate) fn map_samples<R: Send>(
    artifact: &Artifact,
    choice: Choice,
    count: usize,
    read: impl Fn(usize, &mut [f32]) + Sync,
    result: impl Fn(Vec<Vec<f32>>) -> R + Sync,
    progress: impl Fn() + Sync,
) -> Result<Vec<R>, Failure> {
    if choice.cpu.isa.is_some() && choice.executor != Executor::Cpu {
        return Err(Failure::input("--isa: only the cpu executor has instruction sets"));
    }
    let workers = choice.threads.clamp(1, count.max(1));
    let share = count.div_ceil(workers);
    let work = |first: usize| -> Result<Vec<R>, Failure> {
        let mut engine = Engine::new(artifact, choice)?;
        let mut input = vec![0.0; artifact.program().input_len()];
        let mut results = Vec::new();
        for index in first..(first + share).min(count) {
            if console::interrupted() {
                return Err(Failure::interrupted("interrupted"));
            }
            read(index, &mut input);
            results.push(result(engine.run(&input)?));
            progress();
        }
        Ok(results)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let spawned: Vec<_> = (1..workers).map(|worker| scope.spawn(move || work(worker * share))).collect();
        let first = work(0);
        let rest = spawned
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(Failure::defect("a worker thread ended unexpectedly"))));
        std::iter::once(first).chain(rest).collect()
    });
    let parts: Vec<Vec<R>> = parts.into_iter().collect::<Result<_, _>>()?;
    Ok(parts.into_iter().flatten().collect())
}
