//! The accelerator: the simulator equals the reference executor byte for byte, and executes what its program says.
#![cfg(feature = "encode")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod random_network;

use proptest::prelude::*;
use random_network::{random, sample};
use releqc_runtime::accel::{AccelProgram, Simulator, text};
use releqc_runtime::format::Artifact;
use releqc_runtime::reference::Reference;

fn bits(outputs: Vec<Vec<f32>>) -> Vec<Vec<u32>> {
    outputs.into_iter().map(|output| output.into_iter().map(f32::to_bits).collect()).collect()
}

fn simulate(artifact: &Artifact, input: &[f32]) -> Vec<Vec<u32>> {
    bits(Simulator::new(artifact).unwrap().run(input).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn simulator_equals_reference(seed in any::<u64>()) {
        let artifact = random(seed).artifact();
        let input = sample(&artifact, seed);
        let expected = bits(Reference::new(&artifact).run(&input).unwrap());
        prop_assert_eq!(simulate(&artifact, &input), expected);
    }

    #[test]
    fn assemble_inverts_disassemble(seed in any::<u64>()) {
        let artifact = random(seed).artifact();
        let program = AccelProgram::decode(artifact.accelerator()).unwrap();
        prop_assert_eq!(&text::assemble(&text::disassemble(&program, Some(artifact.program()))).unwrap(), &program);
        prop_assert_eq!(program.encode().unwrap(), artifact.accelerator());
    }
}
