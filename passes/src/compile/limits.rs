//! Budgets of the artifact: what is foreseen of them for any widths, and what an artifact really takes.

use super::cost::{accelerator, latencies};
use super::{Budget, BudgetReport, CompileError, CompileOptions, Quantity};
use crate::annotate::annotate;
use crate::calibrate::Calibrated;
use crate::emit::emit;
use crate::lower::lower;
use crate::quantize::quantize;
use crate::search::environment::mean_bits;
use crate::search::{Constraint, CostModel};
use releqc_runtime::BitWidth;
use releqc_runtime::accel::AccelProgram;
use releqc_runtime::accel::cost::{self, ProgramCost, estimate_on};
use releqc_runtime::format::{Artifact, LoadOptions, Metadata};
use releqc_runtime::session::{Session, SessionOptions};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

/// The budgets of a compilation.
pub(super) struct Limits<'a> {
    calibrated: &'a Calibrated,
    metadata: Metadata,
    budgets: &'a [Budget],
    accelerator: &'a cost::CostModel,
    /// What was found of widths: whether their artifact keeps every budget.
    known: RefCell<BTreeMap<Vec<BitWidth>, bool>>,
}

impl<'a> Limits<'a> {
    pub(super) fn new(calibrated: &'a Calibrated, metadata: Metadata, options: &'a CompileOptions) -> Self {
        let (budgets, accelerator) = (&options.budgets[..], &options.accelerator);
        Limits { calibrated, metadata, budgets, accelerator, known: RefCell::default() }
    }

    /// The budgets as sums over layers, which the search keeps before it pays for a choice.
    pub(super) fn constraints(&self) -> Result<Vec<Constraint>, CompileError> {
        let spending = self.budgets.iter().filter(|budget| budget.quantity.depends_on_widths());
        spending.map(|budget| self.constraint(*budget)).collect()
    }

    fn constraint(&self, budget: Budget) -> Result<Constraint, CompileError> {
        let layers = super::environment::facts(&self.calibrated.folded);
        let cost = match budget.quantity {
            Quantity::AverageBits | Quantity::Ram => CostModel::mean(layers.len()),
            Quantity::Size => CostModel::size(&layers),
            Quantity::Cycles => CostModel::measured(
                "cycles",
                &accelerator(self.calibrated, self.accelerator, |cost| cost.cycles.0 as f64)?,
            )?,
            Quantity::Energy => {
                CostModel::measured("energy", &accelerator(self.calibrated, self.accelerator, |cost| cost.energy.0)?)?
            }
            Quantity::Latency => CostModel::measured("latency", &latencies(self.calibrated)?)?,
        };
        let widest = vec![BitWidth::MAX; layers.len()];
        let whole = self.reached(budget.quantity, &self.artifact(&widest)?, &widest)?;
        let base = (whole - cost.absolute(&widest)).max(0.0);
        Ok(Constraint { cost, base, limit: budget.limit })
    }

    /// Whether the artifact of these widths keeps every budget: measured on one that was not retrained, which takes the same.
    pub(super) fn fits(&self, widths: &[BitWidth]) -> Result<bool, CompileError> {
        if self.budgets.is_empty() {
            return Ok(true);
        }
        if let Some(&known) = self.known.borrow().get(widths) {
            return Ok(known);
        }
        let fits = self.reports(&self.artifact(widths)?, widths)?.iter().all(|report| report.met);
        self.known.borrow_mut().insert(widths.to_vec(), fits);
        Ok(fits)
    }

    /// What an artifact of these widths takes of every budget.
    pub(super) fn reports(&self, artifact: &Artifact, widths: &[BitWidth]) -> Result<Vec<BudgetReport>, CompileError> {
        let report = |budget: &Budget| {
            let Budget { quantity, limit } = *budget;
            let reached = self.reached(quantity, artifact, widths)?;
            // A mean of bits that is exactly the limit must not miss it by the last bit.
            let met = reached <= limit * (1.0 + 1e-12);
            Ok(BudgetReport { budget: quantity, unit: quantity.unit(), limit, reached, met })
        };
        self.budgets.iter().map(report).collect()
    }

    fn artifact(&self, widths: &[BitWidth]) -> Result<Artifact, CompileError> {
        let bytes = emit(
            lower(&quantize(annotate(self.calibrated, widths))?)?,
            self.metadata.clone(),
            &self.accelerator.config,
        )?;
        Artifact::from_bytes(bytes, LoadOptions::default()).map_err(CompileError::Unloadable)
    }

    fn simulated(&self, artifact: &Artifact) -> Result<ProgramCost, CompileError> {
        let program = AccelProgram::decode(artifact.accelerator())?;
        Ok(estimate_on(artifact, &program, self.accelerator)?.program)
    }

    fn reached(&self, quantity: Quantity, artifact: &Artifact, widths: &[BitWidth]) -> Result<f64, CompileError> {
        Ok(match quantity {
            Quantity::AverageBits => mean_bits(widths),
            Quantity::Size => artifact.size_bytes() as f64,
            Quantity::Ram => f64::from(artifact.program().arena_bytes),
            Quantity::Cycles => self.simulated(artifact)?.cycles.0 as f64,
            Quantity::Energy => self.simulated(artifact)?.energy.total().0,
            Quantity::Latency => latency(artifact)?,
        })
    }
}

/// Runs of a latency, and how often their median is taken: the least of the medians counts, as what else runs only adds.
const RUNS: usize = 30;
const ROUNDS: usize = 5;

/// Microseconds of one sample on one thread of this machine, measured as `releqc bench` does.
fn latency(artifact: &Artifact) -> Result<f64, CompileError> {
    let mut session = Session::new(artifact, SessionOptions::default())?;
    let input = vec![0.5; session.input_len()];
    let mut output = vec![0.0; session.output_len()];
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let start = Instant::now();
            session.run(&input, &mut output)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        times.sort_by(f64::total_cmp);
        least = least.min(times[RUNS / 2]);
    }
    Ok(least)
}
