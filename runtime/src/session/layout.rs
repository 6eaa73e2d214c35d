//! Where tensors lie: an arena of its own, with halos.
//!
//! ```text
//! a tensor with halo:   z z z z z z      the consumer's padding is there when it reads:
//!                       z . . . . z      cells hold the zero point from the start and nothing ever writes them,
//!                       z . . . . z      because only tensors of the same extents, halo and zero point share a place
//!                       z z z z z z
//! ```

use super::axes::Dense;
use super::bind::winograd::suits;
use super::budget::Budget;
use crate::kernels::conv::winograd;
use crate::kernels::{Values, View};
use crate::program::{Conv, FloatId, Op, Program, Tensor, TensorId};
use crate::{BitWidth, RunError};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;

/// Bytes a kernel may read beyond a tensor: fewer than a step of tiles.
pub(super) const SLACK: usize = 64;

/// A halo may make a tensor this many times larger; a layer that needs more gathers its windows.
const MAX_HALO_GROWTH: usize = 4;

/// Where everything lies.
pub(super) struct Places {
    /// Of each tensor.
    pub(super) views: Vec<View>,
    /// Bytes of the arena and the value they hold from the start.
    pub(super) halos: Vec<(Range<usize>, u8)>,
    /// First byte of the scratch memory for gathered windows.
    pub(super) scratch: usize,
    /// First byte of the scratch memory for activations as u16.
    pub(super) words: usize,
    /// First byte of the scratch memory for unpacked weights.
    pub(super) panels: usize,
    /// Bytes of the arena.
    pub(super) arena_bytes: usize,
    /// Of each float slot.
    pub(super) floats: Vec<Values>,
    /// Which tensors have no halo.
    pub(super) dense: Dense,
    /// Number of floats.
    pub(super) float_count: usize,
}

/// Memory of one sample, or of several one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of the code arena.
    pub(super) codes: usize,
    /// Number of floats.
    pub(super) floats: usize,
}

impl Places {
    /// The memory of a sample; the next one's begins right after it.
    pub(super) fn room(&self) -> Room {
        Room { codes: self.arena_bytes.next_multiple_of(64), floats: self.float_count }
    }
}

impl Room {
    /// The memory of `samples` samples, counted.
    ///
    /// # Errors
    /// [`RunError::Memory`] where that is more than a session may take.
    pub(super) fn times(self, samples: usize, budget: &Budget) -> Result<Room, RunError> {
        let all = Room { codes: self.codes.saturating_mul(samples), floats: self.floats.saturating_mul(samples) };
        budget.take(all.bytes())?;
        Ok(all)
    }

    /// Bytes of both.
    pub(super) fn bytes(self) -> usize {
        self.codes.saturating_add(self.floats.saturating_mul(size_of::<f32>()))
    }
}

/// Cells around a tensor: top, left, bottom, right.
pub(super) type Halo = [usize; 4];

/// What decides whether two tensors may share a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    height: usize,
    width: usize,
    channels: usize,
    halo: Halo,
    /// Zero point, where there is a halo to hold it.
    fill: u8,
}

impl Shape {
    fn row(&self) -> usize {
        (self.width + self.halo[1] + self.halo[3]) * self.channels
    }

    fn bytes(&self) -> usize {
        self.row() * (self.height + self.halo[0] + self.halo[2])
    }
}

/// The places of one shape, by their offsets.
#[derive(Default)]
struct PlacesOfShape {
    /// With the operator after which each is free, the first of them on top.
    busy: BinaryHeap<Reverse<(usize, usize)>>,
    free: BTreeSet<usize>,
}

impl PlacesOfShape {
    /// The first place that is free when operator `at` runs.
    fn take(&mut self, at: usize) -> Option<usize> {
        while let Some(&Reverse((_, offset))) = self.busy.peek().filter(|Reverse((until, _))| *until < at) {
            self.busy.pop();
            self.free.insert(offset);
        }
        self.free.pop_first()
    }
}

/// Whether a layer reads its padding, if any, from a halo. The others gather.
pub(super) fn uses_halo(program: &Program, dense: &Dense, conv: &Conv) -> bool {
    let x = program.tensor(conv.x);
    if dense.has(conv.x) && conv.window.padding != [0; 4] {
        return false;
    }
    let [top, left, bottom, right] = conv.window.padding.map(|p| p as usize);
    let (height, width) = (x.height as usize, x.width as usize);
    (height + top + bottom) * (width + left + right) <= MAX_HALO_GROWTH * (height * width).max(256)
}

/// Rows of fewer windows than this are gathered to one strip.
const FEW_WINDOWS: usize = 6;

/// Most bytes of windows that are gathered at once.
const MAX_STRIP_BYTES: usize = 256 << 10;

/// Whether all windows of a layer are copied to one strip before it runs.
pub(super) fn gathers_strip(program: &Program, dense: &Dense, conv: &Conv) -> bool {
    let x = program.tensor(conv.x);
    let [height, width] = program.conv_output(conv).map(|extent| extent as usize);
    let few = height > 1 && width < FEW_WINDOWS && conv.groups == 1 && x.channels > 1;
    few && uses_halo(program, dense, conv) && height * gathered_row(program, conv) <= MAX_STRIP_BYTES
}

/// Bytes of one row of gathered windows.
fn gathered_row(program: &Program, conv: &Conv) -> usize {
    let x = program.tensor(conv.x);
    let depth = (conv.depth(x) * conv.groups as usize).next_multiple_of(4);
    depth * program.conv_output(conv)[1] as usize
}

/// Whether a layer may want its activations as u16: the others have products that fit i16, or use each weight too few times.
pub(super) fn uses_words(program: &Program, conv: &Conv) -> bool {
    conv.bits == BitWidth::MAX && program.conv_output(conv) != [1, 1]
}

/// Bytes of scratch memory a layer needs.
fn scratch(program: &Program, dense: &Dense, conv: &Conv) -> usize {
    if gathers_strip(program, dense, conv) {
        gathered_row(program, conv) * program.conv_output(conv)[0] as usize
    } else if uses_halo(program, dense, conv) {
        0
    } else {
        gathered_row(program, conv)
    }
}

/// Gives every tensor a place; places are reused once their last reader is done.
///
/// `words` makes room for activations as u16; `panels_bytes` are for unpacked weights.
pub(super) fn plan(program: &Program, words: bool, panels_bytes: usize) -> Places {
    let dense = Dense::new(program);
    let halos = halos(program, &dense);
    let last_use = last_uses(program);
    let mut places: BTreeMap<Shape, PlacesOfShape> = BTreeMap::new();
    let mut filled = Vec::new();
    let mut offsets = vec![0; program.tensors.len()];
    let mut end = 0;
    for (at, op) in program.ops.iter().enumerate() {
        let Some(y) = op.writes() else { continue };
        let id = y.0 as usize;
        let tensor = program.tensor(y);
        let shape = shape(tensor, halos[id]);
        let places = places.entry(shape).or_default();
        offsets[id] = places.take(at).unwrap_or_else(|| {
            let offset = end;
            end += (shape.bytes() + SLACK).next_multiple_of(64);
            if shape.halo != [0; 4] {
                filled.push((offset..offset + shape.bytes(), shape.fill));
            }
            offset
        });
        places.busy.push(Reverse((last_use[id].max(at), offsets[id])));
    }
    let view = |(i, t): (usize, &Tensor)| {
        let shape = shape(t, halos[i]);
        let offset = offsets[i] + shape.halo[0] * shape.row() + shape.halo[1] * shape.channels;
        View { offset, row: shape.row(), pixel: shape.channels, height: shape.height, width: shape.width }
    };
    let scratch_bytes = program.convs().map(|conv| scratch(program, &dense, conv)).max().unwrap_or(0);
    let scratch_bytes = (scratch_bytes + SLACK).next_multiple_of(64);
    let as_words = |conv: &Conv| {
        let tensor = program.tensor(conv.x);
        // A layer that could gather a strip may read its tensor all the same.
        let strip = if gathers_strip(program, &dense, conv) { scratch(program, &dense, conv) } else { 0 };
        let bytes = strip.max(shape(tensor, halos[conv.x.0 as usize]).bytes());
        let direct = if uses_words(program, conv) { 2 * (bytes + SLACK) } else { 0 };
        if suits(program, &dense, conv) {
            let [height, width] = program.conv_output(conv).map(|extent| extent as usize);
            return direct.max(winograd::scratch_bytes(height * width, tensor.channels as usize) + SLACK);
        }
        direct
    };
    let word_bytes = if words { program.convs().map(as_words).max().unwrap_or(0) } else { 0 };
    let panels = (end + scratch_bytes + word_bytes).next_multiple_of(64);
    let (floats, float_count) = float_places(program);
    Places {
        views: program.tensors.iter().enumerate().map(view).collect(),
        halos: filled,
        scratch: end,
        words: end + scratch_bytes,
        panels,
        arena_bytes: panels + panels_bytes + SLACK,
        floats,
        float_count,
        dense,
    }
}

/// A place for every slot but inputs that are only quantized, which stay where the caller has them; and how many floats these take.
/// Slots of one length reuse a place once their last reader is done.
fn float_places(program: &Program) -> (Vec<Values>, usize) {
    let mut in_place = vec![None; program.floats.len()];
    let mut last_use = vec![0; program.floats.len()];
    for (slot, range) in program.input_ranges() {
        in_place[slot.0 as usize] = Some(Values::Input(range));
    }
    for (at, op) in program.ops.iter().enumerate() {
        for slot in op.reads_floats() {
            last_use[slot.0 as usize] = at;
            if !matches!(op, Op::Quantize { .. }) {
                in_place[slot.0 as usize] = None;
            }
        }
    }
    for (_, slot) in &program.outputs {
        last_use[slot.0 as usize] = usize::MAX;
    }
    let mut end = 0;
    let mut places: BTreeMap<usize, PlacesOfShape> = BTreeMap::new();
    let mut place = |slot: FloatId, at: usize| {
        let (len, last_use) = (program.float_len(slot), last_use[slot.0 as usize]);
        let places = places.entry(len).or_default();
        let first = places.take(at).unwrap_or(end);
        end = end.max(first + len);
        places.busy.push(Reverse((last_use.max(at), first)));
        Values::Slot(first..first + len)
    };
    // Inputs are there before the first operator.
    let inputs = program.inputs.iter().map(|(_, slot)| (*slot, 0));
    let written = program.ops.iter().enumerate().filter_map(|(at, op)| Some((op.writes_floats()?, at)));
    for (slot, at) in inputs.chain(written) {
        let known = &mut in_place[slot.0 as usize];
        if known.is_none() {
            *known = Some(place(slot, at));
        }
    }
    (in_place.into_iter().map(|place| place.unwrap_or(Values::Slot(0..0))).collect(), end)
}

fn shape(tensor: &Tensor, halo: Halo) -> Shape {
    Shape {
        height: tensor.height as usize,
        width: tensor.width as usize,
        channels: tensor.channels as usize,
        halo,
        fill: if halo == [0; 4] { 0 } else { tensor.zero_point },
    }
}

/// The widest padding of each tensor's readers.
fn halos(program: &Program, dense: &Dense) -> Vec<Halo> {
    let mut halos = vec![[0; 4]; program.tensors.len()];
    for conv in program.convs().filter(|conv| uses_halo(program, dense, conv)) {
        let halo: &mut Halo = &mut halos[conv.x.0 as usize];
        for (side, padding) in halo.iter_mut().zip(conv.window.padding) {
            *side = (*side).max(padding as usize);
        }
    }
    halos
}

/// The last operator that reads each tensor; 0 for a tensor nobody reads.
fn last_uses(program: &Program) -> Vec<usize> {
    let mut last = vec![0; program.tensors.len()];
    for (at, op) in program.ops.iter().enumerate() {
        for TensorId(id) in op.reads() {
            last[id as usize] = at;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_free_place_is_taken() {
        let mut places = PlacesOfShape::default();
        assert_eq!(places.take(0), None);
        // Busy until operators 5, 2 and 2.
        places.busy.extend([Reverse((5, 0)), Reverse((2, 128)), Reverse((2, 64))]);
        assert_eq!(places.take(2), None, "operator 2 still reads them");
        assert_eq!(places.take(3), Some(64));
        places.busy.push(Reverse((9, 64)));
        assert_eq!(places.take(6), Some(0));
        assert_eq!([places.take(6), places.take(6)], [Some(128), None]);
    }
}
