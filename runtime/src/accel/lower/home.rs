//! Which tensors live in the activation buffer, and where.
//!
//! A tensor lives from the operator that writes it to the last one that reads it; all that live at once are accounted together. Tensors take
//! the lowest free place of the buffer in the order in which they are written. Where one does not fit, the upper half of the
//! buffer is kept for tiles that stream from and to DRAM, and what does not fit the lower half lives in the arena.

use crate::program::{Op, Program, TensorId};
use std::ops::Range;

/// Where each tensor lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Homes {
    /// First byte in the activation buffer; none for a tensor in the arena.
    resident: Vec<Option<u32>>,
    /// Bytes of the buffer kept for tiles.
    pub(super) stream: Range<u32>,
}

impl Homes {
    /// First byte in the buffer, if it lives there.
    pub(super) fn resident(&self, id: TensorId) -> Option<u32> {
        self.resident[id.0 as usize]
    }

    /// Places the tensors of a network in a buffer of `bytes`.
    pub(super) fn new(network: &Program, bytes: u32) -> Self {
        match place(network, bytes) {
            (resident, true) => Homes { resident, stream: bytes..bytes },
            _ => Homes { resident: place(network, bytes / 2).0, stream: bytes / 2..bytes },
        }
    }
}

/// Operators between which each tensor lives, both included.
fn lifetimes(network: &Program) -> Vec<Option<[usize; 2]>> {
    let mut lives = vec![None; network.tensors.len()];
    let mut live = |id: TensorId, at: usize| {
        let [first, _] = *lives[id.0 as usize].get_or_insert([at, at]);
        lives[id.0 as usize] = Some([first, at]);
    };
    for (at, op) in network.ops.iter().enumerate() {
        op.reads().into_iter().chain(op.writes()).for_each(|id| live(id, at));
    }
    lives
}

/// Places, and whether every tensor has one.
fn place(network: &Program, bytes: u32) -> (Vec<Option<u32>>, bool) {
    let lives = lifetimes(network);
    let mut placed: Vec<(Range<u64>, [usize; 2])> = Vec::new();
    let mut places = vec![None; network.tensors.len()];
    let mut all = true;
    for id in network.ops.iter().filter_map(Op::writes) {
        let Some(life) = lives[id.0 as usize] else { continue };
        let len = network.tensor(id).len() as u64;
        let mut taken: Vec<&Range<u64>> = placed
            .iter()
            .filter(|(_, other)| other[0] <= life[1] && life[0] <= other[1])
            .map(|(range, _)| range)
            .collect();
        taken.sort_by_key(|range| range.start);
        let mut first = 0;
        for range in taken {
            if first + len <= range.start {
                break;
            }
            first = first.max(range.end);
        }
        if first + len <= u64::from(bytes) {
            placed.push((first..first + len, life));
            places[id.0 as usize] = u32::try_from(first).ok();
        } else {
            all = false;
        }
    }
    (places, all)
}
