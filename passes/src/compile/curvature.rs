//! Second-order damages of widths, for the integer programme that is compared with: `Tr(H_l) / n_l * ||Q(W_l) - W_l||^2` of a layer of
//! n weights (HAWQ-V2, Dong et al., arXiv 1911.03852, equation 7). H is the Hessian of the training loss, Q rounds to the nearest code.

use super::budget::{self, Allowance};
use super::{CompileError, CompileOptions, Event, Hooks, Judge, Material};
use crate::annotate::{annotate, coded_weights};
use crate::calibrate::Calibrated;
use crate::ir::Layer;
use crate::search::SensitivityProfile;
use crate::train::mean_hessian_diagonals;
use releqc_runtime::BitWidth;
use std::ops::ControlFlow;

/// The damage of each layer at each width, in units of the loss; `None` where the network has no training form, or the time budget leaves
/// no time.
pub(super) fn damages(
    calibrated: &Calibrated,
    material: &Material<'_>,
    judge: &Judge,
    options: &CompileOptions,
    hooks: &mut Hooks<'_>,
) -> Result<Option<SensitivityProfile>, CompileError> {
    let (graph, data) = (&calibrated.folded, material.training());
    let probe = budget::probe(graph, data.len(), judge.counts_answers());
    let allowance = Allowance::of(hooks.time_left());
    let mut too_long = false;
    let watch = |done: usize| {
        too_long = allowance.exceeded(done, probe.draws);
        if too_long || hooks.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = match mean_hessian_diagonals(graph, data, &probe, options.seed, watch) {
        Err(error) => {
            let text = format!("no comparison with the Hessian's programme, which needs gradients: {error}");
            hooks.report(Event::Note(text));
            return Ok(None);
        }
        Ok(found) => found,
    };
    hooks.check_interrupt()?;
    if too_long {
        let text = "the time budget leaves no time for the Hessian: no comparison with its programme";
        hooks.report(Event::Note(text.into()));
    }
    let layers = graph.weight_layers().len();
    // An overflow of f32 tells nothing.
    let Some(curvatures) = found.filter(|found| found.len() == layers && found.iter().all(|c| c.is_finite())) else {
        return Ok(None);
    };
    let mut drops = vec![Vec::new(); layers];
    for &bits in &options.action_set {
        let moved = square_distances(calibrated, bits);
        for ((row, curvature), moved) in drops.iter_mut().zip(&curvatures).zip(moved) {
            row.push(curvature.max(0.0) * moved);
        }
    }
    Ok(Some(SensitivityProfile { drops }))
}

/// How far rounding to so many bits moves the weights of each layer: the square of the Euclidean distance.
fn square_distances(calibrated: &Calibrated, bits: BitWidth) -> Vec<f64> {
    let graph = &calibrated.folded;
    let annotated = annotate(calibrated, &vec![bits; graph.weight_layers().len()]);
    let max_code = f32::from(bits.max_code());
    let of_layer = |layer: &Layer<'_>, factors: &crate::equalize::ChannelFactors, scales: &[f32]| {
        let coded = coded_weights(layer, factors);
        let square = |(index, weight): (usize, &f32)| {
            let scale = scales[index / layer.depth()];
            let code = (weight / scale).round_ties_even().clamp(-max_code, max_code);
            let factor = factors.as_ref().map_or(1.0, |factors| f64::from(factors[layer.channel(index)]));
            ((f64::from(*weight) - f64::from(code) * f64::from(scale)) / factor).powi(2)
        };
        coded.iter().enumerate().map(square).sum::<f64>()
    };
    graph
        .iter()
        .filter_map(|(id, node)| {
            let (layer, operand) = (node.layer()?, node.inputs[0]);
            Some(of_layer(&layer, &calibrated.factors[operand.0], &annotated.weights[&id].scales))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Ends, Granularity, Stated, calibrate};
    use crate::import;
    use crate::rewrite::{canonicalize_observed, fold_batch_norm};

    #[test]
    fn every_bit_less_moves_weights_further_and_about_twice_as_far() {
        let path = format!("{}/../models/tiny_residual.onnx", env!("CARGO_MANIFEST_DIR"));
        let graph = import::from_onnx(&std::fs::read(path).expect("the zoo is there")).expect("imports");
        let graph = canonicalize_observed(graph, |_, _| ()).expect("canonical");
        let folded = fold_batch_norm(&graph);
        let sample: Vec<f32> = (0..graph.input_shape().len()).map(|i| (i % 7) as f32 - 3.0).collect();
        let calibrated = calibrate(graph, folded, &[sample], &Stated::default(), Ends::LeastError, Granularity::Tensor);
        let rows: Vec<Vec<f64>> = BitWidth::all().map(|bits| square_distances(&calibrated, bits)).collect();
        let powers: Vec<f64> = calibrated
            .folded
            .nodes
            .iter()
            .filter_map(|node| Some(node.layer()?.weight.data().iter().map(|w| f64::from(*w).powi(2)).sum()))
            .collect();
        for layer in 0..powers.len() {
            let moved: Vec<f64> = rows.iter().map(|row| row[layer]).collect();
            assert!(moved[0] < powers[layer] && moved[6] > 0.0, "{moved:?} of {}", powers[layer]);
            let ratios: Vec<f64> = moved.windows(2).map(|pair| pair[0] / pair[1]).collect();
            assert!(
                ratios.iter().all(|ratio| (1.5..8.0).contains(ratio)),
                "a bit is about four times the power: {ratios:?}"
            );
        }
    }
}
