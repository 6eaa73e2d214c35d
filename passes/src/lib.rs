//! The compiler passes of releqc.

pub mod annotate;
pub mod calibrate;
pub mod data;
pub mod import;
pub mod ir;
pub mod onnx;
pub mod rewrite;
pub mod verify;
