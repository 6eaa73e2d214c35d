//! The compiler passes of releqc.

pub mod annotate;
pub mod calibrate;
pub mod data;
pub mod ir;
pub mod search;
