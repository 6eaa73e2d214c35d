//! The real binary, as a user calls it.

mod errors;
mod executors;
mod json;
mod onnx;
mod reproducible;
mod support;
