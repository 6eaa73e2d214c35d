//! The compiler passes of releqc.

pub mod annotate;
pub mod calibrate;
pub mod data;
pub mod float_exec;
pub mod ir;
pub mod lower;
pub mod quantize;
pub mod synthesize;
