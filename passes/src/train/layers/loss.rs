//! Cross entropy with labels and distillation from a teacher's logits.

use super::super::buffers::Buffers;
use super::super::tape::{Differentiable, Gradient};
use std::sync::OnceLock;

/// What the logits of a batch are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// Class of each sample.
    pub(crate) labels: Option<Vec<u32>>,
    /// Logits of the float network for the same samples.
    pub(crate) teacher: Option<Vec<f32>>,
}

/// Mean over the batch of
/// `(1 - weight) * cross_entropy(label) + weight * T^2 * KL(softmax(teacher / T) || softmax(logits / T))`
/// (Hinton et al. 2015); without labels or without a teacher the other term alone. Input: the logits.
#[derive(Debug)]
pub(crate) struct Loss {
    pub(crate) classes: usize,
    pub(crate) temperature: f32,
    pub(crate) weight: f32,
    pub(crate) targets: Targets,
    /// Known after `forward`.
    pub(crate) result: OnceLock<Evaluated>,
}

/// What a forward pass of the loss finds.
#[derive(Clone, Debug)]
pub(crate) struct Evaluated {
    loss: f32,
    gradient: Vec<f32>,
    accuracy: f32,
}

impl Loss {
    /// Loss, and the share of samples whose class is the label, or the teacher's class where there are no labels.
    pub(crate) fn summary(&self) -> (f32, f32) {
        self.result.get().map_or((0.0, 0.0), |r| (r.loss, r.accuracy))
    }

    fn evaluate(&self, logits: &[f32]) -> Evaluated {
        let batch = (logits.len() / self.classes) as f64;
        let weight = match (&self.targets.labels, &self.targets.teacher) {
            (Some(_), Some(_)) => f64::from(self.weight),
            (None, Some(_)) => 1.0,
            _ => 0.0,
        };
        let t = f64::from(self.temperature);
        let mut loss = 0.0;
        let mut gradient = vec![0.0f32; logits.len()];
        for (n, (row, dx)) in logits.chunks_exact(self.classes).zip(gradient.chunks_exact_mut(self.classes)).enumerate()
        {
            if let Some(labels) = &self.targets.labels {
                let log_p = log_softmax(row, 1.0);
                let label = labels[n] as usize;
                loss -= (1.0 - weight) * log_p[label] / batch;
                for (c, dx) in dx.iter_mut().enumerate() {
                    let target = if c == label { 1.0 } else { 0.0 };
                    *dx += ((1.0 - weight) * (log_p[c].exp() - target) / batch) as f32;
                }
            }
            if let Some(teacher) = &self.targets.teacher {
                let log_q = log_softmax(&teacher[n * self.classes..][..self.classes], t);
                let log_p = log_softmax(row, t);
                for (c, dx) in dx.iter_mut().enumerate() {
                    loss += weight * t * t * log_q[c].exp() * (log_q[c] - log_p[c]) / batch;
                    *dx += (weight * t * (log_p[c].exp() - log_q[c].exp()) / batch) as f32;
                }
            }
        }
        let right = |(n, row): (usize, &[f32])| {
            let wanted = match (&self.targets.labels, &self.targets.teacher) {
                (Some(labels), _) => labels[n] as usize,
                (None, Some(teacher)) => largest(&teacher[n * self.classes..][..self.classes]),
                (None, None) => return false,
            };
            largest(row) == wanted
        };
        let right = logits.chunks_exact(self.classes).enumerate().filter(|&sample| right(sample)).count();
        Evaluated { loss: loss as f32, gradient, accuracy: right as f32 / batch as f32 }
    }
}

/// Place of the largest value, the first of equals.
pub(crate) fn largest(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
}

fn log_softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = row.iter().map(|&v| f64::from(v) / temperature).collect();
    let largest = scaled.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(v));
    let log_sum = scaled.iter().map(|v| (v - largest).exp()).sum::<f64>().ln() + largest;
    scaled.iter().map(|v| v - log_sum).collect()
}

impl Differentiable for Loss {
    fn forward(&self, inputs: &[&[f32]], _: &Buffers) -> Vec<f32> {
        vec![self.result.get_or_init(|| self.evaluate(inputs[0])).loss]
    }

    fn backward(&self, inputs: &[&[f32]], _: &[f32], dy: &[f32], _: &[bool], _: &Buffers) -> Vec<Option<Gradient>> {
        let result = self.result.get_or_init(|| self.evaluate(inputs[0]));
        vec![Some(Gradient::Values(result.gradient.iter().map(|g| g * dy[0]).collect()))]
    }
}
