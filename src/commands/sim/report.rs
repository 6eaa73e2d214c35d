//! What a program costs, as data and as text.

use super::sweep::Point;
use crate::report::{Align, Table, grouped};
use releqc_passes::machine::{Machine, energies};
use releqc_runtime::accel::cost::{CostModel, CostReport, Energy, LayerCost, ProgramCost, transistors};
use releqc_runtime::accel::cycle::QueueCounters;
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
pub(super) struct Report {
    machine: String,
    /// Which operand is serial.
    serial: &'static str,
    /// Of a row.
    requantizers: u32,
    weight_banks: u32,
    activation_banks: u32,
    /// Elements, corrections and requantizers.
    array_transistors: f64,
    cycles: u64,
    /// No schedule takes less: the longer of what the execute queue computes and what the bus moves.
    bound_cycles: u64,
    energy_pj: f64,
    energy_by_component_pj: Parts,
    baseline_8bit: Total,
    bit_parallel_8bit_compute_cycles: u64,
    speedup: f64,
    energy_ratio: f64,
    energy_ratio_range: [f64; 2],
    energy_tables: Vec<UnderTable>,
    leakage: &'static str,
    clock_mhz: u32,
    latency_us: f64,
    host_operations: u64,
    program_instructions: usize,
    load: Queue,
    execute: Queue,
    store: Queue,
    pub(super) layers: Vec<LayerReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sweep: Option<Vec<Point>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replayed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) simulated_rows: Option<usize>,
    pub(super) warnings: Vec<String>,
}

#[derive(Serialize)]
struct Total {
    cycles: u64,
    energy_pj: f64,
}

#[derive(Serialize)]
struct Parts {
    array: f64,
    vector: f64,
    weight_buffer: f64,
    activation_buffer: f64,
    dram: f64,
}

#[derive(Serialize)]
pub(super) struct Queue {
    busy: u64,
    starved: u64,
    blocked: u64,
    /// Waits for banks of a buffer.
    bank_conflicts: u64,
    idle: u64,
}

/// The same events under a table of energies.
#[derive(Serialize)]
struct UnderTable {
    name: String,
    energy_pj: f64,
    energy_ratio: f64,
    /// Entries without a source.
    assumed: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct LayerReport {
    pub(super) name: String,
    pub(super) bits: Option<u8>,
    pub(super) macs: u64,
    pub(super) weight_bytes: u64,
    pub(super) cycles: u64,
    pub(super) compute_cycles: u64,
    pub(super) dram_cycles: u64,
    bit_parallel_8bit_compute_cycles: u64,
    pub(super) dram_bytes: u64,
    pub(super) weight_buffer_bytes: u64,
    pub(super) activation_buffer_bytes: u64,
    pub(super) utilisation: f64,
    pub(super) bound_by: &'static str,
    host_operations: u64,
    pub(super) energy_pj: f64,
    energy_by_component_pj: Parts,
    load: Queue,
    execute: Queue,
    store: Queue,
    baseline_8bit: Total,
}

impl From<&Energy> for Parts {
    fn from(energy: &Energy) -> Self {
        let Energy { array, vector, weight_buffer, activation_buffer, dram } = *energy;
        let [array, vector, weight_buffer, activation_buffer, dram] =
            [array, vector, weight_buffer, activation_buffer, dram].map(|part| part.0);
        Parts { array, vector, weight_buffer, activation_buffer, dram }
    }
}

impl From<&QueueCounters> for Queue {
    fn from(counters: &QueueCounters) -> Self {
        let QueueCounters { busy, starved, blocked, conflicts, idle } = *counters;
        Queue { busy, starved, blocked, bank_conflicts: conflicts, idle }
    }
}

/// A line a queue.
pub(super) fn queues(queues: &[(&str, &Queue)]) -> String {
    let mut text = String::new();
    for (name, queue) in queues {
        let Queue { busy, starved, blocked, bank_conflicts, idle } = queue;
        let [busy, starved, blocked, conflicts, idle] =
            [busy, starved, blocked, bank_conflicts, idle].map(|n| grouped(*n));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name} queue: busy {busy}, starved {starved}, blocked {blocked}, bank conflicts {conflicts}, idle {idle}"
        );
    }
    text
}

fn total(cost: &ProgramCost) -> Total {
    Total { cycles: cost.cycles.0, energy_pj: cost.energy.total().0 }
}

impl Report {
    pub(super) fn new(machine: &Machine, model: &CostModel, cost: &CostReport, program_instructions: usize) -> Self {
        let own = &cost.program;
        let under = |table: &releqc_passes::machine::Energies| UnderTable {
            name: table.name.clone(),
            energy_pj: own.events.energy(&table.model, &model.config).total().0,
            energy_ratio: cost.energy_ratio_under(&table.model, &model.config),
            assumed: table.entries.iter().filter(|entry| entry.source.is_none()).map(|e| e.event.clone()).collect(),
        };
        let [load, execute, store] = [0, 1, 2].map(|queue| Queue::from(&own.queues[queue]));
        let layers = own.layers.iter().zip(&cost.baseline_8bit.layers);
        Report {
            machine: machine.name.clone(),
            serial: model.config.serial.name(),
            requantizers: model.config.requantizers,
            weight_banks: model.config.weight_banks,
            activation_banks: model.config.activation_banks,
            array_transistors: transistors(&model.config),
            cycles: own.cycles.0,
            bound_cycles: own.bound.0,
            energy_pj: own.energy.total().0,
            energy_by_component_pj: Parts::from(&own.energy),
            baseline_8bit: total(&cost.baseline_8bit),
            bit_parallel_8bit_compute_cycles: cost.bit_parallel.0,
            speedup: cost.speedup(),
            energy_ratio: cost.energy_ratio(),
            energy_ratio_range: cost.energy_ratio_range,
            energy_tables: energies().iter().map(under).collect(),
            leakage: "not counted",
            clock_mhz: cost.clock_mhz,
            latency_us: cost.latency_us(),
            host_operations: cost.host_operations,
            program_instructions,
            load,
            execute,
            store,
            layers: layers.map(|(layer, baseline)| LayerReport::new(layer, baseline, model)).collect(),
            sweep: None,
            replayed: None,
            simulated_rows: None,
            warnings: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&[
            ("operator", Align::Left),
            ("bits", Align::Right),
            ("MACs", Align::Right),
            ("cycles", Align::Right),
            ("used %", Align::Right),
            ("bound by", Align::Left),
            ("DRAM bytes", Align::Right),
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
                if layer.macs > 0 { format!("{:.1}", 100.0 * layer.utilisation) } else { String::new() },
                layer.bound_by.into(),
                grouped(layer.dram_bytes),
                format!("{:.1}", layer.energy_pj / 1000.0),
                grouped(layer.baseline_8bit.cycles),
                format!("{:.1}", layer.baseline_8bit.energy_pj / 1000.0),
            ]);
        }
        let mut text = format!("{table}\n");
        let _ = writeln!(
            text,
            "machine {}, serial {}: {} cycles ({:.1} us at {} MHz), at least {}; {:.1} nJ",
            self.machine,
            if self.serial == "both" { "weights and activations" } else { self.serial },
            grouped(self.cycles),
            self.latency_us,
            self.clock_mhz,
            grouped(self.bound_cycles),
            self.energy_pj / 1000.0
        );
        let _ = writeln!(
            text,
            "all layers at 8 bit: {} cycles, {:.1} nJ; {:.2} times as fast, {:.2} times less energy than that",
            grouped(self.baseline_8bit.cycles),
            self.baseline_8bit.energy_pj / 1000.0,
            self.speedup,
            self.energy_ratio
        );
        let _ = writeln!(
            text,
            "bit-parallel 8-bit array of the same multipliers: {} cycles of computing",
            grouped(self.bit_parallel_8bit_compute_cycles)
        );
        for under in &self.energy_tables {
            let _ = write!(
                text,
                "energies {}: {:.1} nJ, {:.2} times less than at 8 bit",
                under.name,
                under.energy_pj / 1000.0,
                under.energy_ratio
            );
            let _ = match under.assumed.is_empty() {
                true => writeln!(text),
                false => writeln!(text, "; without a source: {}", under.assumed.join(", ")),
            };
        }
        text.push_str("leakage is not counted\n");
        text += &queues(&[("load", &self.load), ("execute", &self.execute), ("store", &self.store)]);
        if self.host_operations > 0 {
            let operations = grouped(self.host_operations);
            let _ = writeln!(text, "{operations} operations on floats by the host, which the cycles do not count");
        }
        if let Some(points) = &self.sweep {
            let mut table = Table::new(&[
                ("machine", Align::Left),
                ("elements", Align::Right),
                ("transistors", Align::Right),
                ("cycles", Align::Right),
                ("energy nJ", Align::Right),
                ("best", Align::Left),
            ]);
            for point in points {
                table.row([
                    point.machine.clone(),
                    grouped(point.elements),
                    grouped(point.transistors.round() as u64),
                    grouped(point.cycles),
                    format!("{:.1}", point.energy_pj / 1000.0),
                    if point.pareto { "no other has fewer of all three" } else { "" }.into(),
                ]);
            }
            let _ = writeln!(text, "\n{table}");
        }
        if let Some(replayed) = self.replayed {
            let _ = writeln!(text, "{replayed} instructions written for the test bench");
        }
        if let Some(rows) = self.simulated_rows {
            let _ = writeln!(text, "{rows} rows simulated");
        }
        text
    }
}

impl LayerReport {
    /// Of the three queues.
    pub(super) fn bank_conflicts(&self) -> u64 {
        [&self.load, &self.execute, &self.store].map(|queue| queue.bank_conflicts).iter().sum()
    }

    fn new(layer: &LayerCost, baseline: &LayerCost, model: &CostModel) -> Self {
        let events = &layer.events;
        let [load, execute, store] = [0, 1, 2].map(|queue| Queue::from(&layer.queues[queue]));
        LayerReport {
            name: layer.name.clone(),
            bits: layer.bits.map(releqc_runtime::BitWidth::bits),
            macs: layer.macs,
            weight_bytes: layer.weight_bytes,
            cycles: layer.cycles.0,
            compute_cycles: layer.compute.0,
            dram_cycles: layer.dram.0,
            bit_parallel_8bit_compute_cycles: layer.bit_parallel.0,
            dram_bytes: events.dram_bytes,
            weight_buffer_bytes: events.weight_read_bytes + events.weight_write_bytes,
            activation_buffer_bytes: events.activation_read_bytes + events.activation_write_bytes,
            utilisation: layer.utilisation(model),
            bound_by: layer.bound_by(),
            host_operations: layer.host_operations,
            energy_pj: layer.energy.total().0,
            energy_by_component_pj: Parts::from(&layer.energy),
            load,
            execute,
            store,
            baseline_8bit: Total { cycles: baseline.cycles.0, energy_pj: baseline.energy.total().0 },
        }
    }
}
