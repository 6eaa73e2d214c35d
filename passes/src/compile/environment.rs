//! The environment of the search: retrain at the asked widths, build the artifact, measure it on the validation samples.

use super::{Hooks, Judge, Material, build};
use crate::annotate::{Annotated, annotate};
use crate::calibrate::Calibrated;
use crate::compile::{CompileError, Event};
use crate::evaluate::{agreement, predictions};
use crate::ir::{Graph, Op};
use crate::search::{Environment, Evaluation, LayerFacts, SearchError};
use crate::train::{Progress, Trainer};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::ops::ControlFlow;

/// Answers with the accuracy of the artifact itself.
pub(super) struct RetrainingEnvironment<'a, 't, 'r, 'h> {
    layers: Vec<LayerFacts>,
    widths: Vec<BitWidth>,
    calibrated: &'a Calibrated,
    material: &'a Material<'a>,
    judge: &'a Judge,
    /// `None` measures without retraining.
    trainer: Option<&'a Trainer<'t>>,
    hooks: &'a RefCell<&'r mut Hooks<'h>>,
}

impl<'a, 't, 'r, 'h> RetrainingEnvironment<'a, 't, 'r, 'h> {
    pub(super) fn new(
        calibrated: &'a Calibrated,
        material: &'a Material<'a>,
        judge: &'a Judge,
        trainer: Option<&'a Trainer<'t>>,
        widths: Vec<BitWidth>,
        hooks: &'a RefCell<&'r mut Hooks<'h>>,
    ) -> Self {
        RetrainingEnvironment { layers: facts(&calibrated.folded), widths, calibrated, material, judge, trainer, hooks }
    }

    fn annotated(&self, widths: &[BitWidth]) -> Result<Annotated, CompileError> {
        let Some(trainer) = self.trainer else { return Ok(annotate(self.calibrated, widths)) };
        let watch = |progress: &Progress| {
            let mut hooks = self.hooks.borrow_mut();
            hooks.report(Event::Retraining { step: progress.step, steps: progress.steps, loss: progress.loss });
            if hooks.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let retrained = trainer.retrain(widths, watch)?;
        self.hooks.borrow().check_interrupt()?;
        Ok(retrained.annotated)
    }

    fn measure(&self, widths: &[BitWidth]) -> Result<Evaluation, CompileError> {
        let artifact = build(self.annotated(widths)?)?;
        let classes = predictions(&artifact, self.material.validation())?;
        let float = self.judge.float_classes();
        let expected = self.material.validation().labels().unwrap_or(float);
        // Both networks see the same samples: only those on which one alone is right carry noise.
        let decides = |i: &usize| (classes[*i] == expected[*i]) != (float[*i] == expected[*i]);
        let differing = (0..classes.len()).filter(decides).count() as f64;
        let standard_error = (differing + 1.0).sqrt() / classes.len() as f64;
        Ok(Evaluation {
            accuracy: agreement(&classes, expected),
            samples: classes.len(),
            standard_error: Some(standard_error),
            cached: false,
        })
    }
}

impl Environment for RetrainingEnvironment<'_, '_, '_, '_> {
    fn layers(&self) -> &[LayerFacts] {
        &self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        &self.widths
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        self.measure(widths).map_err(|error| match error {
            CompileError::Interrupted => SearchError::Interrupted,
            other => SearchError::Evaluation {
                widths: crate::search::environment::widths_text(widths),
                source: Box::new(other),
            },
        })
    }
}

/// What the agent's state embeds of each weight layer.
pub(super) fn facts(graph: &Graph) -> Vec<LayerFacts> {
    let of = |id| {
        let node = graph.node(id);
        let (weight, kernel) = match &node.op {
            Op::Conv(conv) => (&conv.weight, conv.window.kernel[0]),
            Op::FullyConnected(fc) => (&fc.weight, 0),
            other => unreachable!("{} owns no weights", other.label()),
        };
        LayerFacts {
            name: node.name.clone(),
            outputs: weight.dims()[0],
            inputs: weight.dims()[1],
            kernel,
            weights: weight.data().len() as u64,
            macs: graph.macs(id),
            weight_std: standard_deviation(weight.data()),
        }
    };
    graph.weight_layers().into_iter().map(of).collect()
}

fn standard_deviation(values: &[f32]) -> f32 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count).sqrt() as f32
}
