//! `releqc sim`: cost on the accelerator, and its functional simulation.

use super::{Context, run};
use crate::args::{Executor, IsaFlag, Sim};
use crate::artifact;
use crate::executor::{Choice, all_cores};
use crate::failure::{Failure, Outcome};
use crate::report::{Align, Table, grouped};
use crate::rows::Rows;
use releqc_runtime::accel::cost::{CostReport, LayerCost, estimate};
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
struct Report {
    cycles: u64,
    energy_pj: f64,
    baseline_8bit: Total,
    speedup: f64,
    energy_ratio: f64,
    clock_mhz: u32,
    latency_us: f64,
    host_operations: u64,
    layers: Vec<LayerReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulated_rows: Option<usize>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Total {
    cycles: u64,
    energy_pj: f64,
}

#[derive(Serialize)]
struct LayerReport {
    name: String,
    bits: Option<u8>,
    macs: u64,
    weight_bytes: u64,
    cycles: u64,
    compute_cycles: u64,
    dram_cycles: u64,
    dram_bytes: u64,
    host_operations: u64,
    energy_pj: f64,
    baseline_8bit: Total,
}

pub(super) fn execute(args: &Sim, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let mut inputs = vec![args.artifact.clone()];
    inputs.extend(Rows::files(&args.input, artifact.program())?);
    let outputs = run::places(args.output.as_deref(), &artifact, &inputs)?;
    let cost = estimate(&artifact).map_err(|error| Failure::input(format!("accelerator program: {error}")))?;
    let mut report = Report::new(&cost);
    if !args.input.is_empty() {
        let rows = Rows::read(&args.input, artifact.program())?;
        report.warnings = run::warnings(&artifact, &rows);
        let threads = context.threads.unwrap_or_else(all_cores);
        let choice = Choice { executor: Executor::Accelerator, cpu: IsaFlag { isa: None, without: None }, threads };
        let results = run::compute(&artifact, choice, &rows, context)?;
        run::write_all(&artifact, &results, &outputs)?;
        report.simulated_rows = Some(rows.count);
    }
    context.console.result(&report, || report.text())?;
    Ok(Outcome::Done)
}

impl Report {
    fn new(cost: &CostReport) -> Self {
        Report {
            cycles: cost.cycles.0,
            energy_pj: cost.energy_pj.0,
            baseline_8bit: Total { cycles: cost.baseline_8bit.cycles.0, energy_pj: cost.baseline_8bit.energy_pj.0 },
            speedup: cost.speedup(),
            energy_ratio: cost.energy_ratio(),
            clock_mhz: cost.clock_mhz,
            latency_us: cost.latency_us(),
            host_operations: cost.host_operations,
            layers: cost.layers.iter().map(LayerReport::new).collect(),
            simulated_rows: None,
            warnings: Vec::new(),
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&[
            ("operator", Align::Left),
            ("bits", Align::Right),
            ("MACs", Align::Right),
            ("cycles", Align::Right),
            ("bound by", Align::Left),
            ("energy nJ", Align::Right),
            ("cycles at 8 bit", Align::Right),
            ("energy nJ at 8 bit", Align::Right),
        ]);
        for layer in &self.layers {
            table.row([
                layer.name.clone(),
                layer.bits.map(|bits| bits.to_string()).unwrap_or_default(),
                if layer.macs > 0 { grouped(layer.macs) } else { String::new() },
                grouped(layer.cycles),
                if layer.dram_cycles > layer.compute_cycles { "DRAM" } else { "compute" }.into(),
                format!("{:.1}", layer.energy_pj / 1000.0),
                grouped(layer.baseline_8bit.cycles),
                format!("{:.1}", layer.baseline_8bit.energy_pj / 1000.0),
            ]);
        }
        let mut text = format!("{table}\n");
        let _ = writeln!(
            text,
            "{} cycles ({:.1} us at {} MHz), {:.1} nJ; all layers at 8 bit: {} cycles, {:.1} nJ",
            grouped(self.cycles),
            self.latency_us,
            self.clock_mhz,
            self.energy_pj / 1000.0,
            grouped(self.baseline_8bit.cycles),
            self.baseline_8bit.energy_pj / 1000.0
        );
        let _ =
            writeln!(text, "{:.2} times as fast, {:.2} times less energy than 8 bit", self.speedup, self.energy_ratio);
        if self.host_operations > 0 {
            let operations = grouped(self.host_operations);
            let _ = writeln!(text, "{operations} operations on floats by the host, which the cycles do not count");
        }
        if let Some(rows) = self.simulated_rows {
            let _ = writeln!(text, "{rows} rows simulated");
        }
        text
    }
}

impl LayerReport {
    fn new(layer: &LayerCost) -> Self {
        let (cost, baseline) = (&layer.cost, &layer.baseline_8bit);
        LayerReport {
            name: layer.name.clone(),
            bits: layer.bits.map(releqc_runtime::BitWidth::bits),
            macs: layer.macs,
            weight_bytes: layer.weight_bytes,
            cycles: cost.cycles.0,
            compute_cycles: cost.compute.0,
            dram_cycles: cost.dram.0,
            dram_bytes: cost.traffic.weight_dram_bytes + cost.traffic.activation_dram_bytes,
            host_operations: layer.host_operations,
            energy_pj: cost.energy.0,
            baseline_8bit: Total { cycles: baseline.cycles.0, energy_pj: baseline.energy.0 },
        }
    }
}
