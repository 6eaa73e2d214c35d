//! Artifacts whose hashes are right but whose content no compiler writes, and sessions that would take too much memory.

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, square};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::program::{Conv, FloatId, FloatSlot, Op, Order, Window};
use releqc_runtime::{BitWidth, Isa, Pixels, RunError, Session, SessionOptions};

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

/// A network of two layers and an affine operator.
fn two_layers() -> Net {
    let (mut net, x) = Net::new(3, [3, 6, 6], 0);
    let x = net.conv(x, 40, square(3, 1, 0), 1, BitWidth::MAX, [0, 0, 255]).unwrap();
    let x = net.affine(x, [0, 0, 255]);
    let y = net.logits(x, 40, BitWidth::MAX);
    net.output(y);
    net
}

#[test]
fn operators_must_not_share_bytes_of_a_section() {
    assert_eq!(refusal(&two_layers()), None);
    let shared = |section: &str, edit: &dyn Fn(&mut Net)| {
        let mut net = two_layers();
        // Padded wherever a layer begins.
        net.weights.fill(0);
        edit(&mut net);
        let text = refusal(&net).unwrap();
        assert!(text.contains(section) && text.contains("belong to another operator"), "{text}");
    };
    fn conv(net: &mut Net, at: usize) -> &mut Conv {
        let mut convs =
            net.program.ops.iter_mut().filter_map(|op| if let Op::Conv(conv) = op { Some(conv) } else { None });
        convs.nth(at).unwrap()
    }
    // The same bytes, bytes that begin inside of another's, bytes that end inside.
    shared("weights", &|net| conv(net, 1).weights_offset = 0);
    shared("weights", &|net| conv(net, 1).weights_offset = 64);
    shared("weights", &|net| {
        let second = conv(net, 1).weights_offset;
        conv(net, 0).weights_offset = second - 64;
    });
    shared("constants", &|net| conv(net, 1).constants_offset = 0);
    shared("constants", &|net| conv(net, 1).constants_offset = 64);
    shared("constants", &|net| {
        let first = conv(net, 0).constants_offset;
        for op in &mut net.program.ops {
            if let Op::Affine { constants_offset, .. } = op {
                *constants_offset = first;
            }
        }
        // Any word is a bias; these are multipliers and addends as well.
        net.constants[..320].copy_from_slice(&[0, 0, 128, 63].repeat(80));
    });
}

#[test]
fn inputs_must_be_slots_of_their_extents() {
    let mut net = one_layer(16, 4);
    assert_eq!(refusal(&net), None);
    let fits = |net: &mut Net, dims: &[u32]| {
        net.program.inputs[0].0.dims = dims.to_vec();
        refusal(net).is_none()
    };
    for dims in [&[1, 3, 6, 6][..], &[108], &[6, 3, 6, 1], &[1, 1, 1, 1, 1, 3, 6, 6]] {
        assert!(fits(&mut net, dims), "{dims:?}");
    }
    for dims in [&[1, 3, 6, 5][..], &[], &[0, 108], &[1, 1, 1, 1, 1, 1, 3, 6, 6], &[1 << 31, 1 << 31]] {
        assert!(!fits(&mut net, dims), "{dims:?}");
    }
    // A single value may have no extents.
    let (mut single, x) = Net::new(3, [1, 1, 1], 0);
    let y = single.dequantize(x);
    single.output(y);
    single.program.inputs[0].0.dims = vec![];
    assert_eq!(refusal(&single), None);

    let mut twice = one_layer(16, 4);
    twice.program.inputs.push(twice.program.inputs[0].clone());
    assert!(refusal(&twice).unwrap().contains("written twice"));
    let mut none = one_layer(16, 4);
    none.program.inputs.clear();
    assert!(refusal(&none).unwrap().contains("no input"));
    // The same input may be quantized twice.
    let mut again = one_layer(16, 4);
    let y = again.tensor([6, 6, 3], 1.0, 0);
    again.program.ops.push(Op::Quantize { x: FloatId(0), y, inv_scale: 1.0, order: Order::Same });
    assert_eq!(refusal(&again), None);
}

#[test]
fn outputs_must_be_small_together() {
    let net = |outputs| {
        let (mut net, x) = Net::new(3, [1, 1 << 10, 1 << 10], 0);
        let y = net.dequantize(x);
        (0..outputs).for_each(|_| net.output(y));
        refusal(&net)
    };
    // 4 MiB each, of the same slot.
    assert_eq!(net(256), None);
    assert!(net(257).unwrap().contains("outputs need"));
}

#[test]
fn float_slots_must_be_written_and_small() {
    let mut net = one_layer(16, 4);
    net.program.floats.push(FloatSlot { len: 1 });
    assert!(refusal(&net).unwrap().contains("float slot 2: is never written"));
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

#[test]
fn another_major_version_is_not_called_newer() {
    let Net { program, constants, weights, .. } = one_layer(16, 4);
    let mut bytes = encode(&ArtifactParts { program, constants, weights, ..Default::default() });
    for major in [0, 1, 3] {
        bytes[8] = major;
        let error = Artifact::from_bytes(&bytes, LoadOptions::default()).err().unwrap().to_string();
        assert_eq!(error, format!("artifact format {major}.0 cannot be read by this runtime; it reads 2.x"));
    }
}

#[test]
fn the_limit_of_activations_holds_for_files_too() {
    let Net { program, constants, weights, .. } = one_layer(16, 4);
    let needed =
        u64::from(program.arena_bytes) + 4 * program.floats.iter().map(|slot| u64::from(slot.len)).sum::<u64>();
    let path = std::env::temp_dir().join(format!("releqc-limit-{}.rq", std::process::id()));
    std::fs::write(&path, encode(&ArtifactParts { program, constants, weights, ..Default::default() })).unwrap();
    let open = |activation_limit| Artifact::open_within(&path, LoadOptions { activation_limit });
    assert!(open(needed).is_ok() && Artifact::open(&path).is_ok());
    assert!(open(needed - 1).err().unwrap().to_string().contains("the limit is"));
    std::fs::remove_file(&path).unwrap();
}

/// Most samples whose activations alone a session of a network may hold.
fn most_samples(artifact: &Artifact, options: SessionOptions) -> usize {
    let many = 1 << 40;
    match Session::for_batches(artifact, options, many) {
        Err(RunError::Memory { needed, limit }) => (limit / (needed / many as u64)) as usize,
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_and_tables_count_as_memory_of_a_session() {
    let bits = |k| BitWidth::new(k).unwrap();
    // Each of these takes more memory than a sample: there is none left for it. Nothing is allocated before that is known.
    let pooled = |average: bool| {
        let (mut net, x) = Net::new(3, [1, 1 << 16, 1], 0);
        let window = square(1, 1, 0);
        let y = if average { net.average_pool(x, window, false, 0) } else { net.max_pool(x, window) }.unwrap();
        let y = net.conv(y, 1, Window { kernel: [1 << 16, 1], ..window }, 1, bits(2), [0, 0, 255]).unwrap();
        let y = net.dequantize(y);
        net.output(y);
        net.artifact()
    };
    let layer = |channels: u32, size: u32, outputs: u32, kernel: u32, groups: u32, k: u8| {
        let (mut net, x) = Net::new(3, [channels, size, size], 0);
        let y = net.conv(x, outputs, square(kernel, 1, 1), groups, bits(k), [0, 0, 255]).unwrap();
        let y = net.reshape(y, net.extents(y));
        let y = net.max_pool(y, Window { kernel: [net.extents(y)[0], net.extents(y)[1]], ..square(1, 1, 0) }).unwrap();
        let y = net.dequantize(y);
        net.output(y);
        net.artifact()
    };
    let cases = [
        ("max pool", pooled(false)),
        ("average pool", pooled(true)),
        ("widened", layer(256, 8, 1024, 3, 1, 3)),
        ("transformed or as words", layer(256, 8, 512, 3, 1, 8)),
        ("groups", layer(512, 2, 512, 3, 256, 2)),
        ("depthwise", layer(16, 30, 16, 31, 16, 2)),
    ];
    for (name, artifact) in &cases {
        // Tiles read large layers packed.
        for isa in Isa::available().filter(|isa| *name != "widened" || *isa != Isa::Amx) {
            let options = SessionOptions { isa: Some(isa), threads: 1, ..SessionOptions::default() };
            let samples = most_samples(artifact, options);
            let error = Session::for_batches(artifact, options, samples).err();
            assert!(matches!(error, Some(RunError::Memory { .. })), "{name}, {isa}: {error:?}");
            assert!(Session::for_batches(artifact, options, 2).is_ok(), "{name}, {isa}");
        }
    }
}

#[test]
fn lists_of_pixels_are_bounded() {
    let features = Pixels::MOST_VALUES as u32 + 1;
    let (mut net, x) = Net::new(3, [features, 1, 1], 7);
    let y = net.dequantize(x);
    net.output(y);
    let mut session = Session::new(&net.artifact(), SessionOptions::default()).unwrap();
    let list = |len: usize| Pixels::Normalize { mean: vec![0.5; len], std: vec![0.25] };
    let error = session.set_pixels(list(features as usize)).unwrap_err().to_string();
    assert!(error.contains("mean has 4097 values; at most 4096 are supported"), "{error}");
    session.set_pixels(list(1)).unwrap();
    let mut subnormal = list(1);
    if let Pixels::Normalize { std, .. } = &mut subnormal {
        std[0] = 1e-40;
    }
    assert!(session.set_pixels(subnormal).unwrap_err().to_string().contains("a number > 0 is required"));
}
