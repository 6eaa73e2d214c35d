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

/// Whether `label` is among the `top` largest values; of equal ones the first count.
pub fn is_among(values: &[f32], label: u32, top: usize) -> bool {
    let label = label as usize;
    let Some(&own) = values.get(label).filter(|own| !own.is_nan()) else { return false };
    let before = values.iter().enumerate().filter(|&(i, &v)| v > own || (v == own && i < label)).count();
    before < top
}

/// The class the artifact gives each sample, by its first output; samples run in parallel.
///
/// # Errors
/// When the samples do not have the shape of the network's input.
pub fn predictions(artifact: &Artifact, data: &Dataset) -> Result<Vec<u32>, RunError> {
    outputs(artifact, data, |_, output| largest(output))
}

/// Whether each sample's expected class is among the `top` largest values of the first output.
///
/// # Errors
/// When the samples do not have the shape of the network's input.
pub fn hits(artifact: &Artifact, data: &Dataset, expected: &[u32], top: usize) -> Result<Vec<bool>, RunError> {
    outputs(artifact, data, |index, output| is_among(output, expected[index], top))
}

/// What `map` makes of the first output of each sample, given its index; samples run in parallel.
///
/// # Errors
/// When the samples do not have the shape of the network's input.
pub(crate) fn outputs<T: Send>(
    artifact: &Artifact,
    data: &Dataset,
    map: impl Fn(usize, &[f32]) -> T + Sync,
) -> Result<Vec<T>, RunError> {
    let first = artifact.program().outputs[0].0.len();
    all_outputs(artifact, data, |index, outputs| map(index, &outputs[..first]))
}

/// The same of all outputs, one behind the other.
///
/// # Errors
/// As [`outputs`].
pub(crate) fn all_outputs<T: Send>(
    artifact: &Artifact,
    data: &Dataset,
    map: impl Fn(usize, &[f32]) -> T + Sync,
) -> Result<Vec<T>, RunError> {
    // One session a thread, made before the parallel part so that its errors surface.
    Session::new(artifact, SessionOptions::default())?;
    let outputs: usize = artifact.program().outputs.iter().map(|(port, _)| port.len()).sum();
    let workspace = || {
        let session = Session::new(artifact, SessionOptions::default());
        (session, vec![0.0; data.shape().len()], vec![0.0; outputs])
    };
    let run = |(session, input, output): &mut (Result<Session, RunError>, Vec<f32>, Vec<f32>), i: usize| {
        data.read(i, input);
        match session {
            Ok(session) => session.run(input, output).map(|()| map(i, output)),
            Err(_) => unreachable!("a session was made from the same artifact before"),
        }
    };
    (0..data.len()).into_par_iter().map_init(workspace, run).collect()
}

/// Share of equal entries, 0..=1; 0 for none.
pub fn agreement(predicted: &[u32], expected: &[u32]) -> f64 {
    let equal = predicted.iter().zip(expected).filter(|(a, b)| a == b).count();
    equal as f64 / expected.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_counts() {
        let values = [1.0, 3.0, 2.0, 3.0, f32::NAN];
        assert_eq!(largest(&values), 1);
        assert!(is_among(&values, 1, 1) && !is_among(&values, 3, 1) && is_among(&values, 3, 2));
        assert!(is_among(&values, 2, 3) && !is_among(&values, 0, 3) && is_among(&values, 0, 4));
        assert!(!is_among(&values, 4, 5) && !is_among(&values, 9, 5));
    }
}
