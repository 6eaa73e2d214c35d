//! Axes of operators over tensors that may have a halo.
//!
//! Strides and tables count codes of a dense tensor. Around rows with a halo they still work where each axis either goes from row to row or
//! stays inside a row: its steps are then those of the place. Tensors for which that does not hold get no halo.

use crate::kernels::View;
use crate::kernels::arithmetic::Axis;
use crate::kernels::movement::MoveAxis;
use crate::program::{Op, Program, Tensor, TensorId};

/// How far an axis reaches, in codes of a dense tensor.
#[derive(Clone, Copy)]
struct Reach {
    /// Whether all its positions are whole rows apart.
    rows: bool,
    most: usize,
}

fn row_len(t: &Tensor) -> usize {
    t.width as usize * t.channels as usize
}

fn of_stride(row: usize, extent: u32, stride: u32) -> Reach {
    let most = (extent as usize - 1) * stride as usize;
    Reach { rows: most == 0 || (stride as usize).is_multiple_of(row), most }
}

fn of_table(row: usize, table: &[u32]) -> Reach {
    let entries = || table.iter().filter(|&&entry| entry != u32::MAX).map(|&entry| entry as usize);
    Reach { rows: entries().all(|entry| entry.is_multiple_of(row)), most: entries().max().unwrap_or(0) }
}

/// Whether axes step over whole rows or stay inside one.
fn keeps_rows(row: usize, axes: impl Iterator<Item = Reach>) -> bool {
    axes.filter(|axis| !axis.rows).map(|axis| axis.most).fold(0, usize::saturating_add) < row
}

/// Steps of a tensor that is dense in the order of axes.
fn dense_strides(extents: &[u32]) -> Vec<u32> {
    let mut strides = vec![1; extents.len()];
    for i in (1..extents.len()).rev() {
        strides[i - 1] = strides[i] * extents[i];
    }
    strides
}

fn extents_of(tables: &[Vec<u32>]) -> Vec<u32> {
    tables.iter().map(|table| table.len() as u32).collect()
}

/// Whether both operands of an arithmetic are whole tensors of the extents of the result, in their own order.
pub(super) fn is_elementwise(program: &Program, tensors: [TensorId; 3], extents: &[u32], strides: [&[u32]; 2]) -> bool {
    let [a, b, y] = tensors.map(|id| program.tensor(id)).map(|t| [t.height, t.width, t.channels]);
    let dense = dense_strides(extents);
    let same = |strides: &[u32]| {
        extents.iter().zip(strides).zip(&dense).all(|((&extent, stride), dense)| extent == 1 || stride == dense)
    };
    a == y && b == y && strides.into_iter().all(same)
}

/// Whether a concat joins the channels of every position.
pub(super) fn joins_channels(program: &Program, xs: &[(TensorId, Option<f32>)], y: TensorId, outer: u32) -> bool {
    let y = program.tensor(y);
    let same = |&(x, _): &(TensorId, _)| {
        let x = program.tensor(x);
        [x.height, x.width] == [y.height, y.width]
    };
    u64::from(outer) == u64::from(y.height) * u64::from(y.width) && xs.iter().all(same)
}

/// Which tensors must be without a halo.
pub(super) struct Dense(Vec<bool>);

impl Dense {
    pub(super) fn new(program: &Program) -> Self {
        let mut dense = vec![false; program.tensors.len()];
        let mut require = |id: TensorId, holds: bool| dense[id.0 as usize] |= holds;
        for op in &program.ops {
            match op {
                Op::Arithmetic { a, b, y, extents, strides_a, strides_b, .. } => {
                    if is_elementwise(program, [*a, *b, *y], extents, [strides_a, strides_b]) {
                        continue;
                    }
                    for (id, strides) in [(*a, strides_a), (*b, strides_b), (*y, &dense_strides(extents))] {
                        let row = row_len(program.tensor(id));
                        let axes = extents.iter().zip(strides).map(|(&extent, &stride)| of_stride(row, extent, stride));
                        require(id, !keeps_rows(row, axes));
                    }
                }
                Op::Move { x, y, tables, .. } => {
                    let row = row_len(program.tensor(*x));
                    require(*x, !keeps_rows(row, tables.iter().map(|table| of_table(row, table))));
                    let (row, extents) = (row_len(program.tensor(*y)), extents_of(tables));
                    let strides = dense_strides(&extents);
                    let axes = extents.iter().zip(&strides).map(|(&extent, &stride)| of_stride(row, extent, stride));
                    require(*y, !keeps_rows(row, axes));
                }
                Op::Concat { xs, y, outer, .. } if !joins_channels(program, xs, *y, *outer) => {
                    xs.iter().for_each(|(x, _)| require(*x, true));
                    require(*y, true);
                }
                _ => {}
            }
        }
        Dense(dense)
    }

    pub(super) fn has(&self, id: TensorId) -> bool {
        self.0[id.0 as usize]
    }
}

/// A step of whole rows, or one inside a row, at the place of a tensor.
fn placed(view: &View, reach: Reach, step: usize) -> usize {
    let row = view.width * view.pixel;
    if reach.rows && view.row != row { step / row * view.row } else { step }
}

/// The axes of an arithmetic over its result and both operands.
pub(super) fn arithmetic(views: [&View; 3], extents: &[u32], strides: [&[u32]; 2]) -> Vec<Axis> {
    let dense = dense_strides(extents);
    let strides = [&dense, strides[0], strides[1]];
    let axis = |(i, &extent): (usize, &u32)| {
        let step = |operand: usize| {
            let (view, stride) = (views[operand], strides[operand][i]);
            placed(view, of_stride(view.width * view.pixel, extent, stride), stride as usize)
        };
        Axis { extent: extent as usize, steps: [0, 1, 2].map(step) }
    };
    extents.iter().enumerate().map(axis).collect()
}

/// The axes of a move.
pub(super) fn movement(x: &View, y: &View, tables: &[Vec<u32>]) -> Vec<MoveAxis> {
    let extents = extents_of(tables);
    let strides = dense_strides(&extents);
    let axis = |((table, &extent), &stride): ((&Vec<u32>, &u32), &u32)| {
        let reach = of_table(x.width * x.pixel, table);
        let from = |&entry: &u32| (entry != u32::MAX).then(|| placed(x, reach, entry as usize));
        let step = placed(y, of_stride(y.width * y.pixel, extent, stride), stride as usize);
        MoveAxis { from: table.iter().map(from).collect(), step }
    };
    tables.iter().zip(&extents).zip(&strides).map(axis).collect()
}

/// Bytes of [`movement`].
pub(super) fn movement_bytes(tables: &[Vec<u32>]) -> usize {
    tables.iter().map(|table| table.len() * size_of::<Option<usize>>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_keep_rows_or_leave_them() {
        let row = 12;
        let keeps =
            |axes: &[(u32, u32)]| keeps_rows(row, axes.iter().map(|&(extent, stride)| of_stride(row, extent, stride)));
        assert!(keeps(&[(5, 12), (4, 3), (3, 1)]), "rows, columns, channels");
        assert!(keeps(&[(5, 0), (4, 0), (3, 1)]), "repeated");
        assert!(keeps(&[(12, 1), (5, 12)]), "columns before rows");
        assert!(!keeps(&[(60, 1)]), "all of it");
        assert!(!keeps(&[(10, 6), (6, 1)]), "half rows");
        assert!(keeps_rows(row, [of_table(row, &[24, u32::MAX, 0]), of_table(row, &[11, 3])].into_iter()));
        assert!(!keeps_rows(row, [of_table(row, &[1]), of_table(row, &[11, 3])].into_iter()));
    }

    #[test]
    fn strides_of_axes() {
        assert_eq!(dense_strides(&[4, 1, 3]), [3, 3, 1]);
        assert_eq!(dense_strides(&[]), [0u32; 0]);
    }
}
