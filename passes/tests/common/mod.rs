//! What several test files share: a plain float executor, random values, and the place of real models.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test says why it was skipped or failed")]
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every test file compiles this module and uses a part of it"
)]

pub mod compiles;
mod evaluate;
mod interpret;
pub mod nets;
pub mod onnx_builder;
pub mod random_net;
pub mod shared_files;

pub use evaluate::evaluate;
pub use interpret::interpret;
use std::path::PathBuf;
use tract_onnx::prelude::*;

/// The folder of shared models, or `None` with a note where it is absent.
pub fn shared_models() -> Option<PathBuf> {
    let root = std::env::var_os("RELEQC_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let models = root.join("models");
    if models.is_dir() {
        return Some(models);
    }
    assert!(std::env::var_os("RELEQC_REQUIRE_SHARED").is_none(), "{} is absent", models.display());
    // Past the capture of test output: a skipped test must be seen.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {} is absent\n", models.display()).as_bytes(),
    );
    None
}

/// A small fixed generator (splitmix64), so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// In [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

/// tract's own optimised execution of a model on one sample; all outputs one after the other.
pub fn tract_outputs(mut bytes: &[u8], input: &[f32]) -> Vec<f32> {
    let dims = input_dims(bytes);
    let plan = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_read(&mut bytes)
        .unwrap()
        .with_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), &dims))
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let input = Tensor::from_shape(&dims, input).unwrap();
    let outputs = plan.run(tvec!(input.into())).unwrap();
    outputs
        .iter()
        .flat_map(|output| output.to_plain_array_view::<f32>().unwrap().iter().copied().collect::<Vec<_>>())
        .collect()
}

/// Extents of a model's input with a batch of 1, as the file states them.
fn input_dims(bytes: &[u8]) -> Vec<usize> {
    use releqc_passes::onnx::onnx_protobuf::{tensor_shape_proto::dimension::Value, type_proto};
    let graph = releqc_passes::onnx::decode_model(bytes).unwrap().graph.unwrap();
    let mut inputs = graph.input.iter().filter(|input| graph.initializer.iter().all(|i| i.name != input.name));
    let kind = inputs.next().unwrap().r#type.clone().unwrap().value.unwrap();
    let type_proto::Value::TensorType(tensor) = kind else { panic!("{kind:?}") };
    let dims = tensor.shape.unwrap().dim.into_iter().map(|dim| dim.value);
    dims.map(|dim| if let Some(Value::DimValue(v)) = dim { v as usize } else { 1 }).collect()
}
