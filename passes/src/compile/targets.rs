//! Errors against labels of numbers: what networks are judged by that predict quantities.

use super::{CompileError, Metric};
use crate::calibrate::Calibrated;
use crate::data::Dataset;
use crate::evaluate::outputs;
use crate::float_exec::FloatExecutor;
use releqc_runtime::format::Artifact;

/// Samples that the float network runs at a time.
const BLOCK: usize = 256;

/// Where no loss is allowed, losses are counted in this share of the float network's error.
const SHARE: f64 = 0.01;

/// The labels of the validation samples, and how far the float network is from them.
pub(crate) struct Targets {
    metric: Metric,
    /// Those of the first output, all samples one after the other.
    wanted: Vec<f32>,
    /// Values of a sample.
    len: usize,
    /// Error of the float network on each sample.
    float_errors: Vec<f64>,
    /// Their mean.
    pub(super) float: f64,
    /// The loss that counts as one point: what may be lost, in the metric's unit.
    pub(super) unit: f64,
}

impl Targets {
    /// # Errors
    /// Where there are no labels of numbers, or not as many as the first output has values.
    pub(super) fn of(
        calibrated: &Calibrated,
        data: &Dataset,
        metric: Metric,
        max_loss: f64,
    ) -> Result<Self, CompileError> {
        let graph = &calibrated.folded;
        let len = graph.outputs.first().map_or(0, |(_, id)| graph.node(*id).shape.len());
        let option = |what: String| CompileError::Option(format!("--metric: {what}"));
        let wanted = data
            .numbers()
            .ok_or_else(|| option(format!("the {} needs labels: an array y of numbers beside x", metric.name())))?;
        if wanted.len() != len * data.len() {
            let given = wanted.len() / data.len().max(1);
            return Err(option(format!("{given} labels a sample; the network's first output has {len} values")));
        }
        let executor = FloatExecutor::new(graph);
        let mut float_errors = Vec::with_capacity(data.len());
        for start in (0..data.len()).step_by(BLOCK) {
            let block: Vec<Vec<f32>> = (start..data.len().min(start + BLOCK))
                .map(|index| {
                    let mut values = vec![0.0; data.shape().len()];
                    data.read(index, &mut values);
                    values
                })
                .collect();
            for (offset, output) in executor.outputs(&block).iter().enumerate() {
                float_errors.push(metric.error(output, &wanted[(start + offset) * len..][..len]));
            }
        }
        let float = mean(&float_errors);
        let unit = if max_loss > 0.0 { max_loss } else { (SHARE * float).max(f64::MIN_POSITIVE) };
        Ok(Targets { metric, wanted, len, float_errors, float, unit })
    }

    /// Number of samples.
    pub(super) fn samples(&self) -> usize {
        self.wanted.len() / self.len.max(1)
    }

    /// Which error is measured.
    pub(super) fn metric(&self) -> Metric {
        self.metric
    }

    /// The artifact's error on the same samples.
    ///
    /// # Errors
    /// When the artifact cannot run.
    pub(super) fn error(&self, artifact: &Artifact, data: &Dataset) -> Result<f64, CompileError> {
        Ok(mean(&self.errors(artifact, data)?))
    }

    /// By how much the artifact's error is above the float network's, and the standard error of that: sample by sample, in pairs.
    ///
    /// # Errors
    /// When the artifact cannot run.
    pub(super) fn added(&self, artifact: &Artifact, data: &Dataset) -> Result<[f64; 2], CompileError> {
        let errors = self.errors(artifact, data)?;
        let added: Vec<f64> = errors.iter().zip(&self.float_errors).map(|(error, float)| error - float).collect();
        let (mean, n) = (mean(&added), added.len() as f64);
        let square: f64 = added.iter().map(|added| (added - mean).powi(2)).sum();
        Ok([mean, if n < 2.0 { f64::INFINITY } else { (square / (n - 1.0) / n).sqrt() }])
    }

    fn errors(&self, artifact: &Artifact, data: &Dataset) -> Result<Vec<f64>, CompileError> {
        let of_sample =
            |index: usize, output: &[f32]| self.metric.error(output, &self.wanted[index * self.len..][..self.len]);
        Ok(outputs(artifact, data, of_sample)?)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
