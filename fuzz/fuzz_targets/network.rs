//! Bytes that choose the nodes of an ONNX model: what is supported compiles and runs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use releqc_fuzz_entries::{model::model, network::network};

fuzz_target!(|bytes: &[u8]| {
    let _ = model(&network(bytes));
});
