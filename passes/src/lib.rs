//! The compiler passes of releqc.

pub mod activation;
pub mod activation_bits;
pub mod annotate;
pub mod annotation;
pub mod calibrate;
pub mod code_widths;
pub mod compare;
pub mod compile;
pub mod data;
pub mod domain;
pub mod emit;
pub mod equalize;
pub mod evaluate;
pub mod export;
pub mod float_exec;
pub mod import;
pub mod ir;
pub mod legality;
pub mod lower;
pub mod machine;
pub mod onnx;
pub mod post_training;
pub mod quantize;
pub mod random;
pub mod rewrite;
pub mod search;
pub mod simd;
pub mod synthesize;
mod threads;
pub mod train;
pub mod verify;

pub use threads::limit_threads;
