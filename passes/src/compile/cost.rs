//! What the reward counts as cost: tables layer x width, simulated or measured on this machine.

use super::{CompileError, CompileOptions, CostKind, build};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::search::{Answer, CostModel, EvaluationStore, LayerFacts, Question};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{CostModel as AcceleratorModel, LayerEstimate, LayerShape};
use releqc_runtime::program;
use releqc_runtime::session::{Session, SessionOptions};

/// The cost table that the reward counts. A measured one is kept in `store` under `key`: measured again it would be another, and a resumed search
/// would go another way.
pub(super) fn cost_model(
    layers: &[LayerFacts],
    calibrated: &Calibrated,
    options: &CompileOptions,
    store: &mut EvaluationStore,
    key: &str,
) -> Result<CostModel, CompileError> {
    Ok(match options.cost {
        CostKind::Paper => CostModel::paper(layers),
        CostKind::Mean => CostModel::mean(layers.len()),
        CostKind::Size => CostModel::size(layers),
        CostKind::Accelerator => {
            let cycles = accelerator(calibrated, &options.accelerator, |cost| cost.cycles.0 as f64)?;
            CostModel::measured("accelerator", &cycles)?
        }
        CostKind::Energy => {
            CostModel::measured("energy", &accelerator(calibrated, &options.accelerator, |cost| cost.energy.0)?)?
        }
        CostKind::Cpu => {
            let question = Question::Costs { key: key.to_owned() };
            if store.get(&question)?.is_none() {
                store.put(&question, &Answer::Costs(latencies(calibrated)?))?;
            }
            match store.get(&question)? {
                Some(Answer::Costs(costs)) => CostModel::measured("cpu", &costs)?,
                _ => unreachable!("a store checks the kind of an answer, and keeps it"),
            }
        }
    })
}

/// `[layer][bits - 2]` of the closed form: no program is built for it.
pub(super) fn accelerator(
    calibrated: &Calibrated,
    model: &AcceleratorModel,
    of: impl Fn(&LayerEstimate) -> f64,
) -> Result<Vec<Vec<f64>>, CompileError> {
    let artifact = build(annotate(calibrated, &vec![BitWidth::MAX; calibrated.folded.weight_layers().len()]))?;
    let program = artifact.program();
    let row = |conv| BitWidth::all().map(|bits| of(&model.layer(&LayerShape::of(program, conv), bits))).collect();
    Ok(program.convs().map(row).collect())
}

/// Timed runs of each width; the median of a layer counts.
const TIMED_RUNS: usize = 30;

/// `[layer][bits - 2]`, microseconds of each layer with the whole network at that width.
pub(super) fn latencies(calibrated: &Calibrated) -> Result<Vec<Vec<f64>>, CompileError> {
    let layers = calibrated.folded.weight_layers().len();
    let mut rows = vec![Vec::new(); layers];
    for bits in BitWidth::all() {
        let artifact = build(annotate(calibrated, &vec![bits; layers]))?;
        let mut session = Session::new(&artifact, SessionOptions::default())?;
        let input = vec![0.5; session.input_len()];
        let times = session.profile(&input, TIMED_RUNS)?;
        let convs = artifact.program().ops.iter().zip(times).filter(|(op, _)| matches!(op, program::Op::Conv(_)));
        for (row, (_, time)) in rows.iter_mut().zip(convs) {
            row.push(time.as_secs_f64() * 1e6 + f64::MIN_POSITIVE);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Ends, Granularity, Stated, calibrate};
    use crate::compile::environment::facts;
    use crate::equalize::Equalization;
    use crate::import;
    use crate::rewrite::{canonicalize_observed, fold_batch_norm};

    /// One of the zoo's networks, which holds depthwise and grouped layers.
    fn network(name: &str) -> Calibrated {
        let path = format!("{}/../models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let graph = import::from_onnx(&std::fs::read(path).expect("the zoo is there")).expect("imports");
        let graph = canonicalize_observed(graph, |_, _| ()).expect("canonical");
        let folded = fold_batch_norm(&graph);
        let sample: Vec<f32> = (0..graph.input_shape().len()).map(|i| (i % 7) as f32 - 3.0).collect();
        calibrate(
            graph,
            folded,
            &[sample],
            &Stated::default(),
            Ends::LeastError,
            Granularity::Channel(Equalization::CANDIDATES[1]),
        )
    }

    #[test]
    fn size_is_what_the_artifact_holds() {
        for name in ["tiny_residual", "tiny_branches", "lenet"] {
            let calibrated = network(name);
            let layers = facts(&calibrated.folded);
            let cost = CostModel::size(&layers);
            for bits in BitWidth::all() {
                let widths = vec![bits; layers.len()];
                let artifact = build(annotate(&calibrated, &widths)).expect("builds");
                let bytes: usize = artifact.program().convs().map(|conv| artifact.weight_range(conv).len()).sum();
                assert_eq!(cost.absolute(&widths), bytes as f64, "{name} at {bits}");
            }
        }
    }
}
