//! Which accelerator a command is about.

use crate::args::MachineFlag;
use crate::failure::Failure;
use crate::input::{require_file, unreadable};
use releqc_passes::machine::{MAX_TEXT, Machine};
use releqc_runtime::accel::cost::{CostModel, EnergyModel};
use releqc_runtime::accel::{AccelError, AccelProgram, lower};
use releqc_runtime::format::Artifact;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The preset of a name, or the description in a file.
pub(crate) fn named(name: &str) -> Result<Machine, Failure> {
    if let Some(machine) = Machine::preset(name) {
        return Ok(machine);
    }
    let path = Path::new(name);
    if !path.exists() {
        let presets = Machine::names().collect::<Vec<_>>().join(", ");
        return Err(Failure::input(format!("--machine {name}: neither a file nor one of {presets}")));
    }
    require_file(path)?;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    // One byte more than is read, so that what is too long is seen.
    file.take(MAX_TEXT as u64 + 1).read_to_string(&mut text).map_err(|error| unreadable(path, &error))?;
    Machine::read(name, &text).map_err(|error| Failure::input(format!("--machine {name}: {error}")))
}

/// What a compilation aims at.
pub(crate) fn of_flag(flag: &MachineFlag) -> Result<CostModel, Failure> {
    flag.machine.as_deref().map_or_else(|| Ok(CostModel::default()), |name| Ok(model(&named(name)?)))
}

/// Sizes and energies of a machine.
pub(crate) fn model(machine: &Machine) -> CostModel {
    let energy = machine.energies().map_or_else(EnergyModel::default, |table| table.model);
    CostModel { config: machine.config, energy }
}

/// The machine of a flag, or else the one that an artifact was compiled for, and the artifact's program for it: lowered again where
/// it was compiled for another.
pub(crate) fn of_artifact(artifact: &Artifact, flag: &MachineFlag) -> Result<(Machine, AccelProgram), Failure> {
    let refused = |error| Failure::input(format!("accelerator program: {error}"));
    let decoded = AccelProgram::decode(artifact.accelerator());
    let machine = match (&flag.machine, &decoded) {
        (Some(name), _) => named(name)?,
        (None, Err(error)) => return Err(refused(error.clone())),
        (None, Ok(program)) => Machine::of_program(program).ok_or_else(|| {
            Failure::input("the artifact was compiled for a machine that is no preset; --machine must name it")
        })?,
    };
    match decoded {
        Ok(program) if program.config_hash == machine.config.hash() => return Ok((machine, program)),
        // Another machine's program, an older instruction set, or none: the plan has all that is needed.
        Ok(_) | Err(AccelError::Isa { .. } | AccelError::Missing) => {}
        Err(error) => return Err(refused(error)),
    }
    let program = lower::program(artifact.program(), &machine.config).map_err(refused)?;
    Ok((machine, program))
}
