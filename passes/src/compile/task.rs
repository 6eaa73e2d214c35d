//! What a worker needs to know to answer the questions of a search that another process makes.

use super::{CompileOptions, DataSource, Metric, Retrain, RoundingKind, WidthPolicy};
use crate::activation_bits::ActivationBits;
use crate::data::{Geometry, Preprocessing};
use crate::import::ImportOptions;
use crate::search::store_key;
use crate::simd::Isa;
use releqc_runtime::BitWidth;
use serde::{Deserialize, Serialize};

/// A search, as far as its answers depend on it. Another search of the same network for other widths, goals or budgets is the same task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Version of the program that asks.
    pub version: String,
    /// Instruction set that training uses, see [`use_isa`](crate::simd::use_isa).
    pub isa: String,
    /// Where the data are.
    pub data: Option<DataSource>,
    /// Key of the evaluations: a worker that would answer under another one computes something else.
    pub key: String,
    /// Whether widths are judged on a copy that has unlearned the validation samples.
    unlearned: bool,
    options: AnswerOptions,
}

/// The part of [`CompileOptions`] that answers depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AnswerOptions {
    import: ImportOptions,
    retrain: Retrain,
    #[serde(default)]
    retrain_values: bool,
    rounding: RoundingKind,
    /// Widths of tensors, by name or for all.
    activation_bits: Vec<(Option<String>, u8)>,
    metric: Option<Metric>,
    /// What may be lost where an error judges: losses are counted in it.
    error_unit: Option<f64>,
    min_snr: Option<f64>,
    seed: u64,
    preprocessing: Option<Preprocessing>,
    geometry: Geometry,
    input_ranges: Vec<(Option<String>, (f32, f32))>,
}

impl Task {
    pub(super) fn new(options: &CompileOptions, data: Option<DataSource>, key: &str, unlearned: bool) -> Self {
        Task {
            version: env!("CARGO_PKG_VERSION").into(),
            isa: Isa::detect().name().into(),
            data,
            key: key.into(),
            unlearned,
            options: AnswerOptions {
                import: options.import.clone(),
                retrain: options.retrain,
                retrain_values: options.retrain_values,
                rounding: options.rounding,
                activation_bits: stored(&options.activation_bits),
                metric: options.metric,
                error_unit: options.metric.filter(|metric| metric.is_error()).map(|_| options.max_loss),
                min_snr: options.min_snr,
                seed: options.seed,
                preprocessing: options.preprocessing.clone(),
                geometry: options.geometry,
                input_ranges: options.input_ranges.clone(),
            },
        }
    }

    /// The options of a compilation that answers the same.
    pub fn options(&self) -> CompileOptions {
        let AnswerOptions {
            import,
            retrain,
            retrain_values,
            rounding,
            activation_bits,
            metric,
            error_unit,
            min_snr,
            seed,
            preprocessing,
            geometry,
            input_ranges,
        } = self.options.clone();
        let defaults = CompileOptions::default();
        CompileOptions {
            widths: WidthPolicy::Search,
            import,
            retrain,
            retrain_values,
            rounding,
            activation_bits: read_back(&activation_bits),
            metric,
            max_loss: error_unit.unwrap_or(defaults.max_loss),
            min_snr,
            seed,
            preprocessing,
            geometry,
            input_ranges,
            ..defaults
        }
    }

    pub(super) fn is_unlearned(&self) -> bool {
        self.unlearned
    }

    /// The file of it, and a name that only equal tasks of equal models have.
    ///
    /// # Errors
    /// Where a number has no JSON form.
    pub(super) fn description(&self, model: &[u8]) -> Result<(String, Vec<u8>), serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let mut name = store_key(&[&text, model]);
        name.truncate(16);
        Ok((name, text))
    }

    /// What a description says.
    ///
    /// # Errors
    /// Where it is none that this version reads.
    pub fn read(description: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(description)
    }
}

fn stored(bits: &ActivationBits) -> Vec<(Option<String>, u8)> {
    let all = bits.all.iter().map(|bits| (None, bits.bits()));
    all.chain(bits.named.iter().map(|(name, bits)| (Some(name.clone()), bits.bits()))).collect()
}

/// What is no width is left out; a task with another key is then refused.
fn read_back(stored: &[(Option<String>, u8)]) -> ActivationBits {
    let mut bits = ActivationBits::default();
    for (name, width) in stored {
        match (name, BitWidth::new(*width)) {
            (Some(name), Some(width)) => bits.named.push((name.clone(), width)),
            (None, Some(width)) => bits.all = Some(width),
            (_, None) => {}
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Resize;

    #[test]
    fn a_description_says_all_of_it_and_equal_tasks_have_equal_names() {
        let mut options = CompileOptions {
            retrain: Retrain::Short,
            retrain_values: true,
            rounding: RoundingKind::Nearest,
            activation_bits: ActivationBits { all: BitWidth::new(4), named: vec![("x".into(), BitWidth::MIN)] },
            metric: Some(Metric::Mae),
            max_loss: 0.1 + 0.2,
            min_snr: Some(31.7),
            seed: u64::MAX,
            preprocessing: Some(Preprocessing::Normalize { mean: vec![0.1, 1.0 / 3.0], std: vec![f32::MIN_POSITIVE] }),
            geometry: Geometry { resize: Some(Resize::Shorter(7)), crop: Some((5, 6)) },
            input_ranges: vec![(None, (-1e30, 0.3)), (Some("x".into()), (0.0, 1.0))],
            ..CompileOptions::default()
        };
        options.import.shapes.insert("x".into(), vec![1, 3]);
        options.import.cut.push("y".into());
        let task = Task::new(&options, None, "key", true);
        let (name, text) = task.description(b"model").unwrap();
        let read = Task::read(&text).unwrap();
        assert_eq!(read, task);
        let back = read.options();
        assert_eq!(Task::new(&back, None, "key", true), task, "the options are those of the search");
        assert_eq!(task.description(b"model").unwrap().0, name);
        assert_ne!(task.description(b"other").unwrap().0, name);
    }
}
