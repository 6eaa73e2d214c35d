//! Writes the zoo's test nets: `cargo run --release -p releqc-models --example generate -- OUT_FOLDER`.

use releqc_models::TEST_NETS;
use releqc_passes::onnx;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "models".into());
    for (name, net) in TEST_NETS {
        std::fs::write(Path::new(&folder).join(format!("{name}.onnx")), onnx::write(&net(), &[])?)?;
    }
    Ok(())
}
