//! The C functions that operators call, each a file of `primitives/`.

use std::collections::BTreeSet;

/// A function with its types. Those that others use come first, so that text in this order compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Primitive {
    Prelude,
    Requantize,
    Rounded,
    Offset,
    Canonical,
    Quantize,
    QuantizePixels,
    Window,
    Layer,
    Conv,
    Depthwise,
    Pool,
    MaxPool,
    AveragePool,
    Arithmetic,
    Concat,
    RescaledConcat,
    Affine,
    Table,
    Move,
    Dequantize,
}

use Primitive::*;

impl Primitive {
    fn text(self) -> &'static str {
        match self {
            Prelude => include_str!("primitives/prelude.c"),
            Requantize => include_str!("primitives/requantize.c"),
            Rounded => include_str!("primitives/rounded.c"),
            Offset => include_str!("primitives/offset.c"),
            Canonical => include_str!("primitives/canonical.c"),
            Quantize => include_str!("primitives/quantize.c"),
            QuantizePixels => include_str!("primitives/quantize_pixels.c"),
            Window => include_str!("primitives/window.c"),
            Layer => include_str!("primitives/layer.c"),
            Conv => include_str!("primitives/conv.c"),
            Depthwise => include_str!("primitives/depthwise.c"),
            Pool => include_str!("primitives/pool.c"),
            MaxPool => include_str!("primitives/max_pool.c"),
            AveragePool => include_str!("primitives/average_pool.c"),
            Arithmetic => include_str!("primitives/arithmetic.c"),
            Concat => include_str!("primitives/concat.c"),
            RescaledConcat => include_str!("primitives/rescaled_concat.c"),
            Affine => include_str!("primitives/affine.c"),
            Table => include_str!("primitives/table.c"),
            Move => include_str!("primitives/move.c"),
            Dequantize => include_str!("primitives/dequantize.c"),
        }
    }

    /// What its text uses.
    fn needs(self) -> &'static [Primitive] {
        match self {
            Quantize => &[Requantize],
            Conv | Depthwise => &[Window, Layer, Requantize],
            Pool => &[Window],
            MaxPool => &[Pool, Window],
            AveragePool => &[Pool, Window, Requantize],
            Arithmetic | Affine => &[Rounded, Offset, Requantize],
            RescaledConcat => &[Offset, Requantize],
            Dequantize => &[Offset],
            _ => &[],
        }
    }
}

/// The text of those that are used, and of what they use: a function that nobody calls is a warning.
pub(crate) fn text(used: &BTreeSet<Primitive>) -> String {
    let needed = used.iter().flat_map(|primitive| primitive.needs()).copied();
    let all: BTreeSet<Primitive> = used.iter().copied().chain(needed).chain([Prelude]).collect();
    all.into_iter().map(|primitive| format!("{}\n", primitive.text())).collect()
}
