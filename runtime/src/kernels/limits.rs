//! Limits of the machine, measured: how fast an instruction set multiplies, and how fast memory of a size is read.
//!
//! Both are loops like those of the kernels, without anything that is not a product or not a load.
#![allow(unsafe_code, reason = "calls loops compiled for an instruction set")]

use super::AlignedBytes;
use super::compiled::compiled;
use crate::isa::{Available, Isa};
use crate::{BitWidth, RunError};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Time that one measurement takes.
const BUDGET: Duration = Duration::from_millis(8);

/// The largest of the rates that `pass`, which does `work`, reaches within the budget.
fn best_rate(work: f64, mut pass: impl FnMut()) -> f64 {
    pass();
    let (begin, mut best) = (Instant::now(), 0f64);
    while begin.elapsed() < BUDGET {
        let start = Instant::now();
        pass();
        best = best.max(work / start.elapsed().as_secs_f64());
    }
    best
}

/// Measures how many multiply-accumulates a second one thread reaches at most with weights of `bits` bits, in some milliseconds.
///
/// # Errors
/// [`RunError::Isa`] where the machine lacks the instruction set.
pub fn measure_products(isa: Isa, bits: BitWidth) -> Result<f64, RunError> {
    Ok(products(isa.require()?, bits.bits()))
}

/// Measures how many bytes a second one thread reads when it reads `bytes` bytes, 512 at least, over and over, in some milliseconds.
///
/// # Errors
/// [`RunError::Isa`] where the machine lacks the instruction set.
pub fn measure_reads(isa: Isa, bytes: usize) -> Result<f64, RunError> {
    Ok(reads(isa.require()?, bytes))
}

/// Multiply-accumulates a second of one thread, with weights of `bits` bits that lie ready as the instruction set multiplies them.
fn products(available: Available, bits: u8) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(loops) = x86::loops_for(available, bits) {
        return best_rate(loops.macs as f64, || (loops.run)());
    }
    let (q, w) = ([3u8; 1024], [5i8; 1024]);
    let dot = |q: &[u8; 1024], w: &[i8; 1024]| {
        q.iter().zip(w).fold(0i32, |sum, (&q, &w)| sum.wrapping_add(i32::from(q) * i32::from(w)))
    };
    best_rate(1024.0, || {
        black_box(dot(black_box(&q), black_box(&w)));
    })
}

/// At least `bytes` bytes, whole steps.
fn room(bytes: usize) -> AlignedBytes {
    AlignedBytes::zeroed(bytes.max(1).div_ceil(STEP_BYTES) * STEP_BYTES)
}

/// Bytes a second that one thread reads from `bytes` bytes, over and over.
fn reads(available: Available, bytes: usize) -> f64 {
    let memory = room(bytes);
    let read = sum_words(available);
    let mut sum = 0;
    let rate = best_rate(memory.len() as f64, || {
        // SAFETY: bound for an instruction set that was proved available.
        unsafe { read(black_box(&memory), &mut sum) };
    });
    black_box(sum);
    rate
}

/// Bytes that are read at a time.
const STEP_BYTES: usize = 512;

/// Combines the words of whole steps.
#[inline(always)]
fn sum(bytes: &[u8], sum: &mut u64) {
    let mut sums = [0u64; STEP_BYTES / 8];
    for line in bytes.chunks_exact(STEP_BYTES) {
        for (sum, word) in sums.iter_mut().zip(line.chunks_exact(8)) {
            *sum ^= u64::from_le_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]]);
        }
    }
    *sum ^= sums.iter().fold(0, |all, sum| all ^ sum);
}

compiled! {
    /// Reads every byte.
    fn sum_words: SumWords(bytes: &[u8], total: &mut u64) = sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read() {
        for bytes in [1, 64, 511, 512, 513, 1025] {
            let mut memory = room(bytes);
            assert!(memory.len() >= bytes);
            for at in 0..memory.len() {
                memory[at] = 1;
                let mut total = 0;
                sum(&memory, &mut total);
                assert_ne!(total, 0, "byte {at} of {bytes}");
                memory[at] = 0;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use crate::isa::{Available, Avx2, Avx2Vnni, Avx512, Avx512Vnni, Isa};
    use crate::kernels::AlignedBytes;
    use crate::kernels::lanes::{Lanes, avx2, avx2vnni, avx512, avx512vnni};
    use std::hint::black_box;

    /// A loop and the products it computes.
    pub(super) struct Loops {
        pub(super) run: Box<dyn Fn()>,
        pub(super) macs: usize,
    }

    /// Groups of 4 depths in a pass over weights that stay in the cache.
    const GROUPS: usize = 16;
    /// Passes.
    const PASSES: usize = 2000;

    macro_rules! loops {
        ($features:literal, $lanes_type:ty, $lanes:expr, $k:literal, $pixels:literal, $vectors:literal) => {{
            #[target_feature(enable = $features)]
            fn entry(lanes: $lanes_type, bytes: &[u8]) {
                // SAFETY: the features are enabled here; the bytes hold all weights and activations.
                unsafe { dots::<$lanes_type, $k, $pixels, $vectors>(lanes, bytes) }
            }
            let lanes = $lanes;
            let bytes = AlignedBytes::zeroed(GROUPS * $vectors * 128 + 4096);
            // SAFETY: `lanes` holds the proof that the machine has the features.
            let run = Box::new(move || unsafe { entry(lanes, black_box(&bytes)) });
            Some(Loops { run, macs: PASSES * GROUPS * $pixels * $vectors * <$lanes_type as Lanes>::LANES * 4 })
        }};
    }

    pub(super) fn loops_for(available: Available, bits: u8) -> Option<Loops> {
        // Trained codes are small for the most part: of 5 and 6 bits more steps fit than the width alone proves.
        let steps = (128 >> bits).max(4);
        match available.isa() {
            Isa::Scalar => None,
            Isa::Avx2 => {
                let narrow = avx2::Narrow(Avx2::probe()?);
                match bits {
                    8 => loops!("avx2", avx2::Full, avx2::Full(Avx2::probe()?), 16, 4, 2),
                    7 => loops!("avx2", avx2::Narrow, narrow, 8, 4, 2),
                    _ => loops!("avx2", avx2::Deep, avx2::Deep { narrow, steps }, 8, 4, 2),
                }
            }
            Isa::Avx2Vnni => {
                loops!("avx2,avxvnni", avx2vnni::Vnni, avx2vnni::Vnni(Avx2Vnni::probe()?), 8, 4, 2)
            }
            Isa::Avx512 => {
                let narrow = avx512::Narrow(Avx512::probe()?);
                match bits {
                    8 => loops!(
                        "avx2,avx512f,avx512bw,avx512dq,avx512vl",
                        avx512::Full,
                        avx512::Full(Avx512::probe()?),
                        16,
                        6,
                        2
                    ),
                    7 => loops!("avx2,avx512f,avx512bw,avx512dq,avx512vl", avx512::Narrow, narrow, 8, 6, 2),
                    _ => loops!(
                        "avx2,avx512f,avx512bw,avx512dq,avx512vl",
                        avx512::Deep,
                        avx512::Deep { narrow, steps },
                        8,
                        6,
                        2
                    ),
                }
            }
            Isa::Avx512Vnni | Isa::Amx => {
                let lanes = avx512vnni::Vnni(Avx512Vnni::probe()?);
                loops!("avx2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", avx512vnni::Vnni, lanes, 8, 6, 4)
            }
        }
    }

    /// `PIXELS` windows times `VECTORS` vectors, all in the nearest cache.
    #[inline(always)]
    unsafe fn dots<D: Lanes, const K: u8, const PIXELS: usize, const VECTORS: usize>(lanes: D, bytes: &[u8]) {
        let tile_bytes = if K == 16 { 128 } else { 64 };
        // SAFETY: the caller enables the features; `bytes` holds `GROUPS` times `VECTORS` vectors, and activations behind them.
        unsafe {
            let mut sums = [[lanes.sum(bytes.as_ptr().cast()); VECTORS]; PIXELS];
            let activations = bytes.as_ptr().add(GROUPS * VECTORS * tile_bytes);
            for _ in 0..PASSES {
                let mut group = 0;
                while group < GROUPS {
                    let steps = if D::DEEP { lanes.steps().min(GROUPS - group) } else { 1 };
                    let mut partial = [[lanes.start(); VECTORS]; PIXELS];
                    for step in group..group + steps {
                        let weights = bytes.as_ptr().add(step * VECTORS * tile_bytes);
                        let first = lanes.tile_weights::<K>(weights, 0);
                        let mut w = [first; VECTORS];
                        for (v, w) in w.iter_mut().enumerate() {
                            *w = lanes.tile_weights::<K>(weights.add(v * tile_bytes), 0);
                        }
                        for p in 0..PIXELS {
                            let q = lanes.broadcast::<K>(activations.add(64 * p + 8 * step));
                            for v in 0..VECTORS {
                                if D::DEEP {
                                    partial[p][v] = lanes.accumulate(partial[p][v], q, w[v]);
                                } else {
                                    sums[p][v] = lanes.dot(sums[p][v], q, w[v]);
                                }
                            }
                        }
                    }
                    if D::DEEP {
                        for p in 0..PIXELS {
                            for v in 0..VECTORS {
                                sums[p][v] = lanes.fold(sums[p][v], partial[p][v]);
                            }
                        }
                    }
                    group += steps;
                }
            }
            let mut floats = [0f32; 16];
            for sum in sums.into_iter().flatten() {
                lanes.scale(&raw const sum, [1f32; 16].as_ptr(), floats.as_mut_ptr());
                black_box(&floats);
            }
        }
    }
}
