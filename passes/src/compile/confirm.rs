//! The confirmation: samples that nothing was chosen on, touched once at the end.
//!
//! The cheapest of many measured choices is a lucky one, so its loss on the samples that it was chosen on is too low on average. What it
//! loses on others has no such bias; how far chance may carry it is said by an interval.

use super::judge::{float_answers, share};
use super::signal::Signal;
use super::targets::Targets;
use super::{CompileError, Confirmation, Judge, LossOf, Material, Metric, build};
use crate::annotate::Annotated;
use crate::calibrate::Calibrated;
use crate::data::Dataset;
use crate::evaluate::hits;

/// Quantile of the standard normal distribution for an interval of 95 %.
const Z: f64 = 1.959_964;

/// The networks of a confirmation.
#[derive(Clone, Copy)]
pub(super) struct Confirmed<'a> {
    /// The float network.
    pub(super) float: &'a Calibrated,
    /// The float network that widths were judged on: the same, or its copy.
    pub(super) judged_in_float: &'a Calibrated,
    /// The network with the widths that were chosen, as losses were measured: of the unlearned copy where there is one.
    pub(super) judged: &'a Annotated,
    /// What losses are counted from; that float network where there is none.
    pub(super) reference: Option<&'a Annotated>,
    /// What the artifact is made from.
    pub(super) deployed: &'a Annotated,
}

/// `None` where no samples were kept back.
pub(super) fn confirm(
    networks: &Confirmed<'_>,
    judge: &Judge,
    material: &Material<'_>,
    loss_of: LossOf,
) -> Result<Option<Confirmation>, CompileError> {
    let Some(data) = material.confirmation() else { return Ok(None) };
    match judge.metric() {
        Metric::Top1 | Metric::Top5 | Metric::Agreement => of_answers(networks, judge, data, loss_of).map(Some),
        Metric::Snr => of_signal(networks, judge, data).map(Some),
        Metric::Mse | Metric::Mae => of_errors(networks, judge, data).map(Some),
    }
}

/// A ratio is that of its own samples to the float network: nothing is paired, and nothing but the float network is compared with.
fn of_signal(networks: &Confirmed<'_>, judge: &Judge, data: &Dataset) -> Result<Confirmation, CompileError> {
    let signal = Signal::of(networks.float, data);
    let [decibels, least, most] = signal.interval(&build(networks.deployed.clone())?, Z)?;
    let asked = judge.min_snr();
    Ok(Confirmation {
        metric: Metric::Snr,
        samples: signal.samples(),
        float: f64::INFINITY,
        reference: asked,
        quantized: decibels,
        artifact: decibels,
        loss_points: asked - decibels,
        low: asked - most,
        high: asked - least,
        loss_of: LossOf::Artifact,
    })
}

fn of_errors(networks: &Confirmed<'_>, judge: &Judge, data: &Dataset) -> Result<Confirmation, CompileError> {
    let metric = judge.metric();
    let targets = Targets::of(networks.float, data, metric, judge.unit())?;
    let [added, deviation] = targets.added(&build(networks.deployed.clone())?, data)?;
    Ok(Confirmation {
        metric,
        samples: data.len(),
        float: targets.float,
        reference: targets.float,
        quantized: targets.float + added,
        artifact: targets.float + added,
        loss_points: added,
        low: added - Z * deviation,
        high: added + Z * deviation,
        loss_of: LossOf::Artifact,
    })
}

fn of_answers(
    networks: &Confirmed<'_>,
    judge: &Judge,
    data: &Dataset,
    loss_of: LossOf,
) -> Result<Confirmation, CompileError> {
    let top = judge.metric().answers();
    let (classes, float): (Vec<u32>, Vec<bool>) =
        float_answers(networks.float, data, data.labels(), top).into_iter().unzip();
    let expected = data.labels().unwrap_or(&classes);
    let right = |network: &Annotated| Ok::<_, CompileError>(hits(&build(network.clone())?, data, expected, top)?);
    let judged = right(networks.judged)?;
    let reference: Vec<bool> = match networks.reference {
        Some(reference) => right(reference)?,
        None => {
            let answers = float_answers(networks.judged_in_float, data, Some(expected), top);
            answers.into_iter().map(|(_, right)| right).collect()
        }
    };
    let deployed = match loss_of {
        LossOf::Unlearned => right(networks.deployed)?,
        LossOf::Artifact => judged.clone(),
    };
    let alone = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|&(&a, &b)| a && !b).count();
    let (lost, won) = (alone(&reference, &judged), alone(&judged, &reference));
    let [low, high] = paired_interval(lost, won, data.len());
    Ok(Confirmation {
        metric: judge.metric(),
        samples: data.len(),
        float: share(&float),
        reference: share(&reference),
        quantized: share(&judged),
        artifact: share(&deployed),
        loss_points: 100.0 * (lost as f64 - won as f64) / data.len() as f64,
        low,
        high,
        loss_of,
    })
}

/// The interval of 95 % of a loss in points, where of `samples` pairs `lost` are right before only and `won` after only: that of Wald with
/// half a pair more of each kind, which keeps its promise on few pairs too (Agresti and Min, Statistics in Medicine 24, 2005).
fn paired_interval(lost: usize, won: usize, samples: usize) -> [f64; 2] {
    let n = samples as f64 + 2.0;
    let (lost, won) = (lost as f64 + 0.5, won as f64 + 0.5);
    let difference = (lost - won) / n;
    let deviation = ((lost + won) - (lost - won).powi(2) / n).max(0.0).sqrt() / n;
    [difference - Z * deviation, difference + Z * deviation].map(|bound| (100.0 * bound).clamp(-100.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};
    use rand::Rng;

    #[test]
    fn the_interval_holds_the_truth_as_often_as_its_formula_says() {
        let mut rng = stream(5, Purpose::Agent);
        let mut unit = move || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        // The share is that of the interval's formula on 400,000 draws of another program: near 95 % where pairs of both kinds are there.
        let cases = [
            (1600, 0.01, 0.006, 0.9550),
            (300, 0.03, 0.01, 0.9519),
            (200, 0.01, 0.01, 0.9830),
            (100, 0.1, 0.0, 0.9328),
        ];
        for (samples, lost, won, known) in cases {
            let truth = 100.0 * (lost - won);
            let mut inside = 0;
            for _ in 0..2000 {
                let (mut only_before, mut only_after) = (0, 0);
                for _ in 0..samples {
                    let draw = unit();
                    only_before += usize::from(draw < lost);
                    only_after += usize::from((lost..lost + won).contains(&draw));
                }
                let [low, high] = paired_interval(only_before, only_after, samples);
                inside += u32::from((low..=high).contains(&truth));
            }
            let share = f64::from(inside) / 2000.0;
            let deviation = (known * (1.0 - known) / 2000.0_f64).sqrt();
            assert!(
                (share - known).abs() < 4.0 * deviation,
                "{samples} samples, {lost} and {won}: {share}, not {known}"
            );
        }
    }

    #[test]
    fn nothing_lost_of_few_samples_says_little() {
        let [low, high] = paired_interval(0, 0, 20);
        assert!(low < -5.0 && high > 5.0, "{low} {high}");
        let [low, high] = paired_interval(0, 0, 20_000);
        assert!(low > -0.01 && high < 0.01, "{low} {high}");
    }
}
