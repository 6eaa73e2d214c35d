//! Bytes of an ONNX model: what `check` supports compiles at 8 bits, and its executors agree.

use crate::artifact::sample;
use releqc_passes::annotate::annotate;
use releqc_passes::calibrate::{Ends, Granularity, Stated, calibrate};
use releqc_passes::compile::check;
use releqc_passes::emit::emit;
use releqc_passes::import::{ErrorKind, ImportOptions, import};
use releqc_passes::ir::Graph;
use releqc_passes::lower::{LowerError, lower};
use releqc_passes::quantize::quantize;
use releqc_passes::rewrite::{canonicalize, fold_batch_norm};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::{AccelConfig, AccelError, Simulator};
use releqc_runtime::format::{Artifact, LoadOptions, Metadata};
use releqc_runtime::reference::Reference;
use releqc_runtime::verify::steps;
use releqc_runtime::{RunError, Session, SessionOptions};

/// Values of all nodes, and products of all layers, of a network that is calibrated.
const MOST_VALUES: usize = 1 << 16;
const MOST_PRODUCTS: u64 = 1 << 20;

/// Elementary steps of an artifact that is run.
const MOST_STEPS: u64 = 1 << 22;

/// Samples that ranges are taken from; the first is run.
const SAMPLES: u64 = 2;

/// What became of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is no ONNX.
    Unreadable,
    /// `check` has findings.
    Refused,
    /// Too large to be tried.
    Large,
    /// Its values have no codes: what `check` does not look at.
    NotQuantized,
    /// It compiled, and was run.
    Compiled,
}

/// Checks a model; what is supported and small is compiled at 8 bits and run.
///
/// # Panics
/// Where import and `check` disagree, where a finding is a defect, where what is supported does not compile, and where executors differ.
pub fn model(bytes: &[u8]) -> Outcome {
    let options = ImportOptions::default();
    let imported = import(bytes, &options);
    let Ok(report) = check(bytes, &options) else {
        assert!(imported.is_err(), "check cannot read what is imported");
        return Outcome::Unreadable;
    };
    let defect = report.findings.iter().find(|finding| finding.kind == ErrorKind::Violation);
    assert!(defect.is_none(), "{defect:?}");
    if !report.findings.is_empty() {
        return Outcome::Refused;
    }
    let graph = imported.unwrap_or_else(|error| panic!("check has no findings, import has: {error}"));
    let values = |graph: &Graph| graph.nodes.iter().fold(0usize, |sum, node| sum.saturating_add(node.shape.len()));
    let products: u64 = graph.weight_layers().into_iter().fold(0, |sum, id| graph.macs(id).saturating_add(sum));
    if values(&graph) > MOST_VALUES || products > MOST_PRODUCTS {
        return Outcome::Large;
    }
    compiled(graph)
}

/// The graph at 8 bits, calibrated on samples in -4..4.
fn compiled(graph: Graph) -> Outcome {
    let canonical = canonicalize(graph).expect("check says that it can be rewritten");
    let folded = fold_batch_norm(&canonical);
    let samples: Vec<Vec<f32>> = (0..SAMPLES).map(|seed| sample(seed, folded.sample_len())).collect();
    let calibrated = calibrate(canonical, folded, &samples, &Stated::default(), Ends::LeastError, Granularity::Tensor);
    let layers = calibrated.folded.weight_layers().len();
    let Ok(quantized) = quantize(annotate(&calibrated, &vec![BitWidth::MAX; layers])) else {
        return Outcome::NotQuantized;
    };
    let lowered = match lower(&quantized) {
        Ok(lowered) => lowered,
        Err(LowerError::Quantize(_)) => return Outcome::NotQuantized,
        Err(error) => panic!("check has no findings, lowering has: {error}\n{quantized}"),
    };
    let bytes = emit(lowered, Metadata::new(), &AccelConfig::default());
    let bytes = bytes.unwrap_or_else(|error: AccelError| panic!("no accelerator program: {error}\n{quantized}"));
    let artifact = Artifact::from_bytes(bytes, LoadOptions::default());
    let artifact = artifact.unwrap_or_else(|error| panic!("its own loader refuses it: {error}\n{quantized}"));
    if steps(artifact.program()) > MOST_STEPS {
        return Outcome::Large;
    }
    let x = &samples[0];
    let expected = words(&Reference::new(&artifact).run(x).expect("the length is right").concat());
    match Session::new(&artifact, SessionOptions::default()) {
        Ok(mut session) => {
            let mut y = vec![0.0; session.output_len()];
            session.run(x, &mut y).expect("the lengths are right");
            assert_eq!(words(&y), expected, "session and reference\n{quantized}");
        }
        Err(RunError::Memory { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let mut simulator = Simulator::new(&artifact).expect("an emitted program is accepted");
    let y = simulator.run(x).expect("the length is right").concat();
    assert_eq!(words(&y), expected, "simulator and reference\n{quantized}");
    Outcome::Compiled
}

fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
