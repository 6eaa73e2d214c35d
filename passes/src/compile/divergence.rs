//! How far an artifact is from the float network, measured on what both give for the same samples.

use super::signal::is_classifier;
use super::{CompileError, build};
use crate::annotate::Annotated;
use crate::data::Dataset;
use crate::evaluate::outputs;
use crate::float_exec::FloatExecutor;
use crate::ir::{Graph, Op};

/// Probabilities of classes that are told apart from 0.
const LEAST_PROBABILITY: f64 = 1e-12;

/// How far the results of an artifact are from those of the float network on some samples.
pub(super) struct Divergence {
    data: Dataset,
    /// The float network's first output for each sample.
    float: Vec<Vec<f32>>,
    measure: Measure,
}

#[derive(Clone, Copy)]
enum Measure {
    /// Of classes whose probabilities are the softmax of the output.
    Logits,
    /// Of classes whose probabilities are the output.
    Probabilities,
    /// Of values.
    Values,
}

impl Divergence {
    pub(super) fn new(folded: &Graph, data: Dataset, of_classes: bool) -> Self {
        let sample = |i: usize| {
            let mut values = vec![0.0; data.shape().len()];
            data.read(i, &mut values);
            values
        };
        let samples: Vec<Vec<f32>> = (0..data.len()).map(sample).collect();
        let float = FloatExecutor::new(folded).outputs(&samples);
        let measure = match folded.node(folded.outputs[0].1).op {
            _ if !(of_classes && is_classifier(folded)) => Measure::Values,
            Op::Softmax { log: false, .. } => Measure::Probabilities,
            _ => Measure::Logits,
        };
        Divergence { data, float, measure }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self.measure {
            Measure::Logits | Measure::Probabilities => "divergence of the classes (Kullback and Leibler)",
            Measure::Values => "square error of the output in parts of its power",
        }
    }

    /// Mean over the samples of `KL(float || artifact)`, or the square error of values over the power of the float network's.
    pub(super) fn of(&self, annotated: &Annotated) -> Result<f64, CompileError> {
        let artifact = build(annotated.clone())?;
        let pairs = outputs(&artifact, &self.data, |i, output| match self.measure {
            Measure::Values => {
                let square = |a: f32, b: f32| (f64::from(a) - f64::from(b)).powi(2);
                let error = self.float[i].iter().zip(output).map(|(&y, &z)| square(y, z)).sum::<f64>();
                (error, self.float[i].iter().map(|&y| square(y, 0.0)).sum::<f64>())
            }
            measure => {
                let (p, q) = (log_probabilities(&self.float[i], measure), log_probabilities(output, measure));
                (p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>(), 1.0)
            }
        })?;
        let (error, weight) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        Ok(if weight > 0.0 { error / weight } else { error })
    }
}

fn log_probabilities(output: &[f32], measure: Measure) -> Vec<f64> {
    let score = |&value: &f32| match measure {
        Measure::Probabilities => f64::from(value).max(LEAST_PROBABILITY).ln(),
        Measure::Logits | Measure::Values => f64::from(value),
    };
    let scores: Vec<f64> = output.iter().map(score).collect();
    let largest = scores.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    let log_sum = scores.iter().map(|v| (v - largest).exp()).sum::<f64>().ln() + largest;
    scores.iter().map(|v| v - log_sum).collect()
}
