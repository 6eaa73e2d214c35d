//! Floats to codes and back.

use super::numbers::{offset, requantize};
use crate::program::{Order, Tensor};

/// Position in the tensor of value `i` of a slot.
fn place(t: &Tensor, order: Order, i: usize) -> usize {
    let plane = t.height as usize * t.width as usize;
    match order {
        Order::ChannelFirst => i % plane * t.channels as usize + i / plane,
        Order::Same => i,
    }
}

/// `t = x * inv_s`, a NaN becomes `-z`, clamped to `-z..=255 - z`; `q = rne(t) + z`.
pub(super) fn quantize(y: &Tensor, x: &[f32], inv_scale: f32, order: Order) -> Vec<u8> {
    let mut codes = vec![0; y.len()];
    for (i, &x) in x.iter().enumerate() {
        codes[place(y, order, i)] = requantize(x * inv_scale, y.zero_point, 0, 255);
    }
    codes
}

/// `(q - z) * s`.
pub(super) fn dequantize(x: &Tensor, codes: &[u8], order: Order) -> Vec<f32> {
    (0..codes.len()).map(|i| offset(codes[place(x, order, i)], x.zero_point) * x.scale).collect()
}

/// Values in (row, column, channel) order in the order of a slot.
pub(super) fn ordered(values: &[f32], channels: usize, order: Order) -> Vec<f32> {
    let plane = values.len() / channels;
    let from = |i: usize| match order {
        Order::ChannelFirst => i % plane * channels + i / plane,
        Order::Same => i,
    };
    (0..values.len()).map(|i| values[from(i)]).collect()
}
