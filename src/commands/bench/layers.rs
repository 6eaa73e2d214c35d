//! Each layer of a bench: its time, what binds it, and the same layer at 8 bits.

use crate::failure::Failure;
use crate::report::{Align, Table};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::program::{Conv, Op};
use releqc_runtime::session::{Session, SessionOptions, measure_products, measure_reads};
use releqc_runtime::{BitWidth, pack};
use serde::Serialize;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Turns in which the network and its form at 8 bits are timed, one after the other.
const TURNS: usize = 8;

/// A layer that takes this much longer than at 8 bits is called slower; less is noise.
const SLOWER: f64 = 1.05;
/// So is what differs by less, in microseconds: a clock's grain.
const SLOWER_US: f64 = 0.1;

/// What the machine reaches at most, measured now, on as many threads as the bench.
#[derive(Serialize)]
pub(super) struct Limits {
    /// 10^9 multiply-accumulates a second, by width.
    gmacs: BTreeMap<u8, f64>,
    /// 10^9 bytes a second read from as many bytes as the network has weights.
    gbytes: f64,
}

#[derive(Serialize)]
pub(super) struct LayerReport {
    name: String,
    op: &'static str,
    bits: Option<u8>,
    median_us: f64,
    share: f64,
    /// Whether it computes floats from floats: a part of an island.
    island: bool,
    macs: u64,
    /// Bytes of weights that a run reads, packed or widened as planned.
    weight_bytes: usize,
    /// Of a layer with weights.
    #[serde(flatten)]
    weights: Option<Weighted>,
}

#[derive(Serialize)]
struct Weighted {
    gmacs: f64,
    gbytes: f64,
    /// Which limit binds it: the one that takes longer.
    limit: &'static str,
    /// Time at that limit / time measured.
    limit_fraction: f64,
    /// The same layer with weights of 8 bits.
    median_us_8bit: f64,
    slower_than_8bit: bool,
}

/// Times every operator.
pub(super) fn measure(
    session: &mut Session,
    options: SessionOptions,
    input: &[f32],
    rounds: usize,
) -> Result<(Limits, Vec<LayerReport>), Failure> {
    let artifact = session.artifact().clone();
    let weight_bytes = session.weight_bytes();
    let limits = limits(session, weight_bytes.iter().sum())?;
    let mut wide = Session::new(&at_8_bits(&artifact)?, options).map_err(Failure::defect)?;
    let mut times = vec![[Vec::new(), Vec::new()]; artifact.program().ops.len()];
    for _ in 0..TURNS {
        for (side, session) in [&mut *session, &mut wide].into_iter().enumerate() {
            let profile = session.profile(input, rounds.div_ceil(TURNS)).map_err(Failure::defect)?;
            times.iter_mut().zip(profile).for_each(|(times, time)| times[side].push(time));
        }
    }
    let medians: Vec<[f64; 2]> = times.iter_mut().map(|[own, wide]| [median(own), median(wide)]).collect();
    let total: f64 = medians.iter().map(|[own, _]| own).sum();
    let layer = |(i, op): (usize, &Op)| {
        let ([own, wide], weight_bytes) = (medians[i], weight_bytes[i]);
        let conv = if let Op::Conv(conv) = op { Some(conv) } else { None };
        let macs = conv.map_or(0, |conv| artifact.program().macs(conv));
        LayerReport {
            name: name(&artifact, op, conv),
            op: op.label(),
            bits: conv.map(|conv| conv.bits.bits()),
            median_us: own,
            share: own / total.max(f64::MIN_POSITIVE),
            island: op.is_float(),
            macs,
            weight_bytes,
            weights: conv.map(|conv| limits.weighted(conv.bits, macs, weight_bytes, own, wide)),
        }
    };
    let layers = artifact.program().ops.iter().enumerate().map(layer).collect();
    Ok((limits, layers))
}

/// The share of the time that islands take, 0..=1.
pub(super) fn island_share(layers: &[LayerReport]) -> f64 {
    layers.iter().filter(|layer| layer.island).fold(0.0, |sum, layer| sum + layer.share)
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / 1000.0
}

fn name(artifact: &Artifact, op: &Op, conv: Option<&Conv>) -> String {
    let written = op.writes().map(|id| artifact.program().tensor(id).name.clone());
    conv.map(|conv| conv.name.clone()).or(written).unwrap_or_else(|| op.label().to_owned())
}

/// Probes the machine for the widths of a network whose runs read `bytes` bytes of weights.
fn limits(session: &Session, bytes: usize) -> Result<Limits, Failure> {
    let (isa, threads) = (session.isa(), session.threads());
    // All threads at once, each with its share of the bytes.
    let sum = |rate: &(dyn Fn() -> Option<f64> + Sync)| {
        thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(rate)).collect();
            all.into_iter().map(|one| one.join().ok().flatten()).sum::<Option<f64>>()
        })
        .map(|rate| rate / 1e9)
        .ok_or_else(|| Failure::defect("the machine's limits could not be measured"))
    };
    let mut gmacs = BTreeMap::new();
    for conv in session.artifact().program().convs() {
        if let std::collections::btree_map::Entry::Vacant(entry) = gmacs.entry(conv.bits.bits()) {
            entry.insert(sum(&|| measure_products(isa, conv.bits).ok())?);
        }
    }
    Ok(Limits { gmacs, gbytes: sum(&|| measure_reads(isa, bytes / threads).ok())? })
}

impl Limits {
    fn weighted(&self, bits: BitWidth, macs: u64, bytes: usize, own: f64, wide: f64) -> Weighted {
        // 10^9 a second are 10^3 a microsecond.
        let rate = |count: f64| count / own.max(1e-3) / 1e3;
        let gmacs = self.gmacs.get(&bits.bits()).copied().unwrap_or(f64::INFINITY);
        let (arithmetic, bandwidth) = (macs as f64 / gmacs / 1e3, bytes as f64 / self.gbytes / 1e3);
        let limit = if arithmetic >= bandwidth { "arithmetic" } else { "bandwidth" };
        Weighted {
            gmacs: rate(macs as f64),
            gbytes: rate(bytes as f64),
            limit,
            limit_fraction: arithmetic.max(bandwidth) / own.max(1e-3),
            median_us_8bit: wide,
            slower_than_8bit: own > (SLOWER * wide).max(wide + SLOWER_US) && bits < BitWidth::MAX,
        }
    }

    /// One line.
    pub(super) fn text(&self) -> String {
        let gmacs: Vec<String> =
            self.gmacs.iter().map(|(bits, rate)| format!("{rate:.0} GMAC/s at {bits} bit")).collect();
        format!("limits measured now: {}; {:.1} GB/s over all weights of the network\n", gmacs.join(", "), self.gbytes)
    }
}

/// The same network with weights of 8 bits, scaled to fill them: what it computes is another matter.
fn at_8_bits(artifact: &Artifact) -> Result<Artifact, Failure> {
    let mut program = artifact.program().clone();
    let mut weights = Vec::new();
    let depths: Vec<usize> = program.convs().map(|conv| conv.depth(program.tensor(conv.x))).collect();
    let convs = program.ops.iter_mut().filter_map(|op| match op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    });
    for (conv, depth) in convs.zip(depths) {
        let outputs = conv.outputs as usize;
        let mut codes = pack::unpack(artifact.weights(conv), outputs, depth, conv.bits);
        codes.iter_mut().for_each(|code| *code <<= 8 - conv.bits.bits());
        weights.resize(weights.len().next_multiple_of(64), 0);
        (conv.bits, conv.weights_offset) = (BitWidth::MAX, weights.len() as u64);
        weights.extend(pack::pack(&codes, outputs, depth, conv.bits));
    }
    let constants = artifact.constants_section().to_vec();
    let bytes = encode(&ArtifactParts { program, constants, weights, ..ArtifactParts::default() });
    Artifact::from_bytes(bytes, LoadOptions::default()).map_err(Failure::defect)
}

/// The layers as a table, with a line for each that is slower than at 8 bits.
pub(super) fn text(layers: &[LayerReport]) -> String {
    let mut table = Table::new(&[
        ("layer", Align::Left),
        ("op", Align::Left),
        ("bits", Align::Right),
        ("us", Align::Right),
        ("share", Align::Right),
        ("GMAC/s", Align::Right),
        ("GB/s", Align::Right),
        ("of limit", Align::Right),
        ("bound by", Align::Left),
        ("us at 8 bit", Align::Right),
    ]);
    for layer in layers {
        let weights = layer.weights.as_ref();
        let cell = |text: &dyn Fn(&Weighted) -> String| weights.map(text).unwrap_or_default();
        table.row([
            layer.name.clone(),
            layer.op.into(),
            layer.bits.map(|bits| bits.to_string()).unwrap_or_default(),
            format!("{:.2}", layer.median_us),
            format!("{:.1} %", 100.0 * layer.share),
            cell(&|w| format!("{:.1}", w.gmacs)),
            cell(&|w| format!("{:.1}", w.gbytes)),
            cell(&|w| format!("{:.0} %", 100.0 * w.limit_fraction)),
            cell(&|w| w.limit.into()),
            cell(&|w| format!("{:.2}", w.median_us_8bit)),
        ]);
    }
    let slower = |layer: &LayerReport| {
        let weights = layer.weights.as_ref().filter(|w| w.slower_than_8bit)?;
        let (bits, times) = (layer.bits?, layer.median_us / weights.median_us_8bit);
        Some(format!("{}: {times:.2} times as slow at {bits} bit as at 8 bit\n", layer.name))
    };
    let notes: String = layers.iter().filter_map(slower).collect();
    let islands = match island_share(layers) {
        0.0 => String::new(),
        share => format!("operators on floats alone take {:.1} % of the time\n", 100.0 * share),
    };
    format!("{table}{notes}{islands}")
}
