//! What each layer costs in agreement (in dB where the network is no classifier) when it alone is quantized, without retraining: prior of the search and a column of the report.

use super::budget::Allowance;
use super::signal::Signal;
use super::{Event, Hooks, Material, build};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::compile::CompileError;
use crate::data::Dataset;
use crate::evaluate::{agreement, predictions};
use crate::search::SensitivityProfile;
use releqc_runtime::BitWidth;
use releqc_runtime::format::Artifact;
use std::collections::BTreeMap;

/// Validation samples used.
const SAMPLES: usize = 1000;

/// What an artifact says of the samples.
enum Opinion {
    Classes(Vec<u32>),
    /// Signal-to-noise ratio against the float network, dB.
    Decibels(f64),
}

impl Opinion {
    fn of(artifact: &Artifact, data: &Dataset, signal: Option<&Signal>) -> Result<Self, CompileError> {
        Ok(match signal {
            Some(signal) => Opinion::Decibels(signal.decibels(artifact)?),
            None => Opinion::Classes(predictions(artifact, data)?),
        })
    }

    /// Points of agreement that `other` lost, or dB.
    fn drop(&self, other: &Opinion) -> f64 {
        match (self, other) {
            (Opinion::Classes(before), Opinion::Classes(after)) => 100.0 * (1.0 - agreement(after, before)),
            (Opinion::Decibels(before), Opinion::Decibels(after)) => before - after,
            _ => unreachable!("both are of one network"),
        }
    }
}

/// Measures layers one at a time, all others at 8 bits.
pub(super) struct Profiler<'a> {
    calibrated: &'a Calibrated,
    data: Dataset,
    at_8_bit: Opinion,
    /// Where the network is no classifier.
    signal: Option<Signal>,
    layers: usize,
    known: BTreeMap<(usize, BitWidth), f64>,
}

impl<'a> Profiler<'a> {
    pub(super) fn new(calibrated: &'a Calibrated, material: &Material<'_>) -> Result<Self, CompileError> {
        let validation = material.validation();
        let count = SAMPLES.min(validation.len());
        let data = validation.select(&(0..count).map(|i| i * validation.len() / count).collect::<Vec<_>>());
        let layers = calibrated.folded.weight_layers().len();
        let artifact = build(annotate(calibrated, &vec![BitWidth::MAX; layers]))?;
        let signal = Signal::unless_classifier(calibrated, &data);
        let at_8_bit = Opinion::of(&artifact, &data, signal.as_ref())?;
        Ok(Profiler { calibrated, data, at_8_bit, signal, layers, known: BTreeMap::new() })
    }

    /// Points of agreement with the 8-bit network lost with `layer` alone at `bits`.
    pub(super) fn drop(&mut self, layer: usize, bits: BitWidth) -> Result<f64, CompileError> {
        if bits == BitWidth::MAX {
            return Ok(0.0);
        }
        if let Some(&drop) = self.known.get(&(layer, bits)) {
            return Ok(drop);
        }
        let mut widths = vec![BitWidth::MAX; self.layers];
        widths[layer] = bits;
        let artifact = build(annotate(self.calibrated, &widths))?;
        let drop = self.at_8_bit.drop(&Opinion::of(&artifact, &self.data, self.signal.as_ref())?);
        self.known.insert((layer, bits), drop);
        Ok(drop)
    }

    /// Every layer at every width; `None` where the time budget leaves too little time for it.
    pub(super) fn profile(
        &mut self,
        widths: &[BitWidth],
        hooks: &mut Hooks<'_>,
    ) -> Result<Option<SensitivityProfile>, CompileError> {
        let allowance = Allowance::of(hooks.time_left());
        let total = self.layers * widths.len();
        let mut rows = Vec::with_capacity(self.layers);
        for layer in 0..self.layers {
            let mut row = Vec::with_capacity(widths.len());
            for &bits in widths {
                hooks.check_interrupt()?;
                row.push(self.drop(layer, bits)?);
                let done = layer * widths.len() + row.len();
                hooks.report(Event::Sensitivity { done, total });
                if allowance.exceeded(done, total) {
                    let text = "the time budget leaves no time to measure what each layer loses alone; the search begins without";
                    hooks.report(Event::Note(text.into()));
                    return Ok(None);
                }
            }
            rows.push(row);
        }
        Ok(Some(SensitivityProfile { drops: rows }))
    }
}

/// Each layer alone at its chosen width.
pub(super) fn alone(
    calibrated: &Calibrated,
    widths: &[BitWidth],
    material: &Material<'_>,
) -> Result<Vec<f64>, CompileError> {
    if widths.iter().all(|&bits| bits == BitWidth::MAX) {
        return Ok(vec![0.0; widths.len()]);
    }
    let mut profiler = Profiler::new(calibrated, material)?;
    widths.iter().enumerate().map(|(layer, &bits)| profiler.drop(layer, bits)).collect()
}
