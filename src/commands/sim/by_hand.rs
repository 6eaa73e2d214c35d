//! A program by hand: assembled, checked, costed and run without an artifact.

use crate::args::Sim;
use crate::failure::Failure;
use crate::input::{require_file, unreadable};
use crate::machine;
use crate::output::Output;
use crate::report::grouped;
use releqc_passes::data::npy::{self, Values};
use releqc_passes::machine::Machine;
use releqc_runtime::accel::Simulator;
use releqc_runtime::accel::cost::{ProgramCost, program_cost};
use releqc_runtime::accel::step::Sections;
use releqc_runtime::accel::text::{Assembly, assemble_by_hand};
use releqc_runtime::program::Program;
use serde::Serialize;
use std::fmt::Write;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest text that is read, in bytes.
const MAX_TEXT: u64 = 1 << 24;

/// What a program by hand costs and returns.
#[derive(Serialize)]
pub(super) struct Report {
    machine: String,
    serial: &'static str,
    instructions: usize,
    cycles: u64,
    bound_cycles: u64,
    clock_mhz: u32,
    energy_pj: f64,
    dram_bytes: u64,
    weight_bytes: usize,
    load: super::report::Queue,
    execute: super::report::Queue,
    store: super::report::Queue,
    /// The values of each RETURN.
    returned: Vec<Vec<f32>>,
    files: Vec<PathBuf>,
}

fn text(path: &Path) -> Result<String, Failure> {
    require_file(path)?;
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut text = String::new();
    file.take(MAX_TEXT + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > MAX_TEXT {
        return Err(Failure::input(format!("{}: longer than {MAX_TEXT} bytes", path.display())));
    }
    Ok(text)
}

/// The start of the host memory, row by row.
fn memory(path: &Path) -> Result<Vec<f32>, Failure> {
    require_file(path)?;
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let array = npy::read(&mut BufReader::new(file)).map_err(|error| unreadable(path, &error))?;
    Ok(match array.values {
        Values::F32(values) => values,
        Values::U8(values) => values.into_iter().map(f32::from).collect(),
        Values::I8(values) => values.into_iter().map(f32::from).collect(),
        Values::Integers(values) => values.into_iter().map(|value| value as f32).collect(),
    })
}

/// `y.npy`, `y.activations.npy` and `y.arena.npy`.
fn files(first: &Path) -> [PathBuf; 3] {
    let beside = |name: &str| {
        let mut file = first.file_stem().unwrap_or_default().to_owned();
        file.push(format!(".{name}.npy"));
        first.with_file_name(file)
    };
    [first.to_owned(), beside("activations"), beside("arena")]
}

pub(super) fn execute(program: &Path, args: &Sim) -> Result<Report, Failure> {
    let machine = machine::named(args.machine.machine.as_deref().unwrap_or("default"))?;
    let inputs: Vec<&Path> = [Some(program), args.memory.as_deref()].into_iter().flatten().collect();
    let places: Vec<Output> = match &args.output {
        Some(first) => files(first).iter().map(|path| Output::at(path, &inputs)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let model = machine::model(&machine);
    let refused = |error| Failure::input(format!("{}: {error}", program.display()));
    let assembly = assemble_by_hand(&text(program)?, &model.config).map_err(refused)?;
    let mut simulator = Simulator::bare(&assembly, &model.config).map_err(refused)?;
    let sections = Sections { weights: assembly.weights.len(), constants: assembly.constants.len() };
    let cost = program_cost(&assembly.program, sections, &Program::default(), &model).map_err(refused)?;
    let input = match &args.memory {
        Some(path) => memory(path)?,
        None => vec![0.0; assembly.program.input_values as usize],
    };
    let returned = simulator.run(&input).map_err(|error| Failure::input(format!("--memory: {error}")))?;
    if let [host, activations, arena] = &places[..] {
        let codes = |codes: &[u8]| codes.iter().map(|&code| f32::from(code)).collect::<Vec<_>>();
        let memories =
            [simulator.host_memory().to_vec(), codes(simulator.activation_buffer()), codes(simulator.arena())];
        for (place, values) in [host, activations, arena].into_iter().zip(memories) {
            place.write(|mut out| npy::write(&mut out, &[values.len()], &values))?;
        }
    }
    let files = places.iter().map(|place| place.path().to_owned()).collect();
    Ok(Report::new(&machine, &assembly, &cost, returned, files))
}

impl Report {
    fn new(
        machine: &Machine,
        assembly: &Assembly,
        cost: &ProgramCost,
        returned: Vec<Vec<f32>>,
        files: Vec<PathBuf>,
    ) -> Self {
        let [load, execute, store] = [0, 1, 2].map(|queue| super::report::Queue::from(&cost.queues[queue]));
        Report {
            machine: machine.name.clone(),
            serial: machine.config.serial.name(),
            instructions: assembly.program.instructions.len(),
            cycles: cost.cycles.0,
            bound_cycles: cost.bound.0,
            clock_mhz: machine.config.clock_mhz,
            energy_pj: cost.energy.total().0,
            dram_bytes: cost.events.dram_bytes,
            weight_bytes: assembly.weights.len(),
            load,
            execute,
            store,
            returned,
            files,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "machine {}, serial {}: {} instructions, {} cycles, at least {}; {:.1} nJ; {} bytes of DRAM\n",
            self.machine,
            self.serial,
            self.instructions,
            grouped(self.cycles),
            grouped(self.bound_cycles),
            self.energy_pj / 1000.0,
            grouped(self.dram_bytes),
        );
        text += &super::report::queues(&[("load", &self.load), ("execute", &self.execute), ("store", &self.store)]);
        for values in &self.returned {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "returned {values:?}");
        }
        for file in &self.files {
            let _ = writeln!(text, "written {}", file.display());
        }
        text
    }
}
