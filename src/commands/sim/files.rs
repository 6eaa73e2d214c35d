//! Files beside the report: a table, a trace, vectors for a test bench.

use super::report::Report;
use crate::failure::Failure;
use crate::output::Output;
use releqc_runtime::accel::cost::Timeline;
use releqc_runtime::accel::simulate::Vectors;
use releqc_runtime::accel::text::operator_name;
use releqc_runtime::accel::{AccelConfig, Serial};
use releqc_runtime::program::Program;
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A line a layer.
pub(super) fn csv(report: &Report) -> String {
    let mut text = String::from(
        "name,bits,macs,weight_bytes,cycles,compute_cycles,dram_cycles,bank_conflicts,dram_bytes,weight_buffer_bytes,\
         activation_buffer_bytes,utilisation,bound_by,energy_pj\n",
    );
    for layer in &report.layers {
        let bits = layer.bits.map(|bits| bits.to_string()).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\"{}\",{bits},{},{},{},{},{},{},{},{},{},{:.6},{},{}",
            layer.name.replace('"', "\"\""),
            layer.macs,
            layer.weight_bytes,
            layer.cycles,
            layer.compute_cycles,
            layer.dram_cycles,
            layer.bank_conflicts(),
            layer.dram_bytes,
            layer.weight_buffer_bytes,
            layer.activation_buffer_bytes,
            layer.utilisation,
            layer.bound_by,
            layer.energy_pj
        );
    }
    text
}

/// Trace Event format: one complete event an instruction, one thread a queue.
pub(super) fn trace(timeline: &Timeline, network: &Program) -> Vec<u8> {
    let name = |queue: usize| ["load", "execute", "store"][queue];
    let threads = (0..3).map(
        |queue| json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": queue + 1, "args": {"name": name(queue)}}),
    );
    let events = timeline.steps.iter().zip(&timeline.spans).map(|(step, span)| {
        let operator = step.operator.and_then(|at| network.ops.get(usize::from(at))).map_or("", operator_name);
        json!({
            "name": operator,
            "cat": name(step.queue as usize),
            "ph": "X",
            "ts": span.start,
            "dur": span.free - span.start,
            "pid": 1,
            "tid": step.queue as usize + 1,
            "args": {
                "instruction": step.at, "end": span.end, "starved": span.starved, "blocked": span.blocked,
                "bank_conflicts": span.conflicts
            }
        })
    });
    let all: Vec<_> = threads.chain(events).collect();
    json!({"traceEvents": all, "otherData": {"unit": "1 us is 1 cycle"}}).to_string().into_bytes()
}

/// The files that a test bench reads, into a folder.
pub(super) fn vectors(folder: &Path, vectors: &Vectors, config: &AccelConfig) -> Result<(), Failure> {
    if config.tiles != 1 {
        return Err(Failure::input(format!("--vectors: a machine of {} tiles; the test bench has one", config.tiles)));
    }
    if config.serial != Serial::Weights {
        let serial = config.serial.name();
        return Err(Failure::input(format!("--vectors: serial {serial}; weights alone are serial in the hardware")));
    }
    if !folder.is_dir() {
        fs::create_dir(folder).map_err(|error| Failure::input(format!("--vectors {}: {error}", folder.display())))?;
    }
    for (name, text) in vectors.files(config) {
        Output::at(&folder.join(name), &[])?.write(|file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}
