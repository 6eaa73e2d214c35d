//! Bytes that choose the nodes of an ONNX model: what is supported compiles and runs.

#![no_main]

#[path = "../entries/artifact.rs"]
#[allow(dead_code, reason = "its samples are used")]
mod artifact;
#[path = "../entries/model.rs"]
#[allow(dead_code, reason = "the outcome is for tests")]
mod model;
#[path = "../entries/network.rs"]
mod network;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    model::model(&network::network(bytes));
});
