//! The signal-to-noise ratio against the float network: what networks are judged by whose output is no vector of classes.

use super::CompileError;
use crate::calibrate::Calibrated;
use crate::data::Dataset;
use crate::float_exec::FloatExecutor;
use crate::ir::{Graph, Op};
use rayon::prelude::*;
use releqc_runtime::format::Artifact;
use releqc_runtime::session::{Session, SessionOptions};

/// Most values of all outputs that are kept of the float network.
const MAX_VALUES: usize = 1 << 24;

/// Ratios end here, in dB: what is better cannot be told from equal.
const MOST: f64 = 100.0;

/// What the float network makes of the samples, all outputs of a sample one after the other.
pub(crate) struct Signal {
    float: Vec<Vec<f32>>,
    /// Values of each output.
    lens: Vec<usize>,
    inputs: Vec<Vec<f32>>,
}

/// Whether the network has one output, and that is one vector of at least two classes.
pub(crate) fn is_classifier(graph: &Graph) -> bool {
    let [(_, output)] = &graph.outputs[..] else { return false };
    let wide: Vec<usize> = graph.node(*output).shape.dims().iter().copied().filter(|&d| d != 1).collect();
    // An index of a class is no score of it.
    let is_score = !matches!(graph.node(*output).op, Op::Reduce { .. } | Op::Lookup { .. });
    wide.len() == 1 && is_score
}

impl Signal {
    /// Of a network that is no classifier.
    pub(super) fn unless_classifier(calibrated: &Calibrated, data: &Dataset) -> Option<Self> {
        (!is_classifier(&calibrated.folded)).then(|| Signal::of(calibrated, data))
    }

    /// On the first samples: as many as memory allows.
    pub(super) fn of(calibrated: &Calibrated, data: &Dataset) -> Self {
        let graph = &calibrated.folded;
        let lens: Vec<usize> = graph.outputs.iter().map(|(_, id)| graph.node(*id).shape.len()).collect();
        let count = (MAX_VALUES / lens.iter().sum::<usize>().max(1)).clamp(1, data.len());
        let sample = |i: usize| {
            let mut values = vec![0.0; data.shape().len()];
            data.read(i, &mut values);
            values
        };
        Signal::on(calibrated, (0..count).map(sample).collect())
    }

    /// On these samples.
    pub(super) fn on(calibrated: &Calibrated, inputs: Vec<Vec<f32>>) -> Self {
        let graph = &calibrated.folded;
        let lens = graph.outputs.iter().map(|(_, id)| graph.node(*id).shape.len()).collect();
        let float = FloatExecutor::new(graph).all_outputs(&inputs);
        Signal { float, lens, inputs }
    }

    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.inputs.len()
    }

    /// `10 log10(sum y^2 / sum (y - z)^2)` over all samples, y of the float network and z of the artifact, in dB, 0..=100: that of the
    /// output for which it is least.
    ///
    /// # Errors
    /// When the artifact cannot run.
    pub(super) fn decibels(&self, artifact: &Artifact) -> Result<f64, CompileError> {
        let sums = self.sums(artifact)?;
        Ok((0..self.lens.len()).map(|output| ratio(&sums, output)).fold(MOST, f64::min))
    }

    /// The same ratio with the ends of an interval around it, `quantile` standard errors of its logarithm wide on either side: those of a
    /// ratio of means by its linear form (Cochran, Sampling Techniques, 1977, section 6.4).
    ///
    /// # Errors
    /// When the artifact cannot run.
    pub(super) fn interval(&self, artifact: &Artifact, quantile: f64) -> Result<[f64; 3], CompileError> {
        let sums = self.sums(artifact)?;
        let worst = (0..self.lens.len()).min_by(|&a, &b| ratio(&sums, a).total_cmp(&ratio(&sums, b))).unwrap_or(0);
        let ratio = ratio(&sums, worst);
        let half = quantile * log_error(&sums, worst) * 10.0 / std::f64::consts::LN_10;
        Ok([ratio, (ratio - half).max(0.0), (ratio + half).min(MOST)])
    }

    /// Power and square error of each output, of each sample.
    fn sums(&self, artifact: &Artifact) -> Result<Vec<Vec<[f64; 2]>>, CompileError> {
        Session::new(artifact, SessionOptions::default())?;
        let outputs: usize = self.lens.iter().sum();
        let workspace = || (Session::new(artifact, SessionOptions::default()), vec![0.0; outputs]);
        let of_sample = |(session, output): &mut (Result<Session, _>, Vec<f32>),
                         (input, float): (&Vec<f32>, &Vec<f32>)| {
            match session {
                Ok(session) => session.run(input, output)?,
                Err(_) => unreachable!("a session was made from the same artifact before"),
            }
            let mut first = 0;
            let of_output = |&len: &usize| {
                let range = first..first + len;
                first += len;
                let values = float[range.clone()].iter().zip(&output[range]);
                values
                    .map(|(&y, &z)| power_and_error(y, z))
                    .fold([0.0, 0.0], |sum, own| [sum[0] + own[0], sum[1] + own[1]])
            };
            Ok(self.lens.iter().map(of_output).collect::<Vec<[f64; 2]>>())
        };
        self.inputs.par_iter().zip(&self.float).map_init(workspace, of_sample).collect()
    }
}

/// Square of a float value, and of what an artifact's differs from it by. A value that is no number tells nothing where both are none,
/// or the same infinity; where one of them is, the error is infinite.
fn power_and_error(y: f32, z: f32) -> [f64; 2] {
    match (y.is_finite(), z.is_finite()) {
        (true, true) => [f64::from(y).powi(2), (f64::from(y) - f64::from(z)).powi(2)],
        _ if y == z || (y.is_nan() && z.is_nan()) => [0.0, 0.0],
        (y_is_finite, _) => [if y_is_finite { f64::from(y).powi(2) } else { 0.0 }, f64::INFINITY],
    }
}

/// Power and square error of an output, summed in the order of the samples.
fn totals(sums: &[Vec<[f64; 2]>], output: usize) -> [f64; 2] {
    let add = |[power, error]: [f64; 2], sample: &Vec<[f64; 2]>| [power + sample[output][0], error + sample[output][1]];
    sums.iter().fold([0.0, 0.0], add)
}

/// Ratio of an output, dB.
fn ratio(sums: &[Vec<[f64; 2]>], output: usize) -> f64 {
    match totals(sums, output) {
        [_, 0.0] => MOST,
        [0.0, _] => 0.0,
        [power, error] => (10.0 * (power / error).log10()).clamp(0.0, MOST),
    }
}

/// Standard error of the natural logarithm of an output's ratio; infinite for one sample, which says nothing of others.
fn log_error(sums: &[Vec<[f64; 2]>], output: usize) -> f64 {
    let [power, error] = totals(sums, output);
    let n = sums.len() as f64;
    if sums.len() < 2 || !error.is_finite() {
        return f64::INFINITY;
    }
    if power <= 0.0 || error <= 0.0 {
        return 0.0;
    }
    let square = |sample: &Vec<[f64; 2]>| (n * sample[output][0] / power - n * sample[output][1] / error).powi(2);
    (sums.iter().map(square).sum::<f64>() / (n - 1.0) / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};
    use rand_chacha::rand_core::Rng;

    /// Powers and errors are products of draws with known means.
    #[test]
    fn the_interval_of_a_ratio_holds_the_truth_in_about_95_of_100_draws() {
        let mut rng = stream(3, Purpose::Agent);
        let mut unit = move || (f64::from(rng.next_u32()) + 0.5) / 2f64.powi(32);
        for samples in [60, 400] {
            let mut inside = 0;
            for _ in 0..2000 {
                let draw = |unit: &mut dyn FnMut() -> f64| {
                    let common = -unit().ln();
                    vec![[10.0 * common * 2.0 * unit(), common * (0.5 + unit())]]
                };
                let sums: Vec<_> = (0..samples).map(|_| draw(&mut unit)).collect();
                let (found, error) = (ratio(&sums, 0), log_error(&sums, 0) * 10.0 / std::f64::consts::LN_10);
                inside += u32::from((found - 10.0).abs() <= 1.959_964 * error);
            }
            let share = f64::from(inside) / 2000.0;
            assert!((0.92..0.97).contains(&share), "{samples} samples: {share}");
        }
        assert_eq!(log_error(&[vec![[1.0, 0.1]]], 0), f64::INFINITY);
        assert_eq!(ratio(&[vec![[1.0, 0.0]]], 0), MOST);
    }

    #[test]
    fn a_value_that_is_no_number_is_noise_unless_it_is_meant() {
        let sums = |pairs: &[(f32, f32)]| {
            let add = |sum: [f64; 2], own: [f64; 2]| [sum[0] + own[0], sum[1] + own[1]];
            vec![vec![pairs.iter().map(|&(y, z)| power_and_error(y, z)).fold([0.0, 0.0], add)]]
        };
        let (nan, infinity) = (f32::NAN, f32::INFINITY);
        for lost in [(1.0, nan), (nan, 1.0), (infinity, 1.0), (1.0, infinity), (infinity, -infinity)] {
            assert_eq!(ratio(&sums(&[(2.0, 2.0), lost]), 0), 0.0, "{lost:?}");
        }
        for meant in [(nan, nan), (infinity, infinity)] {
            let with = ratio(&sums(&[(2.0, 1.0), meant]), 0);
            assert_eq!(with, ratio(&sums(&[(2.0, 1.0)]), 0), "{meant:?}");
        }
    }
}
