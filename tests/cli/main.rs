//! The real binary, as a user calls it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "in a test a panic is the message")]

mod activation_bits;
mod budgets;
mod cases;
mod data;
mod emit_c;
mod errors;
mod executors;
mod interchange;
mod json;
mod machines;
mod metrics;
mod onnx;
mod ranges;
mod reproducible;
mod search;
mod support;
mod terminal;
mod worker;
