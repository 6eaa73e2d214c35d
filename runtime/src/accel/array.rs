//! Time of blocks on the arrays.
//!
//! A block is `rows` output channels x `columns` positions, which go on from one image row to the next. It takes `S` cycles of an array; then its columns
//! drain, as many a cycle as a row has requantizers, in `n(b)` cycles, while the next block computes, which ends no earlier:
//!
//! ```text
//! c(b) = max(c(b-1) + S, d(b-1))     d(b) = c(b) + n(b)     c(-1) = d(-1) = 0
//! ```
//!
//! As `d(b-1) = c(b-1) + n(b-1)`, a block ends `max(S, n(b-1))` cycles after the one before it: the sum has a closed form.

use super::config::AccelConfig;

/// Blocks that one instruction, or one layer, runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// How many; at least one.
    pub(super) count: u64,
    /// Positions of the same channels: their last block may be narrower than the others.
    pub(super) positions: u64,
    /// Cycles of the planes of one.
    pub(super) planes: u64,
}

/// Cycles of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time {
    /// Cycles in which the planes work.
    pub(super) compute: u64,
    /// From the first plane to the last column drained.
    pub(super) drained: u64,
}

impl Blocks {
    /// Their time; the blocks run on the tiles side by side, wave by wave.
    pub(super) fn time(&self, config: &AccelConfig) -> Time {
        let tiles = u64::from(config.tiles);
        let waves = self.count.div_ceil(tiles);
        let columns = u64::from(config.columns);
        let drain = |columns: u64| columns.div_ceil(config.requantizers.into());
        let whole = drain(columns.min(self.positions));
        let rest = drain((self.positions - 1) % columns + 1);
        let in_a_run = self.positions.div_ceil(columns);
        // The last wave drains as many columns as its widest block: that of the last positions where it is alone.
        let alone = (self.count - 1).is_multiple_of(tiles);
        let last = if in_a_run == 1 || (alone && self.count.is_multiple_of(in_a_run)) { rest } else { whole };
        // Waves before the last that drain no more than the last positions.
        let narrow = match (in_a_run, tiles) {
            (1, _) => waves - 1,
            (_, 1) => (waves - 1) / in_a_run,
            _ => 0,
        };
        let wide = waves - 1 - narrow;
        let between = wide * self.planes.max(whole) + narrow * self.planes.max(rest);
        Time { compute: waves * self.planes, drained: between + self.planes + last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The recurrence, wave by wave.
    fn walked(blocks: &Blocks, config: &AccelConfig) -> u64 {
        let (tiles, columns) = (u64::from(config.tiles), u64::from(config.columns));
        let in_a_run = blocks.positions.div_ceil(columns);
        let (mut computed, mut drained) = (0u64, 0u64);
        for wave in 0..blocks.count.div_ceil(tiles) {
            let first = wave * tiles;
            let width = |block: u64| {
                let left = blocks.positions - block % in_a_run * columns;
                left.min(columns).div_ceil(config.requantizers.into())
            };
            let widest = (first..blocks.count.min(first + tiles)).map(width).max().unwrap_or(0);
            computed = (computed + blocks.planes).max(drained);
            drained = computed + widest;
        }
        drained
    }

    proptest! {
        #[test]
        fn the_closed_form_is_the_recurrence(
            runs in 1u64..40, positions in 1u64..60, planes in 1u64..40, tiles in 1u32..9, columns in 1u32..20,
            requantizers in 1u32..7,
        ) {
            let config = AccelConfig { tiles, columns, requantizers, ..AccelConfig::default() };
            let blocks = Blocks { count: runs * positions.div_ceil(columns.into()), positions, planes };
            let time = blocks.time(&config);
            prop_assert_eq!(time.drained, walked(&blocks, &config));
            prop_assert!(time.compute < time.drained);
        }
    }
}
