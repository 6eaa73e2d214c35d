//! Codes to other places: concat, move, constant.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

use super::elementwise::Term;
use super::elementwise::loops::RescaleRow;
use super::{Clamp, Kernel, Memory, View};
use crate::format::Artifact;
use std::ops::Range;

/// One input of a concat: where it lies, and how its codes change.
pub(crate) struct ConcatInput {
    pub(crate) x: View,
    /// Where the codes do not simply move.
    pub(crate) rescale: Option<Term>,
}

impl ConcatInput {
    fn copy(&self, x: &[u8], clamp: Clamp, rescale: RescaleRow, y: &mut [u8]) {
        match self.rescale {
            None => {
                y.copy_from_slice(x);
                if [clamp.lo, clamp.hi] != [0, 255] {
                    y.iter_mut().for_each(|q| *q = (*q).clamp(clamp.lo, clamp.hi));
                }
            }
            // SAFETY: bound for an instruction set that was proved available.
            Some(term) => unsafe { rescale(x, term, clamp, y) },
        }
    }
}

/// Channels of all inputs, one after the other, at every position.
pub(crate) struct ConcatChannels {
    pub(crate) xs: Vec<ConcatInput>,
    pub(crate) y: View,
    pub(crate) clamp: Clamp,
    pub(crate) rescale: RescaleRow,
}

impl Kernel for ConcatChannels {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            let y = unsafe { memory.codes_mut(self.y.row_range(row)) };
            let mut first = 0;
            for input in &self.xs {
                let channels = input.x.pixel;
                let x = memory.codes(input.x.row_range(row));
                for (y, x) in y.chunks_exact_mut(self.y.pixel).zip(x.chunks_exact(channels)) {
                    input.copy(x, self.clamp, self.rescale, &mut y[first..first + channels]);
                }
                first += channels;
            }
        }
    }
}

/// Parts of all inputs, one after the other, of tensors without a halo.
pub(crate) struct Concat {
    pub(crate) xs: Vec<ConcatInput>,
    pub(crate) y: View,
    /// Parts of each input.
    pub(crate) outer: usize,
    pub(crate) clamp: Clamp,
    pub(crate) rescale: RescaleRow,
}

impl Kernel for Concat {
    fn parts(&self) -> usize {
        self.outer
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let len = self.y.len() / self.outer;
        for part in parts {
            let first = self.y.offset + part * len;
            // SAFETY: each part writes the part of the result that is its own.
            let mut y = unsafe { memory.codes_mut(first..first + len) };
            for input in &self.xs {
                let len = input.x.len() / self.outer;
                let from = input.x.offset + part * len;
                let (this, rest) = y.split_at_mut(len);
                input.copy(memory.codes(from..from + len), self.clamp, self.rescale, this);
                y = rest;
            }
        }
    }
}

/// An axis of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MoveAxis {
    /// For each position, the bytes from the first one of the input; `None` fills.
    pub(crate) from: Vec<Option<usize>>,
    /// Bytes from one position to the next in the result.
    pub(crate) step: usize,
}

/// Codes by tables.
pub(crate) struct Move {
    /// First byte of the input.
    x: usize,
    /// First byte of the result.
    y: usize,
    /// All axes but the last, the outermost first.
    outer: Vec<MoveAxis>,
    /// Where runs lie along the last axis.
    inner: MoveAxis,
    /// Bytes that move together.
    run: usize,
    fill: u8,
}

impl Move {
    /// Finds the runs of codes that stay together.
    pub(crate) fn new(mut x: usize, y: usize, mut axes: Vec<MoveAxis>, fill: u8) -> Self {
        let mut run = 1;
        while let Some(axis) = axes.last() {
            let Some(first) = axis.from[0].filter(|_| axis.step == run || axis.from.len() == 1) else { break };
            let goes_on = |(i, &from): (usize, &Option<usize>)| from == Some(first + i * run);
            if !axis.from.iter().enumerate().all(goes_on) {
                break;
            }
            run *= axis.from.len();
            axes.pop();
            // Where the run begins belongs to the axis before it.
            match axes.last_mut() {
                Some(before) => before.from.iter_mut().flatten().for_each(|from| *from += first),
                None => x += first,
            }
        }
        let inner = axes.pop().unwrap_or(MoveAxis { from: vec![Some(0)], step: run });
        Move { x, y, outer: axes, inner, run, fill }
    }

    /// Where the runs of a part begin in the input, if they do not fill, and in the result.
    fn places(&self, part: usize) -> (Option<usize>, usize) {
        let (mut from, mut to, mut rest) = (Some(self.x), self.y, part);
        for axis in self.outer.iter().rev() {
            let position = rest % axis.from.len();
            rest /= axis.from.len();
            from = from.zip(axis.from[position]).map(|(sum, from)| sum + from);
            to += position * axis.step;
        }
        (from, to)
    }
}

impl Kernel for Move {
    fn parts(&self) -> usize {
        self.outer.iter().map(|axis| axis.from.len()).product()
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let run = self.run;
        for part in parts {
            let (from, to) = self.places(part);
            for (i, &entry) in self.inner.from.iter().enumerate() {
                let to = to + i * self.inner.step;
                // SAFETY: each part writes the runs of the result that are its own.
                let y = unsafe { memory.codes_mut(to..to + run) };
                match from.zip(entry) {
                    Some((from, entry)) => y.copy_from_slice(memory.codes(from + entry..from + entry + run)),
                    None => y.fill(self.fill),
                }
            }
        }
    }
}

/// Codes of the artifact.
pub(crate) struct Constant {
    pub(crate) artifact: Artifact,
    /// In the constants section.
    pub(crate) codes: Range<usize>,
    pub(crate) y: View,
}

impl Kernel for Constant {
    fn parts(&self) -> usize {
        self.y.height
    }

    unsafe fn run(&self, memory: &Memory, parts: Range<usize>) {
        let codes = &self.artifact.constants_section()[self.codes.clone()];
        let len = self.y.width * self.y.pixel;
        for row in parts {
            // SAFETY: each part writes the rows of the result that are its own.
            unsafe { memory.codes_mut(self.y.row_range(row)) }.copy_from_slice(&codes[row * len..][..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: &[usize], step: usize) -> MoveAxis {
        MoveAxis { from: from.iter().map(|&from| (from < 1000).then_some(from)).collect(), step }
    }

    #[test]
    fn what_stays_together_moves_together() {
        // Rows 2, 0 of 3 x 4 x 5, all columns, all channels.
        let columns: Vec<usize> = (0..4).map(|i| i * 5).collect();
        let rows = vec![axis(&[40, 0], 20), axis(&columns, 5), axis(&[0, 1, 2, 3, 4], 1)];
        let moved = Move::new(7, 9, rows, 0);
        assert_eq!((moved.run, moved.outer.len(), &moved.inner), (20, 0, &axis(&[40, 0], 20)));
        // Channels 1, 2: their offset belongs to the columns.
        let channels = Move::new(0, 0, vec![axis(&columns, 2), axis(&[1, 2], 1)], 0);
        assert_eq!((channels.run, &channels.inner), (2, &axis(&[1, 6, 11, 16], 2)));
        // A result with a halo ends a run at its rows.
        let halo = Move::new(0, 0, vec![axis(&[0, 4], 9), axis(&[0, 1, 2, 3], 1)], 0);
        assert_eq!((halo.run, &halo.inner), (4, &axis(&[0, 4], 9)));
        // Nothing goes on: single codes.
        let turned = Move::new(0, 0, vec![axis(&[0, 1], 3), axis(&[0, 2, 4], 1)], 0);
        assert_eq!((turned.run, turned.outer.len(), turned.inner.from.len()), (1, 1, 3));
        let padded = Move::new(0, 0, vec![axis(&[9999, 0, 1], 1)], 0);
        assert_eq!((padded.run, padded.inner.from[0]), (1, None));
        assert_eq!(Move::new(0, 0, vec![], 0).parts(), 1);
    }
}
