//! Static memory plan: every activation tensor gets its place in one arena before anything runs.
//!
//! Takes sizes and lifetimes, returns offsets. Tensors that live at the same time never share a byte.

/// Tensors begin at multiples of this many bytes.
pub const ALIGNMENT: usize = 64;

/// Size and lifetime of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Bytes.
    pub bytes: usize,
    /// Position of the operator that writes it.
    pub first: usize,
    /// Position of the last operator that reads it, or `first`.
    pub last: usize,
}

/// Offset of each tensor, and the bytes of the arena.
///
/// Greedy by size: the largest first, each at the lowest offset free of every tensor that lives at the same time. On
/// chains and residual blocks this reaches the lower bound, the largest sum of tensors alive at once.
pub fn plan(lifetimes: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lifetimes[i].bytes), i));
    let mut offsets = vec![0; lifetimes.len()];
    let mut placed: Vec<usize> = Vec::new();
    for &i in &order {
        let this = lifetimes[i];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| lifetimes[j].first <= this.last && this.first <= lifetimes[j].last)
            .map(|&j| (offsets[j], offsets[j] + lifetimes[j].bytes))
            .collect();
        taken.sort_unstable();
        let mut offset = 0usize;
        for (start, end) in taken {
            if offset + this.bytes <= start {
                break;
            }
            offset = offset.max(end.next_multiple_of(ALIGNMENT));
        }
        offsets[i] = offset;
        placed.push(i);
    }
    let arena = (0..lifetimes.len()).map(|i| offsets[i] + lifetimes[i].bytes).max().unwrap_or(0);
    (offsets, arena.next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tensors_alive_together_never_overlap(
            sizes in prop::collection::vec((1usize..500, 0usize..20, 0usize..8), 1..30)
        ) {
            let lifetimes: Vec<_> =
                sizes.iter().map(|&(bytes, first, length)| Lifetime { bytes, first, last: first + length }).collect();
            let (offsets, arena) = plan(&lifetimes);
            for (i, a) in lifetimes.iter().enumerate() {
                prop_assert!(offsets[i] % ALIGNMENT == 0 && offsets[i] + a.bytes <= arena);
                for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(!together || apart, "{} and {}", i, j);
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_its_largest_neighbours_only() {
        let chain: Vec<_> = [640, 1280, 640, 64]
            .iter()
            .enumerate()
            .map(|(i, &bytes)| Lifetime { bytes, first: i, last: i + 1 })
            .collect();
        assert_eq!(plan(&chain).1, 1920);
    }
}
