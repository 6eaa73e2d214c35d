//! Input values beyond what an artifact can represent: they are cut to the nearest that it can, without which no result says so.

use releqc_runtime::program::{FloatId, Op, Program};
use std::collections::BTreeMap;

/// Share of the values of an input, 0..=1, above which it is said.
const TOLERATED: f64 = 0.01;

/// What is counted for one input.
#[derive(Debug)]
struct Watched {
    name: String,
    /// First value in a sample, and how many.
    start: usize,
    len: usize,
    /// Smallest and largest value that rounds to a code.
    low: f32,
    high: f32,
    /// Values seen, and those beyond.
    seen: u64,
    beyond: u64,
}

/// Counts the values of quantized inputs that are cut.
#[derive(Debug)]
pub(crate) struct Saturation(Vec<Watched>);

impl Saturation {
    /// Watches the inputs that are quantized as they are, moved or not.
    pub(crate) fn of(program: &Program) -> Self {
        let mut source: BTreeMap<FloatId, FloatId> = program.inputs.iter().map(|(_, slot)| (*slot, *slot)).collect();
        let mut ranges: BTreeMap<FloatId, (f32, f32)> = BTreeMap::new();
        for op in &program.ops {
            match op {
                Op::FloatMove { x, y, .. } => {
                    if let Some(&input) = source.get(x) {
                        source.insert(*y, input);
                    }
                }
                Op::Quantize { x, y, .. } => {
                    let Some(input) = source.get(x) else { continue };
                    let tensor = program.tensor(*y);
                    let (below, above) = (f32::from(tensor.zero_point), f32::from(255 - tensor.zero_point));
                    let (low, high) = (-(below + 0.5) * tensor.scale, (above + 0.5) * tensor.scale);
                    ranges
                        .entry(*input)
                        .and_modify(|range| *range = (range.0.max(low), range.1.min(high)))
                        .or_insert((low, high));
                }
                _ => {}
            }
        }
        let ports = program.inputs.iter().zip(program.input_ranges());
        let watched = ports.filter_map(|((port, slot), (_, place))| {
            let (low, high) = *ranges.get(slot)?;
            let (name, start, len) = (port.name.clone(), place.start, place.len());
            Some(Watched { name, start, len, low, high, seen: 0, beyond: 0 })
        });
        Saturation(watched.collect())
    }

    /// Counts one sample.
    pub(crate) fn count(&mut self, sample: &[f32]) {
        for input in &mut self.0 {
            let values = &sample[input.start..][..input.len];
            input.seen += values.len() as u64;
            input.beyond += values.iter().filter(|v| !(input.low..=input.high).contains(*v)).count() as u64;
        }
    }

    /// A line for each input of which too many values are cut.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let line = |input: &Watched| {
            let share = input.beyond as f64 / input.seen.max(1) as f64;
            (share > TOLERATED).then(|| {
                format!(
                    "{:.1} % of the values of input {:?} lie outside the quantized range {:.4}..{:.4} and saturate: compile with --input-range or --data for \
                    such inputs",
                    100.0 * share,
                    input.name,
                    input.low,
                    input.high
                )
            })
        };
        self.0.iter().filter_map(line).collect()
    }
}

/// Says the lines on stderr.
pub(crate) fn warn(warnings: &[String]) {
    for line in warnings {
        tracing::warn!("{line}");
    }
}
