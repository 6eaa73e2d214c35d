//! Which layers are computed in the transformed domain, and how they are bound.

use super::{Binder, needs_words};
use crate::RunError;
use crate::kernels::Kernel;
use crate::kernels::conv::winograd::{self, Winograd};
use crate::pack::TILE_OUTPUTS;
use crate::program::{Conv, Destination, Program};
use crate::session::axes::Dense;
use crate::session::weights::{Order, WeightLayout};
use crate::session::{layout, windows};

/// Fewest windows for which a layer of `bits` bits is faster in the transformed domain: its weights take 3.6 times the bytes there,
/// and of few bits several products fit i16 without.
fn fewest_transformed(bits: u8) -> Option<usize> {
    match bits {
        7 | 8 => Some(16),
        6 => Some(64),
        _ => None,
    }
}

/// Whether a layer may be computed in the transformed domain, where the instruction set has no dot products of bytes.
pub(in crate::session) fn suits(program: &Program, dense: &Dense, conv: &Conv) -> bool {
    let (x, window) = (program.tensor(conv.x), &conv.window);
    let [height, width] = program.conv_output(conv).map(|extent| extent as usize);
    let channels = x.channels as usize;
    conv.groups == 1
        && [window.kernel, window.stride, window.dilation] == [[3, 3], [1, 1], [1, 1]]
        && layout::uses_halo(program, dense, conv)
        && height.is_multiple_of(2)
        && width.is_multiple_of(2)
        && channels.is_multiple_of(winograd::CHANNEL_STEP)
        && channels <= winograd::MOST_CHANNELS
        && conv.outputs as usize >= TILE_OUTPUTS
        && fewest_transformed(conv.bits.bits()).is_some_and(|fewest| height * width >= fewest)
        && matches!(conv.destination, Destination::Codes { .. })
}

impl Binder<'_> {
    /// The steps of a layer in the transformed domain, where that is faster.
    pub(super) fn winograd(&self, conv: &Conv) -> Result<Option<[Box<dyn Kernel>; 2]>, RunError> {
        let Destination::Codes { y, lo, hi } = conv.destination else { return Ok(None) };
        let wanted = needs_words(self.available.isa()) && self.weights != WeightLayout::Packed;
        if !wanted || !suits(self.program, &self.places.dense, conv) {
            return Ok(None);
        }
        let view = self.view(conv.x);
        let runs = windows::tap_runs([3, 3], view.pixel, [view.row, view.pixel]);
        let order = Order::new(conv, 9 * view.pixel, view.pixel, &runs);
        let transformed = winograd::transformed_bytes(order.codes_bytes());
        self.budget.take(order.constants_bytes() + order.widening_bytes() + transformed)?;
        let (biases, multipliers) = order.constants(self.artifact, conv);
        let layer = Winograd {
            grid: self.tensor_windows(conv).grid,
            inputs: view.pixel,
            outputs: conv.outputs as usize,
            weights: winograd::transform_weights(&order.widen(self.artifact.weights(conv), conv), view.pixel),
            biases,
            multipliers,
            y: self.view(y),
            clamp: self.clamp(y, lo, hi),
            scratch: self.places.words,
            cut: windows::cut(self.program, conv),
        };
        Ok(layer.steps(self.available))
    }
}
