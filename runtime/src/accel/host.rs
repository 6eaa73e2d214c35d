//! Where the float slots of a network lie in the host memory.

use crate::program::Program;

/// First host value of each slot, and how many values all of them have: the inputs, then the others.
pub(super) fn host_places(network: &Program) -> (Vec<u32>, u64) {
    let mut places = vec![None; network.floats.len()];
    for (slot, range) in network.input_ranges() {
        places[slot.0 as usize] = Some(range.start as u32);
    }
    let mut end = network.input_len() as u64;
    let mut placed = |len: u32| {
        let first = u32::try_from(end).unwrap_or(u32::MAX);
        end += u64::from(len);
        first
    };
    let slots = places.into_iter().zip(&network.floats);
    let places = slots.map(|(place, slot)| place.unwrap_or_else(|| placed(slot.len))).collect();
    (places, end)
}
