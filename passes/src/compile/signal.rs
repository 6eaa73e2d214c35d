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
        Session::new(artifact, SessionOptions::default())?;
        let outputs: usize = self.lens.iter().sum();
        let workspace = || (Session::new(artifact, SessionOptions::default()), vec![0.0; outputs]);
        // Power and error of each output, of each sample; summed in the order of the samples.
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
                float[range.clone()].iter().zip(&output[range]).fold([0.0, 0.0], |[power, error], (&y, &z)| {
                    let distance = f64::from(y) - f64::from(z);
                    [power + f64::from(y) * f64::from(y), error + distance * distance]
                })
            };
            Ok(self.lens.iter().map(of_output).collect::<Vec<[f64; 2]>>())
        };
        let sums: Vec<Vec<[f64; 2]>> = self
            .inputs
            .par_iter()
            .zip(&self.float)
            .map_init(workspace, of_sample)
            .collect::<Result<_, CompileError>>()?;
        let of_output = |output: usize| {
            let [power, error] = sums
                .iter()
                .fold([0.0, 0.0], |[power, error], sample| [power + sample[output][0], error + sample[output][1]]);
            match (power, error) {
                (_, 0.0) => MOST,
                (0.0, _) => 0.0,
                _ => (10.0 * (power / error).log10()).clamp(0.0, MOST),
            }
        };
        Ok((0..self.lens.len()).map(of_output).fold(MOST, f64::min))
    }
}
