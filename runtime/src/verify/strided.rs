//! Axes with strides or tables: what they reach lies in their operand.

use crate::ops::field::{Check, require};

/// Number of positions of some axes.
pub(super) fn positions(extents: &[u32]) -> Check<usize> {
    let count = extents.iter().try_fold(1u32, |count, &extent| count.checked_mul(extent));
    count.map(|count| count as usize).ok_or_else(|| format!("extents {extents:?} have too many positions"))
}

/// Checks that strides have an axis each and reach nothing beyond `len` values.
pub(super) fn strides(name: &str, extents: &[u32], strides: &[u32], len: usize) -> Check {
    require(strides.len() == extents.len(), || {
        format!("{name}: {} strides for {} axes", strides.len(), extents.len())
    })?;
    let farthest = |(&extent, &stride): (&u32, &u32)| u64::from(extent - 1) * u64::from(stride);
    let last = extents.iter().zip(strides).map(farthest).fold(0, u64::saturating_add);
    require(last < len as u64, || format!("{name}: strides {strides:?} reach value {last} of {len}"))
}

/// Checks that tables have `results` positions in all and reach nothing beyond `len` values.
pub(super) fn tables(tables: &[Vec<u32>], len: usize, results: usize) -> Check {
    let count = tables.iter().try_fold(1usize, |count, table| count.checked_mul(table.len()));
    require(count == Some(results), || {
        let extents: Vec<usize> = tables.iter().map(Vec::len).collect();
        format!("tables of {extents:?} positions for a result of {results}")
    })?;
    // An axis without a source fills everything.
    let farthest = |table: &Vec<u32>| table.iter().copied().filter(|&entry| entry != u32::MAX).max().map(u64::from);
    let last = tables.iter().try_fold(0u64, |last, table| Some(last + farthest(table)?));
    require(last.is_none_or(|last| last < len as u64), || {
        format!("tables reach value {} of {len}", last.unwrap_or_default())
    })
}

/// The product of three extents is `len`.
pub(super) fn split(name: &str, [outer, middle, inner]: [u32; 3], len: usize) -> Check {
    let product = u64::from(outer).checked_mul(middle.into()).and_then(|n| n.checked_mul(inner.into()));
    require(product == Some(len as u64), || format!("{name}: {len} values for {outer} x {middle} x {inner}"))
}
