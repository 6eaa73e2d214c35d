//! Quantized graph to what runs: the CPU plan, the static memory plan, the accelerator program.

pub mod cpu;
pub mod memory_plan;

pub use cpu::{Lowered, lower};
