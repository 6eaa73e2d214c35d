//! What the reward counts as cost: tables layer x width, simulated or measured on this machine.

use super::{CompileError, CompileOptions, CostKind, build};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::search::{CostModel, LayerFacts};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::cost::{Cost, CostModel as AcceleratorModel, LayerShape};
use releqc_runtime::program;
use releqc_runtime::session::{Session, SessionOptions};

/// The cost table that the reward counts.
pub(super) fn cost_model(
    layers: &[LayerFacts],
    calibrated: &Calibrated,
    options: &CompileOptions,
) -> Result<CostModel, CompileError> {
    Ok(match options.cost {
        CostKind::Paper => CostModel::paper(layers),
        CostKind::Mean => CostModel::mean(layers.len()),
        CostKind::Size => CostModel::size(layers),
        CostKind::Accelerator => {
            CostModel::measured("accelerator", "cycles", &accelerator(calibrated, |cost| cost.cycles.0 as f64)?)?
        }
        CostKind::Energy => CostModel::measured("energy", "pJ", &accelerator(calibrated, |cost| cost.energy.0)?)?,
        CostKind::Cpu => CostModel::measured("cpu", "us", &latencies(calibrated)?)?,
    })
}

/// `[layer][bits - 2]` of the simulator's closed form.
fn accelerator(calibrated: &Calibrated, of: impl Fn(&Cost) -> f64) -> Result<Vec<Vec<f64>>, CompileError> {
    let artifact = build(annotate(calibrated, &vec![BitWidth::MAX; calibrated.folded.weight_layers().len()]))?;
    let model = AcceleratorModel::default();
    let program = artifact.program();
    let row = |conv| BitWidth::all().map(|bits| of(&model.layer(&LayerShape::of(program, conv), bits))).collect();
    Ok(program.convs().map(row).collect())
}

/// Timed runs of each width; the median of a layer counts.
const TIMED_RUNS: usize = 30;

/// `[layer][bits - 2]`, microseconds of each layer with the whole network at that width.
fn latencies(calibrated: &Calibrated) -> Result<Vec<Vec<f64>>, CompileError> {
    let layers = calibrated.folded.weight_layers().len();
    let mut rows = vec![Vec::new(); layers];
    for bits in BitWidth::all() {
        let artifact = build(annotate(calibrated, &vec![bits; layers]))?;
        let mut session = Session::new(&artifact, SessionOptions { isa: None, threads: 1 })?;
        let input = vec![0.5; session.input_len()];
        let times = session.profile(&input, TIMED_RUNS)?;
        let convs = artifact.program().ops.iter().zip(times).filter(|(op, _)| matches!(op, program::Op::Conv(_)));
        for (row, (_, time)) in rows.iter_mut().zip(convs) {
            row.push(time.as_secs_f64() * 1e6 + f64::MIN_POSITIVE);
        }
    }
    Ok(rows)
}
