//! `releqc inspect`: what an artifact holds.

use super::Context;
use crate::args::Inspect;
use crate::artifact;
use crate::failure::{Failure, Outcome};
use crate::report::{Align, Layer, Table, activations, average_bits, extents, grouped, layers};
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Port;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Serialize)]
struct Report<'a> {
    format: String,
    size_bytes: usize,
    average_bits: f64,
    layers: Vec<Layer>,
    inputs: Vec<PortReport<'a>>,
    outputs: Vec<PortReport<'a>>,
    activation_bytes: u32,
    sections: Vec<Section>,
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct PortReport<'a> {
    name: &'a str,
    shape: &'a [u32],
}

#[derive(Serialize)]
struct Section {
    name: String,
    bytes: usize,
    blake3: String,
}

impl<'a> PortReport<'a> {
    fn new(port: &'a Port) -> Self {
        PortReport { name: &port.name, shape: &port.dims }
    }
}

pub(super) fn execute(args: &Inspect, context: &Context) -> Result<Outcome, Failure> {
    let artifact = artifact::open(&args.artifact)?;
    let report = Report::new(&artifact);
    context.console.result(&report, || report.text())?;
    Ok(Outcome::Done)
}

impl<'a> Report<'a> {
    fn new(artifact: &'a Artifact) -> Self {
        let program = artifact.program();
        let (major, minor) = artifact.version();
        let layers = layers(artifact);
        let section = |(name, bytes, hash): (String, usize, [u8; 32])| {
            let blake3 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            Section { name, bytes, blake3 }
        };
        Report {
            format: format!("{major}.{minor}"),
            size_bytes: artifact.size_bytes(),
            average_bits: average_bits(&layers),
            layers,
            inputs: program.inputs.iter().map(|(port, _)| PortReport::new(port)).collect(),
            outputs: program.outputs.iter().map(|(port, _)| PortReport::new(port)).collect(),
            activation_bytes: program.arena_bytes,
            sections: artifact.sections().map(section).collect(),
            metadata: artifact.metadata(),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let weights: u64 = self.layers.iter().map(|layer| layer.weights).sum();
        let macs: u64 = self.layers.iter().map(|layer| layer.macs).sum();
        let _ = writeln!(
            text,
            "format {}, {} bytes, {:.2} bits on average",
            self.format,
            grouped(self.size_bytes as u64),
            self.average_bits
        );
        let _ = writeln!(
            text,
            "{} weights, {} multiply-accumulates, {} bytes of activations",
            grouped(weights),
            grouped(macs),
            grouped(self.activation_bytes.into())
        );
        for (what, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            for port in ports {
                let _ = writeln!(text, "{what} {:?} {}", port.name, extents(port.shape));
            }
        }
        let mut table = Table::new(&[
            ("layer", Align::Left),
            ("op", Align::Left),
            ("input", Align::Left),
            ("kernel", Align::Left),
            ("outputs", Align::Right),
            ("bits", Align::Right),
            ("weights", Align::Right),
            ("MACs", Align::Right),
            ("bytes", Align::Right),
        ]);
        for layer in &self.layers {
            table.row([
                layer.name.clone(),
                layer.op.into(),
                extents(&layer.input),
                extents(&layer.kernel),
                layer.outputs.to_string(),
                layer.bits.to_string(),
                grouped(layer.weights),
                grouped(layer.macs),
                grouped(layer.bytes),
            ]);
        }
        let _ = write!(text, "\n{table}");
        if let Some(line) = activations(self.layers.iter().map(|layer| layer.activation_bits)) {
            let _ = writeln!(text, "\n{line}");
        }
        let mut table = Table::new(&[("section", Align::Left), ("bytes", Align::Right), ("BLAKE3", Align::Left)]);
        for section in &self.sections {
            table.row([section.name.clone(), grouped(section.bytes as u64), section.blake3.clone()]);
        }
        let _ = write!(text, "\n{table}");
        if !self.metadata.is_empty() {
            let mut table = Table::new(&[("recorded", Align::Left), ("", Align::Left)]);
            for (key, value) in self.metadata {
                table.row([key.clone(), value.clone()]);
            }
            let _ = write!(text, "\n{table}");
        }
        text
    }
}
