//! Bytes of an artifact: what loads runs, in all executors to the same bytes.

use releqc_runtime::accel::{self, AccelConfig, Simulator};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::reference::Reference;
use releqc_runtime::session::WeightLayout;
use releqc_runtime::{Isa, RunError, Session, SessionOptions, text, verify};

/// Activations of a network that is run.
const MOST_ACTIVATIONS: u64 = 1 << 20;

/// Elementary steps of a network that is run: some milliseconds in the slowest executor.
const MOST_STEPS: u64 = 1 << 18;

/// Loads `bytes`; where they are an artifact, runs it.
///
/// # Panics
/// Where executors differ, or an artifact written again is not itself.
pub fn artifact(bytes: &[u8]) {
    let options = LoadOptions { activation_limit: MOST_ACTIVATIONS };
    let Ok(artifact) = Artifact::from_bytes(bytes, options) else { return };
    let program = artifact.program();
    let parts = ArtifactParts {
        metadata: artifact.metadata().clone(),
        program: program.clone(),
        constants: artifact.constants_section().to_vec(),
        weights: artifact.weights_section().to_vec(),
        accelerator: artifact.accelerator().to_vec(),
    };
    let again = Artifact::from_bytes(encode(&parts), options).expect("what was loaded loads again");
    assert_eq!(text::plan(again.program()), text::plan(program), "written and read");

    if verify::steps(program) > MOST_STEPS {
        return;
    }
    let seed = bytes.iter().fold(0u64, |seed, &byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let x = sample(seed, program.input_len());
    let expected = words(&Reference::new(&artifact).run(&x).expect("the length is right").concat());
    for isa in Isa::available() {
        let layout = [WeightLayout::Packed, WeightLayout::Widened][seed as usize % 2];
        let options = SessionOptions { isa: Some(isa), ..SessionOptions::default() };
        let mut session = match Session::with_weights(&artifact, options, layout) {
            Ok(session) => session,
            // Halos may take more than the format's bounds say.
            Err(RunError::Memory { .. }) => continue,
            Err(error) => panic!("{isa}: {error}"),
        };
        let mut y = vec![0.0; session.output_len()];
        session.run(&x, &mut y).expect("the lengths are right");
        assert_eq!(words(&y), expected, "{isa}, {layout:?}");
    }
    // Whatever accelerator program came with it may compute something else, but neither panics nor leaves its memory.
    drop(Simulator::new(&artifact));
    if let Ok(accelerator) = accel::lower(program, &AccelConfig::default()) {
        let artifact = Artifact::from_bytes(encode(&ArtifactParts { accelerator, ..parts }), options);
        let artifact = artifact.expect("an artifact with another accelerator program");
        let mut simulator = Simulator::new(&artifact).expect("a lowered program is accepted");
        let y = simulator.run(&x).expect("the length is right").concat();
        assert_eq!(words(&y), expected, "accelerator");
    }
}

/// Values of which most are small, some not finite.
pub fn sample(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut value = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        match state >> 58 {
            0 => f32::from_bits((state >> 20) as u32),
            _ => ((state >> 33) as i32 - (1 << 30)) as f32 / (1 << 28) as f32,
        }
    };
    (0..len).map(|_| value()).collect()
}

/// Bits of values, NaN included.
fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
