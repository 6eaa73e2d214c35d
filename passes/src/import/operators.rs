//! The one table of ONNX operators: one file an operator or a family, each with its rules.
//!
//! A rule takes a [`Step`](super::source::Step) and returns one value an output. A new operator is a row in its family's `RULES`, or
//! a file with such a table that is listed here.

mod attention;
mod axis;
mod batch_norm;
mod binary;
mod cast;
mod chosen;
mod columns;
mod constants;
mod conv;
mod conv_transpose;
mod cumulate;
mod einsum;
mod forms;
mod fourier;
mod fused;
mod gather;
mod grid_sample;
mod integer;
mod legacy;
mod lp_pool;
mod masks;
mod mat_mul;
mod ml;
mod movement;
mod normalize;
mod pad;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod refused;
mod resize;
mod rotary;
mod scatter;
mod sequence;
mod slice;
mod softmax;
mod trees;
mod unary;

pub(super) use integer::is_assumed;
pub(super) use quantize::Codes;
pub(super) use refused::REFUSED;

use super::Rule;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const FAMILIES: &[&[(&str, Rule)]] = &[
    attention::RULES,
    batch_norm::RULES,
    binary::RULES,
    cast::RULES,
    columns::RULES,
    constants::RULES,
    conv::RULES,
    conv_transpose::RULES,
    cumulate::RULES,
    einsum::RULES,
    fourier::RULES,
    fused::RULES,
    gather::RULES,
    grid_sample::RULES,
    integer::RULES,
    legacy::RULES,
    lp_pool::RULES,
    masks::RULES,
    mat_mul::RULES,
    ml::RULES,
    movement::RULES,
    normalize::RULES,
    pad::RULES,
    pool::RULES,
    quantize::RULES,
    recurrent::RULES,
    reduce::RULES,
    resize::RULES,
    rotary::RULES,
    scatter::RULES,
    sequence::RULES,
    slice::RULES,
    softmax::RULES,
    trees::RULES,
    unary::RULES,
];

static RULES: LazyLock<BTreeMap<&'static str, Rule>> = LazyLock::new(|| rows().collect());

/// The rules of all families, and of the table of functions.
fn rows() -> impl Iterator<Item = (&'static str, Rule)> {
    FAMILIES.iter().copied().flatten().copied().chain(unary::rules())
}

/// The rule of an operator: `Conv`, or `com.microsoft.Gelu` where its domain is not the default one.
pub(super) fn find(operator: &str) -> Option<Rule> {
    RULES.get(operator).copied()
}

/// Why an operator is refused in any form, where that is known.
pub(super) fn reason(operator: &str) -> Option<&'static str> {
    refused::reason(operator)
}

/// Every operator that has a rule, in alphabetical order, and `If`.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = RULES.keys().copied().chain(["If"]).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_has_one_rule() {
        let mut names: Vec<&str> = rows().map(|(name, _)| name).collect();
        names.sort_unstable();
        let twice: Vec<&[&str]> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert_eq!(RULES.len(), names.len(), "{twice:?}");
    }
}
