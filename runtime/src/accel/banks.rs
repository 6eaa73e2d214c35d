//! Banks of the weight and the activation buffer.
//!
//! Words of [`WORD`] bytes lie in the banks of a buffer in turn, and a bank serves a word a cycle. What runs asks for words in every
//! cycle of its work: the bytes that it moves in a cycle, rounded up, reads and writes apart. Words of one instruction lie in
//! different banks. Where more words are asked for than there are banks, the instruction that was ready first is served first;
//! the other one gets the banks that are left, and its work takes longer by their share.

use super::access::{Access, Memory};
use super::config::AccelConfig;
use super::step::{ConvStep, Operation, Sink, Weights};
use crate::BitWidth;
use std::ops::Range;

/// Bytes of a word.
const WORD: u64 = 16;

/// Words a cycle of each buffer: asked for, or free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    weights: u64,
    activations: u64,
}

fn words(bytes: u64) -> u64 {
    bytes.div_ceil(WORD)
}

impl Words {
    /// Those that the banks of a machine serve.
    fn served(config: &AccelConfig) -> Self {
        Words { weights: config.weight_banks.into(), activations: config.activation_banks.into() }
    }

    /// Those of blocks of the arrays: a step reads `rows x lanes` weights and `columns x lanes` activations within its planes, and
    /// the requantizers of all rows write a column each where results are codes.
    pub(super) fn of_blocks(count: u64, bits: BitWidth, codes: bool, config: &AccelConfig) -> Self {
        let [rows, columns, lanes, requantizers] =
            [config.rows, config.columns, config.lanes, config.requantizers].map(u64::from);
        let planes = config.serial.planes(bits);
        let tiles = count.min(config.tiles.into());
        let written = if codes { requantizers.min(columns) * words(rows) } else { 0 };
        Words {
            weights: tiles * words((rows * lanes * u64::from(bits.bits())).div_ceil(8 * planes)),
            activations: tiles * (words((columns * lanes).div_ceil(planes)) + written),
        }
    }

    fn of_conv(conv: &ConvStep, config: &AccelConfig) -> Self {
        Words::of_blocks(conv.blocks(config), conv.bits, matches!(conv.sink, Sink::Codes(_)), config)
    }

    /// Those of an operation that touches `accesses`.
    pub(super) fn of(operation: &Operation, accesses: &[Access], config: &AccelConfig) -> Self {
        let transfer = words(config.dram_bytes_per_cycle.into());
        match operation {
            Operation::LoadWeights { .. } => Words { weights: transfer, activations: 0 },
            Operation::LoadActivations(_) | Operation::Store(_) => Words { weights: 0, activations: transfer },
            Operation::Conv(conv) if matches!(conv.weights, Weights::Buffer { .. }) => Words::of_conv(conv, config),
            Operation::Host(_) | Operation::Return { .. } => Words::default(),
            _ => {
                let buffer = config.activation_sram_bytes as usize;
                let touches = |writes: bool| {
                    let in_buffer = |access: &&Access| access.memory == Memory::Activations && access.first < buffer;
                    accesses.iter().filter(in_buffer).any(|access| access.is_write == writes)
                };
                let sides = u64::from(touches(false)) + u64::from(touches(true));
                Words { weights: 0, activations: sides * words(config.vector_lanes.into()) }
            }
        }
    }

    /// Those that are left beside another's.
    fn without(self, other: Words) -> Self {
        Words {
            weights: self.weights.saturating_sub(other.weights),
            activations: self.activations.saturating_sub(other.activations),
        }
    }

    /// Share of its work that it does in a cycle while `free` are served, as `[served, asked]`.
    fn share(self, free: Words) -> [u64; 2] {
        let of = |asked: u64, free: u64| if asked <= free { [1, 1] } else { [free, asked] };
        let (weights, activations) = (of(self.weights, free.weights), of(self.activations, free.activations));
        let less =
            u128::from(weights[0]) * u128::from(activations[1]) < u128::from(activations[0]) * u128::from(weights[1]);
        if less { weights } else { activations }
    }

    /// When `work` cycles that begin at `start` have been done beside `others`, which are in order of time, do not overlap and were ready first.
    pub(super) fn end(self, start: u64, work: u64, others: &[(Range<u64>, Words)], config: &AccelConfig) -> u64 {
        let banks = Words::served(config);
        let (mut now, mut left) = (start, work);
        for (during, other) in others.iter().filter(|(during, _)| !during.is_empty()) {
            for (until, free) in [(during.start, banks), (during.end, banks.without(*other))] {
                if until <= now {
                    continue;
                }
                let share = self.share(free);
                let done = u128::from(until - now) * u128::from(share[0]) / u128::from(share[1]);
                if done >= left.into() {
                    return now + cycles(left, share);
                }
                // Less than `left`.
                left -= done as u64;
                now = until;
            }
        }
        now + cycles(left, self.share(banks))
    }

    /// Cycles of `work` where nothing else runs.
    pub(super) fn alone(self, work: u64, config: &AccelConfig) -> u64 {
        self.end(0, work, &[], config)
    }
}

/// Cycles of `work` at a share that is not 0.
fn cycles(work: u64, [served, asked]: [u64; 2]) -> u64 {
    u64::try_from((u128::from(work) * u128::from(asked)).div_ceil(served.max(1).into())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Cycle by cycle: every cycle brings `served` parts, and a cycle of work takes `asked` of them. A share of another size begins anew.
    fn walked(own: Words, start: u64, work: u64, others: &[(Range<u64>, Words)], config: &AccelConfig) -> u64 {
        let (mut now, mut left, mut parts) = (start, work, 0);
        let mut before = None;
        while left > 0 {
            let other = others.iter().position(|(during, _)| during.contains(&now));
            let free = Words::served(config).without(other.map_or(Words::default(), |at| others[at].1));
            let [served, asked] = own.share(free);
            if before.replace(other) != Some(other) {
                parts = 0;
            }
            parts += served;
            if parts >= asked {
                parts -= asked;
                left -= 1;
            }
            now += 1;
        }
        now
    }

    proptest! {
        #[test]
        fn work_ends_when_a_walk_over_the_cycles_says(
            own in [0u64..12, 0u64..12], first in [0u64..12, 0u64..12], second in [0u64..12, 0u64..12],
            banks in [1u32..12, 1u32..12], start in 0u64..40, work in 0u64..60, times in [0u64..40, 0u64..40, 0u64..40, 0u64..40],
        ) {
            let config = AccelConfig { weight_banks: banks[0], activation_banks: banks[1], ..AccelConfig::default() };
            let [own, first, second] = [own, first, second].map(|[weights, activations]| Words { weights, activations });
            let mut edge = 0;
            let edges = times.map(|time| { edge += time; edge });
            let others = [(edges[0]..edges[1], first), (edges[2]..edges[3], second)];
            let end = own.end(start, work, &others, &config);
            prop_assert_eq!(end, walked(own, start, work, &others, &config));
            prop_assert!(end >= start + work);
            let enough = AccelConfig { weight_banks: 24, activation_banks: 24, ..config };
            prop_assert_eq!(own.end(start, work, &others, &enough), start + work);
        }
    }

    /// The presets have enough banks for what the machine does at once, at every width.
    #[test]
    fn sixteen_and_four_banks_are_enough_for_the_default_machine() {
        let config = AccelConfig::default();
        let transfer = words(config.dram_bytes_per_cycle.into());
        for bits in 2..=8 {
            let bits = BitWidth::new(bits).expect("a width");
            let words = Words::of_blocks(100, bits, true, &config);
            assert!(words.activations + transfer <= config.activation_banks.into(), "{words:?}");
            assert!(words.weights + transfer <= config.weight_banks.into(), "{words:?}");
        }
        let two = Words::of_blocks(100, BitWidth::new(2).expect("a width"), true, &config);
        assert_eq!(two, Words { weights: 2, activations: 9 });
        let few = AccelConfig { activation_banks: 4, ..config };
        assert_eq!((two.alone(40, &config), two.alone(40, &few)), (40, 90));
    }
}
