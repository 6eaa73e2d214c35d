//! Bytes or text of an accelerator program, on a network of its own choice: what is accepted runs, and its text says all of it.

use crate::artifact::sample;
use crate::random_network::{random, small};
use releqc_runtime::accel::config::CONFIG_HASH_BYTES;
use releqc_runtime::accel::cost::{CostModel, timeline};
use releqc_runtime::accel::step::Sections;
use releqc_runtime::accel::text::{assemble, disassemble};
use releqc_runtime::accel::{AccelConfig, AccelProgram, Simulator};
use releqc_runtime::format::Artifact;
use std::sync::LazyLock;

/// Networks that a program may be for; the first byte of an input chooses.
pub const NETWORKS: u64 = 8;

/// Cycles of all queues of a program that is run.
const MOST_CYCLES: u64 = 1 << 17;

/// Values of the host memory of a program that is run.
const MOST_HOST_VALUES: u32 = 1 << 18;

static ARTIFACTS: LazyLock<Vec<Artifact>> = LazyLock::new(|| (0..NETWORKS).map(network).collect());

/// One of the networks.
pub fn network(number: u64) -> Artifact {
    if number == 0 { small().artifact() } else { random(number).artifact() }
}

/// Decodes a program, whatever machine it says it was made for, and runs it where it is accepted.
///
/// # Panics
/// Where the program and its text or bytes differ.
pub fn accelerator(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let Ok(mut program) = AccelProgram::decode(bytes) else { return };
    let again = program.encode().expect("what was decoded can be encoded");
    assert_eq!(again, bytes, "decoded and encoded");
    let text = disassemble(&program, None);
    let assembled = assemble(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(assembled, program, "disassembled and assembled:\n{text}");
    program.config_hash = AccelConfig::default().hash();
    run(&program, &ARTIFACTS[usize::from(*choice) % ARTIFACTS.len()]);
}

/// Assembles text; where that is a program, its bytes and its own text say the same.
///
/// # Panics
/// Where they do not.
pub fn assembler(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(mut program) = assemble(text) else { return };
    let artifact = &ARTIFACTS[usize::from(*choice) % ARTIFACTS.len()];
    let written = disassemble(&program, Some(artifact.program()));
    let assembled = assemble(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(assembled, program, "assembled, disassembled and assembled:\n{written}");
    if let Ok(bytes) = program.encode() {
        assert_eq!(AccelProgram::decode(&bytes).as_ref(), Ok(&program), "encoded and decoded");
    }
    let hash: [u8; CONFIG_HASH_BYTES] = AccelConfig::default().hash();
    program.config_hash = hash;
    run(&program, artifact);
}

/// Runs an accepted program.
fn run(program: &AccelProgram, artifact: &Artifact) {
    let (model, network) = (CostModel::default(), artifact.program());
    let sections =
        Sections { weights: artifact.weights_section().len(), constants: artifact.constants_section().len() };
    let Ok(timeline) = timeline(program, sections, network, &model) else { return };
    let cycles: u64 = timeline.spans.iter().fold(0, |sum, span| sum.saturating_add(span.compute));
    if cycles > MOST_CYCLES || program.host_values > MOST_HOST_VALUES {
        return;
    }
    let Ok(mut simulator) = Simulator::with_program(artifact, program, &model.config) else { return };
    let x = sample(cycles, network.input_len());
    let outputs = simulator.run(&x).expect("the length is right");
    assert_eq!(outputs.len(), network.outputs.len(), "one vector an output");
}
