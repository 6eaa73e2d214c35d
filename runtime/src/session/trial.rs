//! A trial at load: which of two forms of a layer runs faster on this machine. Both give the same bytes.

use super::layout::Places;
use crate::kernels::{AlignedBytes, Kernel, Memory};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Turns of each candidate. The first one also meets its pages for the first time.
const TURNS: usize = 4;

/// Bytes that are read between turns: in a network the other layers' weights pass through the cache before a layer runs again.
const BETWEEN: usize = 4 << 20;

/// Parts of a kernel that a turn runs: enough that their weights do not stay in the cache.
const MOST_PARTS: usize = 8;

/// The kernel that takes less time in its best turn; `first` where it is a matter of noise.
pub(super) fn faster<K: Kernel>(first: K, second: K, places: &Places) -> K {
    let (mut codes, mut floats) = (AlignedBytes::zeroed(places.arena_bytes), vec![0.0; places.float_count]);
    let others = AlignedBytes::zeroed(BETWEEN);
    let memory = Memory::new(&mut codes, &mut floats, &[]);
    let mut best = [Duration::MAX; 2];
    for _ in 0..TURNS {
        for (best, kernel) in best.iter_mut().zip([&first, &second]) {
            black_box(others.iter().step_by(64).fold(0u8, |sum, byte| sum ^ byte));
            let start = Instant::now();
            kernel.run(&memory, 0..kernel.parts().min(MOST_PARTS));
            *best = start.elapsed().min(*best);
        }
    }
    // Noise is a few hundredths.
    if best[1] * 103 / 100 < best[0] { second } else { first }
}
