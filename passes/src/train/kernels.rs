//! Training kernels: forward and backward of every layer over plain f32 slices.
//!
//! Activations are NHWC, weights HWIO with the output channel innermost (depthwise `[height, width, channels]`), so that
//! vectors run along output channels. Every function divides a batch into the same parts for any number of threads:
//! results are bit-identical for 1 and N threads on one machine.
//!
//! Invariant: nothing here knows Burn or the IR.

pub mod convolution;
pub mod depthwise;
pub mod epilogue;
pub mod linear;
pub(crate) mod partition;
pub mod pool;
pub(crate) mod tiles;

pub(crate) use crate::simd;

#[cfg(test)]
mod tests;
