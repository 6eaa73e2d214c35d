//! `releqc diff`: what differs between two artifacts.

use super::Context;
use crate::args::Diff;
use crate::artifact;
use crate::failure::{Failure, Outcome};
use crate::report::{Align, Layer, Table, average_bits, grouped, layers};
use releqc_runtime::format::Artifact;
use releqc_runtime::pack::unpack;
use releqc_runtime::program::{Conv, Op, Program, Tensor};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Serialize)]
struct Report {
    equal: bool,
    size_bytes: [usize; 2],
    average_bits: [f64; 2],
    activation_bytes: [u32; 2],
    /// Sections with their hashes.
    sections: Vec<Section>,
    /// Layers that differ, or that one artifact lacks.
    layers: Vec<LayerChange>,
    /// Tensors that differ, or that one artifact lacks.
    tensors: Vec<TensorChange>,
    /// Operators of the plan, of kinds whose number differs.
    operators: Vec<Count>,
    metadata: Vec<Entry>,
}

#[derive(Serialize)]
struct Section {
    name: String,
    equal: bool,
    bytes: [Option<usize>; 2],
    blake3: [Option<String>; 2],
}

#[derive(Serialize)]
struct LayerChange {
    name: String,
    bits: [Option<u8>; 2],
    bytes: [Option<u64>; 2],
    weights: Option<u64>,
    /// Weight codes that differ; `null` where widths or shapes do.
    codes_changed: Option<u64>,
    biases_changed: Option<u64>,
    multipliers_changed: Option<u64>,
}

#[derive(Serialize)]
struct TensorChange {
    name: String,
    /// Rows, columns, channels.
    shape: [Option<[u32; 3]>; 2],
    /// Least and greatest real value of the codes.
    range: [Option<[f32; 2]>; 2],
}

#[derive(Serialize)]
struct Count {
    op: &'static str,
    count: [usize; 2],
}

#[derive(Serialize)]
struct Entry {
    key: String,
    value: [Option<String>; 2],
}

pub(super) fn execute(args: &Diff, context: &Context) -> Result<Outcome, Failure> {
    let pair = [artifact::open(&args.a)?, artifact::open(&args.b)?];
    let report = Report::new(&pair);
    context.console.result(&report, || report.text())?;
    Ok(if args.exit_code && !report.equal { Outcome::Different } else { Outcome::Done })
}

/// The keys of both sides in the order of the first, then those that only the second has.
fn joined<T>(sides: [Vec<(String, T)>; 2]) -> Vec<(String, [Option<T>; 2])> {
    let [a, b] = sides;
    let mut rest: Vec<Option<(String, T)>> = b.into_iter().map(Some).collect();
    let mut all = Vec::new();
    for (key, value) in a {
        let same = rest.iter_mut().find(|entry| entry.as_ref().is_some_and(|(other, _)| *other == key));
        let other = same.and_then(Option::take).map(|(_, value)| value);
        all.push((key, [Some(value), other]));
    }
    all.extend(rest.into_iter().flatten().map(|(key, value)| (key, [None, Some(value)])));
    all
}

impl Report {
    fn new(pair: &[Artifact; 2]) -> Self {
        let each_layers = [layers(&pair[0]), layers(&pair[1])];
        let sections = |artifact: &Artifact| {
            let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            artifact.sections().map(|(name, bytes, hash)| (name, (bytes, hex(hash)))).collect()
        };
        let sections: Vec<Section> = joined([sections(&pair[0]), sections(&pair[1])])
            .into_iter()
            .map(|(name, [a, b])| {
                let (bytes, blake3) = ([&a, &b].map(|s| s.as_ref().map(|s| s.0)), [&a, &b].map(hash));
                Section { name, equal: a == b, bytes, blake3 }
            })
            .collect();
        Report {
            equal: pair[0].size_bytes() == pair[1].size_bytes() && sections.iter().all(|section| section.equal),
            size_bytes: [pair[0].size_bytes(), pair[1].size_bytes()],
            average_bits: [average_bits(&each_layers[0]), average_bits(&each_layers[1])],
            activation_bytes: [0, 1].map(|side| pair[side].program().arena_bytes),
            sections,
            layers: layer_changes(pair, each_layers),
            tensors: tensor_changes(pair),
            operators: operator_changes(pair),
            metadata: metadata_changes(pair),
        }
    }

    fn text(&self) -> String {
        if self.equal {
            return format!("equal: {} bytes\n", grouped(self.size_bytes[0] as u64));
        }
        let mut text = String::new();
        let [a, b] = self.size_bytes.map(|bytes| grouped(bytes as u64));
        let _ = writeln!(text, "size         {a} -> {b} bytes");
        let [a, b] = self.average_bits;
        let _ = writeln!(text, "average bits {a:.2} -> {b:.2}");
        let [a, b] = self.activation_bytes.map(|bytes| grouped(bytes.into()));
        let _ = writeln!(text, "activations  {a} -> {b} bytes");
        let mut table = Table::new(&[("section", Align::Left), ("bytes", Align::Right), ("BLAKE3", Align::Left)]);
        for section in &self.sections {
            let bytes = side_by_side(&section.bytes.map(|bytes| bytes.map(|bytes| grouped(bytes as u64))));
            let short = section.blake3.each_ref().map(|hash| hash.as_ref().map(|hash| hash[..16].to_owned()));
            table.row([section.name.clone(), bytes, side_by_side(&short)]);
        }
        let _ = write!(text, "\n{table}");
        if !self.layers.is_empty() {
            let mut table = Table::new(&[
                ("layer", Align::Left),
                ("bits", Align::Right),
                ("bytes", Align::Right),
                ("weights changed", Align::Right),
                ("biases", Align::Right),
                ("multipliers", Align::Right),
            ]);
            for layer in &self.layers {
                let count = |changed: Option<u64>| changed.map_or_else(|| "-".into(), grouped);
                table.row([
                    layer.name.clone(),
                    side_by_side(&layer.bits.map(|bits| bits.map(|bits| bits.to_string()))),
                    side_by_side(&layer.bytes.map(|bytes| bytes.map(grouped))),
                    count(layer.codes_changed),
                    count(layer.biases_changed),
                    count(layer.multipliers_changed),
                ]);
            }
            let _ = write!(text, "\n{table}");
        }
        if !self.tensors.is_empty() {
            let mut table = Table::new(&[("tensor", Align::Left), ("shape", Align::Left), ("range", Align::Left)]);
            for tensor in &self.tensors {
                let shape = |shape: [u32; 3]| crate::report::extents(&shape);
                let range = |[low, high]: [f32; 2]| format!("{low:.4}..{high:.4}");
                table.row([
                    tensor.name.clone(),
                    side_by_side(&tensor.shape.map(|side| side.map(shape))),
                    side_by_side(&tensor.range.map(|side| side.map(range))),
                ]);
            }
            let _ = write!(text, "\n{table}");
        }
        for Count { op, count: [a, b] } in &self.operators {
            let _ = writeln!(text, "operators    {op}: {a} -> {b}");
        }
        for Entry { key, value } in &self.metadata {
            let _ = writeln!(text, "recorded     {key}: {}", side_by_side(value));
        }
        text
    }
}

fn hash(side: &Option<(usize, String)>) -> Option<String> {
    side.as_ref().map(|(_, hash)| hash.clone())
}

/// `a -> b`, or the one value of both.
fn side_by_side(sides: &[Option<String>; 2]) -> String {
    let [a, b] = sides.each_ref().map(|side| side.as_deref().unwrap_or("none"));
    if a == b { a.into() } else { format!("{a} -> {b}") }
}

fn layer_changes(pair: &[Artifact; 2], layers: [Vec<Layer>; 2]) -> Vec<LayerChange> {
    let [a, b] = layers;
    let convs = [0, 1].map(|side: usize| pair[side].program().convs());
    let named = |layers: Vec<Layer>, convs: Vec<Conv>| {
        layers.into_iter().zip(convs).map(|(layer, conv)| (layer.name.clone(), (layer, conv))).collect()
    };
    let [convs_a, convs_b] = convs.map(|convs| convs.cloned().collect::<Vec<_>>());
    let mut changes = Vec::new();
    for (name, sides) in joined([named(a, convs_a), named(b, convs_b)]) {
        let layer = |side: usize| sides[side].as_ref().map(|(layer, _)| layer);
        let mut change = LayerChange {
            name,
            bits: [0, 1].map(|side| layer(side).map(|layer| layer.bits)),
            bytes: [0, 1].map(|side| layer(side).map(|layer| layer.bytes)),
            weights: layer(0).or(layer(1)).map(|layer| layer.weights),
            codes_changed: None,
            biases_changed: None,
            multipliers_changed: None,
        };
        if let [Some((_, a)), Some((_, b))] = &sides {
            let [codes_a, codes_b] = [codes(&pair[0], a), codes(&pair[1], b)];
            if codes_a.len() == codes_b.len() && a.bits == b.bits {
                change.codes_changed = Some(differing(&codes_a, &codes_b));
            }
            if a.outputs == b.outputs {
                change.biases_changed = Some(differing(&pair[0].biases(a), &pair[1].biases(b)));
                let multipliers = [pair[0].multipliers(a), pair[1].multipliers(b)];
                change.multipliers_changed = Some(differing(&multipliers[0], &multipliers[1]));
            }
        }
        let counts = [change.codes_changed, change.biases_changed, change.multipliers_changed];
        if counts != [Some(0); 3] {
            changes.push(change);
        }
    }
    changes
}

fn codes(artifact: &Artifact, conv: &Conv) -> Vec<i8> {
    let depth = conv.depth(artifact.program().tensor(conv.x));
    unpack(artifact.weights(conv), conv.outputs as usize, depth, conv.bits)
}

fn differing<T: PartialEq>(a: &[T], b: &[T]) -> u64 {
    a.iter().zip(b).filter(|(a, b)| a != b).count() as u64
}

fn tensor_changes(pair: &[Artifact; 2]) -> Vec<TensorChange> {
    let named = |program: &Program| program.tensors.iter().map(|t| (t.name.clone(), t.clone())).collect();
    let shape = |t: &Tensor| [t.height, t.width, t.channels];
    let range = |t: &Tensor| [0u8, 255].map(|code| (f32::from(code) - f32::from(t.zero_point)) * t.scale);
    joined([named(pair[0].program()), named(pair[1].program())])
        .into_iter()
        .map(|(name, sides)| TensorChange {
            name,
            shape: sides.each_ref().map(|side| side.as_ref().map(shape)),
            range: sides.each_ref().map(|side| side.as_ref().map(range)),
        })
        .filter(|change| change.shape[0] != change.shape[1] || change.range[0] != change.range[1])
        .collect()
}

fn operator_changes(pair: &[Artifact; 2]) -> Vec<Count> {
    let mut counts: BTreeMap<&'static str, [usize; 2]> = BTreeMap::new();
    for (side, artifact) in pair.iter().enumerate() {
        for op in &artifact.program().ops {
            counts.entry(Op::label(op)).or_default()[side] += 1;
        }
    }
    counts.into_iter().filter(|(_, [a, b])| a != b).map(|(op, count)| Count { op, count }).collect()
}

fn metadata_changes(pair: &[Artifact; 2]) -> Vec<Entry> {
    let entries = |artifact: &Artifact| artifact.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    joined([entries(&pair[0]), entries(&pair[1])])
        .into_iter()
        .filter(|(_, [a, b])| a != b)
        .map(|(key, value)| Entry { key, value })
        .collect()
}
