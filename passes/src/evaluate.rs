//! Accuracy measured on the artifact itself, never with fake quantization.

use crate::data::Dataset;
use rayon::prelude::*;
use releqc_runtime::RunError;
use releqc_runtime::format::Artifact;
use releqc_runtime::session::{Session, SessionOptions};

/// The class of the largest value; the first of equals.
pub fn largest(values: &[f32]) -> u32 {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best as u32
}

/// The class the artifact gives each sample, by its first output; samples run in parallel.
///
/// # Errors
/// When the samples do not have the shape of the network's input.
pub fn predictions(artifact: &Artifact, data: &Dataset) -> Result<Vec<u32>, RunError> {
    of_outputs(artifact, data, |_, output| largest(output))
}

/// What `value` makes of each sample's number and of the artifact's first output for it; samples run in parallel.
///
/// # Errors
/// When the samples do not have the shape of the network's input.
pub fn of_outputs<T: Send>(
    artifact: &Artifact,
    data: &Dataset,
    value: impl Fn(usize, &[f32]) -> T + Sync,
) -> Result<Vec<T>, RunError> {
    // One session a thread, made before the parallel part so that its errors surface.
    Session::new(artifact, SessionOptions::default())?;
    let outputs: usize = artifact.program().outputs.iter().map(|(port, _)| port.len()).sum();
    let first = artifact.program().outputs[0].0.len();
    let workspace = || {
        let session = Session::new(artifact, SessionOptions::default());
        (session, vec![0.0; data.shape().len()], vec![0.0; outputs])
    };
    let evaluate = |(session, input, output): &mut (Result<Session, RunError>, Vec<f32>, Vec<f32>), i: usize| {
        data.read(i, input);
        match session {
            Ok(session) => session.run(input, output).map(|()| value(i, &output[..first])),
            Err(_) => unreachable!("a session was made from the same artifact before"),
        }
    };
    (0..data.len()).into_par_iter().map_init(workspace, evaluate).collect()
}

/// Share of equal entries, 0..=1; 0 for none.
pub fn agreement(predicted: &[u32], expected: &[u32]) -> f64 {
    let equal = predicted.iter().zip(expected).filter(|(a, b)| a == b).count();
    equal as f64 / expected.len().max(1) as f64
}
