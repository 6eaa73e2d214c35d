//! The environment of the search: retrain at the asked widths, build the artifact, measure it on the validation samples.

use super::hopeless::Probation;
use super::run::failed;
use super::yardstick::Yardstick;
use super::{Hooks, Score, build};
use crate::annotate::Annotated;
use crate::compile::{CompileError, Event};
use crate::evaluate::agreement;
use crate::ir::{Graph, Node, NodeId, Op};
use crate::search::{Environment, Evaluation, LayerFacts, SearchError};
use crate::train::{Progress, Trainer};
use releqc_runtime::BitWidth;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::Instant;

/// Answers with the accuracy of the artifact itself.
pub(super) struct RetrainingEnvironment<'a, 't, 'r, 'h> {
    yardstick: &'a Yardstick<'a>,
    layers: Vec<LayerFacts>,
    /// `None` measures without retraining.
    trainer: Option<&'a Trainer<'t>>,
    hooks: &'a RefCell<&'r mut Hooks<'h>>,
}

impl<'a, 't, 'r, 'h> RetrainingEnvironment<'a, 't, 'r, 'h> {
    pub(super) fn new(
        yardstick: &'a Yardstick<'a>,
        trainer: Option<&'a Trainer<'t>>,
        hooks: &'a RefCell<&'r mut Hooks<'h>>,
    ) -> Self {
        RetrainingEnvironment { yardstick, layers: facts(&yardstick.calibrated.folded), trainer, hooks }
    }

    fn annotated(&self, widths: &[BitWidth]) -> Result<Annotated, CompileError> {
        let Some(trainer) = self.trainer else {
            return Ok(self.yardstick.memo.quantize(widths).annotated);
        };
        let Yardstick { judge, material, .. } = self.yardstick;
        // Where values are compared progress counts nothing.
        let mut probation = judge
            .counts_answers()
            .then(|| Probation::new(agreement(judge.float_classes(), judge.expected(material)) as f32));
        let watch = |progress: &Progress| {
            let mut hooks = self.hooks.borrow_mut();
            hooks.report(Event::Retraining { step: progress.step, steps: progress.steps, loss: progress.loss });
            let hopeless = probation.as_mut().is_some_and(|probation| probation.is_hopeless(progress));
            if hopeless || hooks.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let start = Instant::now();
        let retrained = trainer.retrain(widths, watch)?;
        self.hooks.borrow().check_interrupt()?;
        self.yardstick.pace.note(trainer.recipe(), retrained.steps, start.elapsed());
        Ok(retrained.annotated)
    }

    fn measure(&self, widths: &[BitWidth]) -> Result<Evaluation, CompileError> {
        let artifact = build(self.annotated(widths)?)?;
        let Yardstick { judge, material, .. } = self.yardstick;
        let Score { accuracy, right } = judge.score(&artifact, material)?;
        let standard_error = if judge.counts_answers() { paired_error(&right, judge.float_right()) } else { 0.0 };
        Ok(Evaluation { accuracy, samples: right.len(), standard_error: Some(standard_error), cached: false })
    }
}

/// Standard error of the difference of two accuracies, 0..=1. Both networks see the same samples: only those on which one alone is
/// right carry noise.
pub(super) fn paired_error(right: &[bool], others: &[bool]) -> f64 {
    let differing = right.iter().zip(others).filter(|(own, other)| own != other).count() as f64;
    (differing + 1.0).sqrt() / right.len() as f64
}

impl Environment for RetrainingEnvironment<'_, '_, '_, '_> {
    fn layers(&self) -> &[LayerFacts] {
        &self.layers
    }

    fn widths(&self) -> &[BitWidth] {
        &self.yardstick.options.action_set
    }

    fn evaluate(&mut self, widths: &[BitWidth]) -> Result<Evaluation, SearchError> {
        self.measure(widths).map_err(|error| failed(widths, error))
    }
}

/// What the agent's state embeds of each weight layer.
pub(super) fn facts(graph: &Graph) -> Vec<LayerFacts> {
    let of = |(id, node): (NodeId, &Node)| {
        let layer = node.layer()?;
        Some(LayerFacts {
            name: node.name.clone(),
            outputs: layer.outputs,
            inputs: layer.inputs,
            kernel: if let Op::Conv(conv) = &node.op { conv.window.kernel[0] } else { 0 },
            weights: layer.weight.data().len() as u64,
            macs: graph.macs(id),
            weight_std: standard_deviation(layer.weight.data()),
        })
    };
    graph.iter().filter_map(of).collect()
}

fn standard_deviation(values: &[f32]) -> f32 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count).sqrt() as f32
}
