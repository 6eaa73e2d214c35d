//! The integer network stays near the float one, at 8 bits nearer than at 4, for every operator of the zoo's test nets.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use releqc_models::TEST_NETS;
use releqc_passes::annotate::annotate;
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::equalize::Equalization;
use releqc_passes::float_exec::FloatExecutor;
use releqc_passes::ir::Graph;
use releqc_passes::lower::lower;
use releqc_passes::quantize::quantize;
use releqc_passes::random::{Purpose, stream};
use releqc_passes::synthesize::{InputRange, synthesize};
use releqc_runtime::BitWidth;
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::reference::Reference;

/// Root mean square of the difference over that of the float outputs, on synthesised samples.
fn relative_error(graph: &Graph, bits: u8) -> f64 {
    let range = InputRange::of(graph, None, &[]);
    let samples = synthesize(graph, &range, 32, stream(7, Purpose::Synthesis));
    let calibrated = calibrate(
        graph.clone(),
        graph.clone(),
        &samples,
        &Stated::default(),
        Ends::LeastError,
        Granularity::Channel(Equalization::CANDIDATES[1]),
    );
    let widths = vec![BitWidth::new(bits).unwrap(); graph.weight_layers().len()];
    let lowered = lower(&quantize(annotate(&calibrated, &widths)).unwrap()).unwrap();
    let (program, constants, weights) = (lowered.program, lowered.constants, lowered.weights);
    let parts = ArtifactParts { program, constants, weights, ..ArtifactParts::default() };
    let artifact = Artifact::from_bytes(encode(&parts), LoadOptions::default()).unwrap();
    let reference = Reference::new(&artifact);
    let executor = FloatExecutor::new(graph);
    let (mut error, mut power) = (0.0, 0.0);
    for sample in &samples {
        let expected = executor.run(sample, |_, _| ()).remove(0);
        let found = reference.run(sample).unwrap().remove(0);
        for (e, f) in expected.iter().zip(&found) {
            error += f64::from(e - f).powi(2);
            power += f64::from(*e).powi(2);
        }
    }
    (error / power).sqrt()
}

/// Rounding of weights and activations to 8 bits moves the outputs of these nets by about one part in a hundred.
const TOLERANCE_8_BITS: f64 = 0.03;

#[test]
fn eight_bits_are_near_and_four_bits_farther() {
    for (name, net) in TEST_NETS {
        let graph = net();
        let (eight, four) = (relative_error(&graph, 8), relative_error(&graph, 4));
        println!("{name}: relative error {eight:.4} at 8 bits, {four:.4} at 4");
        assert!(eight < TOLERANCE_8_BITS, "{name}: {eight}");
        assert!(four > eight && four < 0.5, "{name}: {four} at 4 bits, {eight} at 8");
    }
}
