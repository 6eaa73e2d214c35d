//! Bytes of ONNX models: what is supported compiles and runs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use releqc_fuzz_entries::model::model;

fuzz_target!(|bytes: &[u8]| {
    let _ = model(bytes);
});
