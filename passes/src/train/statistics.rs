//! Statistics of batch normalisation, measured over batches.

use super::batches::Batches;
use super::kernels::simd::Isa;
use super::layers::{NormMode, Statistics, inverse_deviation};
use super::network::Network;
use super::recording::{Recording, Rounding};
use super::session::State;
use super::tape::constant;
use burn::tensor::{Device, Tensor};
use std::sync::Arc;

/// Sets the statistics to their mean over `count` batches passed through the weights as they are.
pub(super) fn measure(
    network: &Network,
    state: &mut State,
    rounding: Option<&Rounding>,
    batches: &mut Batches<'_>,
    count: usize,
) {
    if let Some(seen) = seen(network, state, rounding, batches, count, NormMode::Batch) {
        state.statistics = seen;
    }
}

/// Gives every normalisation the statistics of these batches, and scale and shift that leave the function what it was: training normalises
/// by each batch, and a network whose statistics are not those of its data (synthesised inputs, an affine map written as batch
/// normalisation) would be another one before the first update.
pub(super) fn adopt(network: &Network, state: &mut State, batches: &mut Batches<'_>, count: usize) {
    let Some(seen) = seen(network, state, None, batches, count, NormMode::Observed) else { return };
    for norm in network.layers().filter_map(|(_, layer)| layer.norm) {
        let (old, new) = (&state.statistics[norm.statistics], &seen[norm.statistics]);
        for c in 0..new.mean.len() {
            let inverse = inverse_deviation(old.variance[c], norm.epsilon);
            let mul = f64::from(state.parameters[norm.gamma].values[c]) * inverse;
            let deviation = (f64::from(new.variance[c]) + f64::from(norm.epsilon)).sqrt();
            let beta = &mut state.parameters[norm.beta].values[c];
            *beta = (f64::from(*beta) + mul * (f64::from(new.mean[c]) - f64::from(old.mean[c]))) as f32;
            state.parameters[norm.gamma].values[c] = (mul * deviation) as f32;
        }
    }
    state.statistics = seen;
}

/// Mean over `count` batches; `None` without normalisations or batches, or where one overflowed.
fn seen(
    network: &Network,
    state: &State,
    rounding: Option<&Rounding>,
    batches: &mut Batches<'_>,
    count: usize,
    mode: NormMode,
) -> Option<Vec<Statistics>> {
    if state.statistics.is_empty() || count == 0 {
        return None;
    }
    let device = Device::flex();
    let buffers = Arc::default();
    let tensors: Vec<Tensor<1>> = state.parameters.iter().map(|p| constant(p.values.clone(), &device)).collect();
    let mut sums: Vec<(Vec<f64>, Vec<f64>)> =
        state.statistics.iter().map(|s| (vec![0.0; s.mean.len()], vec![0.0; s.mean.len()])).collect();
    for _ in 0..count {
        let recording = Recording {
            isa: Isa::detect(),
            network,
            parameters: &tensors,
            statistics: &state.statistics,
            rounding,
            norm: mode,
            buffers: &buffers,
        };
        let (_, norms) = recording.values_of(&batches.next().input, &device, &[]);
        for (sum, norm) in sums.iter_mut().zip(&norms) {
            let batch = norm.batch.get().filter(|batch| batch.is_finite())?;
            sum.0.iter_mut().zip(&batch.mean).for_each(|(s, &v)| *s += f64::from(v));
            sum.1.iter_mut().zip(&batch.variance).for_each(|(s, &v)| *s += f64::from(v));
        }
    }
    let mean = |sums: &[f64]| sums.iter().map(|s| (s / count as f64) as f32).collect();
    Some(sums.iter().map(|(m, v)| Statistics { mean: mean(m), variance: mean(v) }).collect())
}
