//! Finds loops in an unrolled program.

use crate::accel::expand::{Growth, grown, is_repeatable};
use crate::accel::table::Instruction;

/// Longest body that is looked for.
const LONGEST: usize = 32;

/// The program with loops in place of repetitions; [`crate::accel::expand`] gives the same instructions.
pub(super) fn compress(instructions: &[Instruction]) -> Vec<Instruction> {
    let mut compressed = Vec::new();
    let mut at = 0;
    while at < instructions.len() {
        let rest = &instructions[at..];
        // The body that saves most; the shortest of those that save as much.
        let best = (1..=LONGEST.min(rest.len() / 2))
            .filter_map(|length| repetition(rest, length))
            .max_by_key(|found| (found.saved(), std::cmp::Reverse(found.length)))
            .filter(|found| found.saved() > 0);
        match best {
            Some(Found { length, times, growth: Growth { outputs, channels, load, store } }) => {
                compressed.push(Instruction::Loop {
                    times: times as u16,
                    length: length as u8,
                    outputs,
                    channels,
                    load,
                    store,
                });
                compressed.extend(&rest[..length]);
                at += length * times;
            }
            None => {
                compressed.push(rest[0]);
                at += 1;
            }
        }
    }
    compressed
}

struct Found {
    length: usize,
    times: usize,
    growth: Growth,
}

impl Found {
    fn saved(&self) -> usize {
        (self.length * (self.times - 1)).saturating_sub(1)
    }
}

/// How often the first `length` instructions repeat, each time grown by the same steps.
fn repetition(rest: &[Instruction], length: usize) -> Option<Found> {
    let body = &rest[..length];
    if !body.iter().all(is_repeatable) {
        return None;
    }
    let mut growth = Growth::default();
    let step = |from: u32, to: u32, bits: u32| to.checked_sub(from).filter(|step| step >> bits == 0);
    for (first, second) in body.iter().zip(&rest[length..2 * length]) {
        match (first, second) {
            (Instruction::LoadWeights { first_output: a, .. }, Instruction::LoadWeights { first_output: b, .. })
            | (Instruction::ExecuteHost { first_output: a, .. }, Instruction::ExecuteHost { first_output: b, .. }) => {
                growth.outputs = step(*a, *b, 20)?;
            }
            (
                Instruction::Execute { first_output: a, channel: c, .. },
                Instruction::Execute { first_output: b, channel: d, .. },
            ) => {
                growth.outputs = step(*a, *b, 20)?;
                growth.channels = step(*c, *d, 20)?;
            }
            (Instruction::LoadActivations { dram: a, .. }, Instruction::LoadActivations { dram: b, .. }) => {
                growth.load = step(*a, *b, 28)?;
            }
            (Instruction::Store { dram: a, .. }, Instruction::Store { dram: b, .. }) => {
                growth.store = step(*a, *b, 28)?;
            }
            _ => {}
        }
    }
    let repeats = |time: usize| {
        let next = rest.get(time * length..(time + 1) * length);
        next.is_some_and(|next| {
            next.iter().zip(body).all(|(next, first)| grown(first, &growth, time as u32) == Some(*next))
        })
    };
    let times = (1..usize::from(u16::MAX)).take_while(|&time| repeats(time)).count() + 1;
    (times > 1).then_some(Found { length, times, growth })
}
