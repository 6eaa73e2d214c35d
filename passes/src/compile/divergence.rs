//! How far an artifact is from the float network, measured on what both give for the same samples.

use super::signal::is_classifier;
use super::{CompileError, build};
use crate::annotate::Annotated;
use crate::data::Dataset;
use crate::evaluate::all_outputs;
use crate::float_exec::FloatExecutor;
use crate::ir::{Graph, Op};

/// Probabilities of classes that are told apart from 0.
const LEAST_PROBABILITY: f64 = 1e-12;

/// How far the results of an artifact are from those of the float network on some samples.
pub(super) struct Divergence {
    data: Dataset,
    /// The float network's outputs for each sample, one behind the other.
    float: Vec<Vec<f32>>,
    /// Values of each output.
    lens: Vec<usize>,
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
        let float = FloatExecutor::new(folded).all_outputs(&samples);
        let lens = folded.outputs.iter().map(|(_, id)| folded.node(*id).shape.len()).collect();
        let measure = match folded.node(folded.outputs[0].1).op {
            _ if !(of_classes && is_classifier(folded)) => Measure::Values,
            Op::Softmax { log: false, .. } => Measure::Probabilities,
            _ => Measure::Logits,
        };
        Divergence { data, float, lens, measure }
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        match self.measure {
            Measure::Logits | Measure::Probabilities => "divergence of the classes (Kullback and Leibler)",
            Measure::Values => "square error of the output in parts of its power",
        }
    }

    /// Mean over the samples of `KL(float || artifact)`; of values the mean over the outputs of the square error over the power of the
    /// float network's.
    pub(super) fn of(&self, annotated: &Annotated) -> Result<f64, CompileError> {
        let artifact = build(annotated.clone())?;
        let of_sample = |i: usize, found: &[f32]| -> Vec<[f64; 2]> {
            let mut first = 0;
            let of_output = |&len: &usize| {
                let part = first..first + len;
                first += len;
                self.of_output(&self.float[i][part.clone()], &found[part])
            };
            self.lens.iter().map(of_output).collect()
        };
        let pairs = all_outputs(&artifact, &self.data, of_sample)?;
        let of_output = |output: usize| {
            let [error, weight] =
                pairs.iter().fold([0.0, 0.0], |sum, pair| [sum[0] + pair[output][0], sum[1] + pair[output][1]]);
            if weight > 0.0 { error / weight } else { error }
        };
        Ok((0..self.lens.len()).map(of_output).sum::<f64>() / self.lens.len() as f64)
    }

    /// Of one output of one sample, with its weight.
    fn of_output(&self, float: &[f32], found: &[f32]) -> [f64; 2] {
        match self.measure {
            Measure::Values => {
                let square = |a: f32, b: f32| (f64::from(a) - f64::from(b)).powi(2);
                let error = float.iter().zip(found).map(|(&y, &z)| square(y, z)).sum();
                [error, float.iter().map(|&y| square(y, 0.0)).sum()]
            }
            measure => {
                let (p, q) = (log_probabilities(float, measure), log_probabilities(found, measure));
                [p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum(), 1.0]
            }
        }
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
