//! Artifacts whose hashes are right but whose content no compiler writes, and sessions that would take too much memory.

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, square};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::program::{FloatSlot, Window};
use releqc_runtime::{BitWidth, RunError, Session, SessionOptions};

/// The error of loading a net, as text.
fn refusal(net: &Net) -> Option<String> {
    let Net { program, constants, weights, .. } = net;
    let parts = ArtifactParts {
        program: program.clone(),
        constants: constants.clone(),
        weights: weights.clone(),
        ..Default::default()
    };
    Artifact::from_bytes(encode(&parts), LoadOptions::default()).err().map(|error| error.to_string())
}

/// One layer of `outputs` with a depth of 3 x 3 x 3 over an image.
fn one_layer(outputs: u32, bits: u8) -> Net {
    let (mut net, x) = Net::new(3, [3, 6, 6], 0);
    let y = net.conv(x, outputs, square(3, 1, 0), 1, BitWidth::new(bits).unwrap(), [0, 0, 255]).unwrap();
    let y = net.dequantize(y);
    net.output(y);
    net
}

#[test]
fn weights_beyond_the_depth_must_be_zero() {
    for bits in 2..=8 {
        let mut net = one_layer(16, bits);
        assert_eq!(refusal(&net), None);
        // The last tile holds depths 24..28; every bit of its 28th depth, at least, is damaged by inverting all of it.
        let tile = 8 * usize::from(bits);
        net.weights[6 * tile..].iter_mut().for_each(|byte| *byte = !*byte);
        let text = refusal(&net).unwrap();
        assert!(text.contains("layer0") && text.contains("not padded with 0"), "{bits} bits: {text}");
    }
}

#[test]
fn weights_beyond_the_outputs_must_be_zero() {
    let mut net = one_layer(15, 8);
    assert_eq!(refusal(&net), None);
    net.weights[63] = 1;
    assert!(refusal(&net).unwrap().contains("not padded with 0"));
    let mut net = one_layer(16, 8);
    net.weights[63] = 1;
    assert_eq!(refusal(&net), None, "the same byte belongs to the sixteenth output");
}

#[test]
fn float_slots_must_be_written_and_small() {
    let mut net = one_layer(16, 4);
    net.program.floats.push(FloatSlot { len: 1 });
    assert!(refusal(&net).unwrap().contains("float slot 1: is never written"));
    net.program.floats.push(FloatSlot { len: u32::MAX });
    assert!(refusal(&net).unwrap().contains("the limit is"));
}

#[test]
fn a_session_beyond_its_memory_is_an_error() {
    // Two readers with padding on different sides: the tensor's halo is the product of both.
    let (mut net, x) = Net::new(3, [1 << 14, 1, 1], 0);
    let sides = [[1023, 0, 0, 0], [0, 1023, 0, 0]];
    for padding in sides {
        let kernel = [padding[0] + 1, padding[1] + 1];
        let window = Window { kernel, stride: [1; 2], dilation: [1; 2], padding };
        let y = net.conv(x, 1 << 14, window, 1 << 14, BitWidth::MIN, [0, 0, 255]).unwrap();
        let y = net.dequantize(y);
        net.output(y);
    }
    let artifact = net.artifact();
    let error = Session::new(&artifact, SessionOptions::default()).err().unwrap();
    assert!(matches!(error, RunError::Memory { needed, limit } if needed > limit), "{error}");
    let artifact = one_layer(16, 4).artifact();
    let batch = |samples| Session::for_batches(&artifact, SessionOptions::default(), samples).err();
    assert!(batch(64).is_none());
    for samples in [1 << 40, 1 << 61, usize::MAX] {
        assert!(matches!(batch(samples), Some(RunError::Memory { .. })), "{samples}");
    }
}
