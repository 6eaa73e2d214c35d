//! Shape of a weight layer: all that its cost depends on besides its width.

use crate::BitWidth;
use crate::accel::config::AccelConfig;
use crate::accel::step::LanesOver;
use crate::pack::packed_len;
use crate::program::{Conv, Destination, Program};
use std::ops::Range;

/// Shape of a weight layer: all that its cost depends on besides its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerShape {
    /// Input channels of a group.
    pub group_inputs: u32,
    /// Output channels of a group.
    pub group_outputs: u32,
    /// Groups.
    pub groups: u32,
    /// Taps down and across.
    pub kernel: [u32; 2],
    /// Rows and columns of the input.
    pub input: [u32; 2],
    /// Rows and columns of the result.
    pub output: [u32; 2],
    /// Bytes of a result: 1 for codes, 4 for floats that go to the host.
    pub result_bytes: u32,
    /// Whether the window has padding or dilation.
    pub padded: bool,
}

impl LayerShape {
    /// The shape of a layer of a network.
    pub fn of(network: &Program, conv: &Conv) -> Self {
        let x = network.tensor(conv.x);
        LayerShape {
            group_inputs: x.channels / conv.groups,
            group_outputs: conv.outputs / conv.groups,
            groups: conv.groups,
            kernel: conv.window.kernel,
            input: [x.height, x.width],
            output: network.conv_output(conv),
            result_bytes: match conv.destination {
                Destination::Codes { .. } => 1,
                Destination::Logits { .. } => 4,
            },
            padded: conv.window.padding != [0; 4] || conv.window.dilation != [1, 1],
        }
    }

    fn taps(&self) -> u64 {
        u64::from(self.kernel[0]) * u64::from(self.kernel[1])
    }

    /// Weights an output channel.
    pub fn depth(&self) -> u64 {
        self.taps() * u64::from(self.group_inputs)
    }

    /// Output channels.
    pub fn outputs(&self) -> u32 {
        self.group_outputs * self.groups
    }

    pub(super) fn positions(&self) -> u64 {
        u64::from(self.output[0]) * u64::from(self.output[1])
    }

    /// Multiply-accumulates of one sample.
    pub fn macs(&self) -> u64 {
        self.weights() * self.positions()
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.depth() * u64::from(self.outputs())
    }

    /// Packed bytes of the weights of `outputs` channels.
    pub fn weight_bytes(&self, outputs: u32, bits: BitWidth) -> u64 {
        packed_len(outputs as usize, self.depth() as usize, bits).map_or(u64::MAX, |len| len as u64)
    }

    /// What the lanes take, and the steps of one block of outputs and positions: how often the lanes are filled to cover the depth.
    ///
    /// Lanes take channels of one tap or taps of one channel, whichever needs fewer steps; or any depth where a window
    /// is the whole input, which lies in one piece.
    pub fn lanes_over(&self, lanes: u32) -> (LanesOver, u64) {
        let (channels, lanes) = (u64::from(self.group_inputs), u64::from(lanes));
        if self.kernel == self.input && self.groups == 1 && !self.padded {
            return (LanesOver::Depth, self.depth().div_ceil(lanes));
        }
        let over_channels = channels.div_ceil(lanes) * self.taps();
        let over_taps = self.taps().div_ceil(lanes) * channels;
        if over_taps < over_channels { (LanesOver::Taps, over_taps) } else { (LanesOver::Channels, over_channels) }
    }

    /// Blocks of `rows` outputs of one group, for a range of output channels.
    pub fn row_blocks(&self, outputs: &Range<u32>, rows: u32) -> u64 {
        let (rows, size) = (u64::from(rows), self.group_outputs.max(1));
        let group = |g: u32| {
            let (first, end) = (outputs.start.max(g * size), outputs.end.min((g + 1) * size));
            u64::from(end.saturating_sub(first)).div_ceil(rows)
        };
        let (first, last) = (outputs.start / size, outputs.end.saturating_sub(1) / size);
        let whole = u64::from(last.saturating_sub(first).saturating_sub(1)) * u64::from(size).div_ceil(rows);
        if first == last { group(first) } else { group(first) + whole + group(last) }
    }

    /// Blocks of `rows` outputs of one group x `columns` positions, for all output channels.
    pub fn blocks(&self, config: &AccelConfig) -> u64 {
        self.row_blocks(&(0..self.outputs()), config.rows) * self.positions().div_ceil(config.columns.into())
    }

    pub(super) fn input_bytes(&self) -> u64 {
        u64::from(self.input[0]) * u64::from(self.input[1]) * u64::from(self.group_inputs) * u64::from(self.groups)
    }
}
