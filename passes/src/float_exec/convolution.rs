//! Convolution as products of weights and panels of positions; the positions of all images of a batch follow each other.

use super::slide::Slide;
use super::tile::{Blocks, MAX_WIDTH, width};
use super::{Finish, Scratch};
use crate::ir::{Conv, Shape};
use crate::simd::Isa;

/// A convolution whose groups see several channels, or the only group.
#[derive(Debug)]
pub(super) struct Convolution {
    slide: Slide,
    /// Channels of an operand's image.
    channels: usize,
    /// One a group; `k` counts taps, within a tap the channels of the group.
    groups: Vec<Blocks>,
}

/// Positions of a panel that lie in one row of one image.
struct Segment {
    lane: usize,
    len: usize,
    image: usize,
    row: usize,
    column: usize,
}

impl Convolution {
    pub(super) fn new(conv: &Conv, operand: &Shape, result: &Shape) -> Self {
        let [outputs, inputs] = [conv.weight.dims()[0], conv.weight.dims()[1]];
        let slide = Slide::new(conv.window, operand, result).flattened();
        let (taps, of_group) = (slide.taps(), outputs / conv.groups);
        let group = |group: usize| {
            let first = group * of_group;
            let bias = conv.bias.as_ref().map(|bias| &bias[first..first + of_group]);
            Blocks::new(of_group, taps * inputs, bias, |output, k| {
                conv.weight.data()[((first + output) * inputs + k % inputs) * taps + k / inputs]
            })
        };
        Convolution { channels: operand.dims()[1], groups: (0..conv.groups).map(group).collect(), slide }
    }

    /// `images` images of `x` to those of `y`.
    pub(super) fn run(&self, isa: Isa, x: &[f32], y: &mut [f32], images: usize, finish: Finish, scratch: &mut Scratch) {
        let width = width(isa);
        let positions = images * self.slide.rows * self.slide.columns;
        let outputs: usize = self.groups.iter().map(|group| group.outputs).sum();
        let mut segments = Vec::with_capacity(MAX_WIDTH);
        for first in (0..positions).step_by(width) {
            self.segments(first, width.min(positions - first), &mut segments);
            let mut first_output = 0;
            for (group, blocks) in self.groups.iter().enumerate() {
                scratch.panel.resize(blocks.depth * width, 0.0);
                if first + width > positions {
                    scratch.panel.fill(0.0);
                }
                self.pack(x, group, &segments, width, &mut scratch.panel);
                blocks.multiply(isa, &scratch.panel, &mut scratch.sums);
                for segment in &segments {
                    let at = segment.row * self.slide.columns + segment.column;
                    let plane = self.slide.rows * self.slide.columns;
                    for (output, sums) in scratch.sums.chunks_exact(width).take(blocks.outputs).enumerate() {
                        let start = (segment.image * outputs + first_output + output) * plane + at;
                        finish.copy(&sums[segment.lane..][..segment.len], &mut y[start..][..segment.len]);
                    }
                }
                first_output += blocks.outputs;
            }
        }
    }

    /// The rows that the `count` positions from `first` lie in.
    fn segments(&self, first: usize, count: usize, segments: &mut Vec<Segment>) {
        let Slide { rows, columns, .. } = self.slide;
        segments.clear();
        let mut lane = 0;
        while lane < count {
            let position = first + lane;
            let (line, column) = (position / columns, position % columns);
            let len = (columns - column).min(count - lane);
            segments.push(Segment { lane, len, image: line / rows, row: line % rows, column });
            lane += len;
        }
    }

    /// The values under every tap, in every channel of a group, of the positions of `segments`: `[tap][channel][lane]`.
    fn pack(&self, x: &[f32], group: usize, segments: &[Segment], width: usize, panel: &mut [f32]) {
        let slide = &self.slide;
        let plane = slide.height * slide.width;
        let [kernel_rows, kernel_columns] = slide.window.kernel;
        let inputs = self.groups[group].depth / slide.taps();
        for segment in segments {
            let Segment { lane, len, image, row, column } = *segment;
            let planes = &x[(image * self.channels + group * inputs) * plane..][..inputs * plane];
            let among = column..column + len;
            for tap in 0..kernel_rows * kernel_columns {
                let inside = slide.row(row, tap / kernel_columns).and_then(|row| {
                    let (columns, first) = slide.columns_inside(tap % kernel_columns, &among)?;
                    Some((columns, row * slide.width + first))
                });
                let lines = panel[tap * inputs * width..][..inputs * width].chunks_exact_mut(width);
                let lines = lines.map(|line| &mut line[lane..lane + len]);
                let Some((columns, first)) = inside else {
                    lines.for_each(|line| line.fill(0.0));
                    continue;
                };
                let (start, end) = (columns.start - column, columns.end - column);
                let stride = slide.window.stride[1];
                for (line, plane) in lines.zip(planes.chunks_exact(plane)) {
                    line[..start].fill(0.0);
                    line[end..].fill(0.0);
                    copy(&plane[first..], stride, &mut line[start..end]);
                }
            }
        }
    }
}

/// Every `stride`-th value.
#[inline(always)]
fn copy(from: &[f32], stride: usize, to: &mut [f32]) {
    if stride == 1 {
        let from = &from[..to.len()];
        match (<&mut [f32; MAX_WIDTH]>::try_from(&mut *to), <&[f32; MAX_WIDTH]>::try_from(from)) {
            (Ok(to), Ok(from)) => *to = *from,
            _ => to.copy_from_slice(from),
        }
    } else {
        for (to, &from) in to.iter_mut().zip(from.iter().step_by(stride)) {
            *to = from;
        }
    }
}
