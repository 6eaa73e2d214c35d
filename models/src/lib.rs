//! The model zoo: networks the project makes itself, for the README, the tests and the benches.
//!
//! `models/*.onnx` are written by the examples of this package (`models/README.md` lists the commands).

mod builder;
mod nets;

pub use builder::GraphBuilder;
pub use nets::{TEST_NETS, TestNet, lenet, tiny_branches, tiny_chain, tiny_residual};
