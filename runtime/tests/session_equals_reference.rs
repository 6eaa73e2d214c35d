//! Every instruction set of this machine gives the bytes of the reference executor, on random small programs.

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, Random};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::isa::{EmulatedTiles, Feature, Features};
use releqc_runtime::program::{ArithmeticKind, Op, Order, TensorId, Window};
use releqc_runtime::reference::Reference;
use releqc_runtime::session::WeightLayout;
use releqc_runtime::{BitWidth, Isa, Pixels, Session, SessionOptions};

/// Programs of each of the four tests over random programs, which share the cores.
const CASES: u64 = 2500;

/// One program in so many runs on emulated tiles too, which are slow: 2500 in all.
const EMULATED_EVERY: u64 = 4;

fn clamp(r: &mut Random) -> [u8; 3] {
    match r.below(4) {
        0 => [0, 0, 255],
        1 => {
            let z = r.below(256) as u8;
            [z, z, 255]
        }
        2 => [r.below(256) as u8, 0, 255],
        _ => {
            let (a, b) = (r.below(256) as u8, r.below(256) as u8);
            [r.below(256) as u8, a.min(b), a.max(b)]
        }
    }
}

/// A window over `extents` that fits at least where `padding` helps.
fn window(r: &mut Random, [height, width]: [u32; 2], pooling: bool) -> Window {
    let square = r.once_in(2);
    let pick = |r: &mut Random, size: u32| [1, 2, 3, 3, 3, 5, 7, 11][r.below(8) as usize].min(size + 2);
    let kernel_y = pick(r, height);
    let kernel = [kernel_y, if square { kernel_y.min(width + 2) } else { pick(r, width) }];
    let stride = if r.once_in(2) { [1, 1] } else { [r.between(1, 4), r.between(1, 3)] };
    let dilation = if r.once_in(4) { [r.between(1, 3), r.between(1, 3)] } else { [1, 1] };
    let pad = |r: &mut Random, axis: usize| {
        let most = if pooling { (kernel[axis] - 1) * dilation[axis] } else { kernel[axis] + 1 };
        if r.once_in(40) && !pooling { r.below(60) } else { r.below(most + 1) }
    };
    let padding = if r.once_in(3) { [0; 4] } else { [pad(r, 0), pad(r, 1), pad(r, 0), pad(r, 1)] };
    Window { kernel, stride, dilation, padding }
}

fn bits(r: &mut Random) -> BitWidth {
    BitWidth::new(r.between(2, 8) as u8).unwrap()
}

fn channels(r: &mut Random) -> u32 {
    match r.below(6) {
        0 => r.between(1, 4),
        1 => 16 * r.between(1, 5),
        2 => 4 * r.between(1, 20),
        _ => r.between(1, 40),
    }
}

fn conv(r: &mut Random, net: &mut Net, x: TensorId) -> Option<TensorId> {
    let [h, w, c] = net.extents(x);
    let window = window(r, [h, w], false);
    let divisors: Vec<u32> = (1..=c).filter(|d| c % d == 0).collect();
    let groups = match r.below(4) {
        0 => c,
        1 => divisors[r.below(divisors.len() as u32) as usize],
        _ => 1,
    };
    let outputs = if groups == 1 { channels(r) } else { groups * r.between(1, if groups > 8 { 2 } else { 20 }) };
    let (bits, clamp) = (bits(r), clamp(r));
    let [height, width] = window.output(h, w)?;
    if height * width * outputs > 6000 {
        return None;
    }
    net.conv(x, outputs, window, groups, bits, clamp)
}

/// One random operator on `x`, or `x` where it does not fit.
fn step(r: &mut Random, net: &mut Net, x: TensorId) -> TensorId {
    let extents = net.extents(x);
    let [h, w, c] = extents;
    match r.below(20) {
        12 | 13 => Some(net.moved(r, x)),
        14 => {
            let (gate, clamp) = (net.gate(r, x), clamp(r));
            let operands = if r.once_in(2) { [x, gate] } else { [gate, x] };
            let kind = ArithmeticKind::ALL[r.below(5) as usize];
            Some(net.arithmetic(r, kind, operands, clamp))
        }
        15 => {
            let clamp = clamp(r);
            Some(net.turned(r, x, clamp))
        }
        16 => {
            let (z, per_channel) = (r.below(256) as u8, r.once_in(3));
            Some(net.table(x, z, per_channel))
        }
        17 => {
            let one = square_conv(r, net, x);
            let [_, lo, hi] = clamp(r);
            Some(net.concat_along(r.below(3) as usize, &[(x, None), (one, Some(0.5 + r.unit())), (x, None)], [lo, hi]))
        }
        18 => Some(net.fully_connected_rows(r, x)),
        19 => {
            let order = if r.once_in(2) { Order::Same } else { Order::ChannelFirst };
            let slot = net.dequantize_in(x, order);
            let slot = net.island(r, slot);
            let len = net.program.floats[slot.0 as usize].len;
            (len <= 8000).then(|| net.quantize(slot, [1, 1, len], order, 100))
        }
        0 => {
            let window = window(r, [h, w], true);
            net.max_pool(x, window)
        }
        1 => {
            let (window, include, z) = (window(r, [h, w], true), r.once_in(2), r.below(256) as u8);
            let [ky, kx] = window.kernel;
            let most = [ky - 1, kx - 1, ky - 1, kx - 1];
            let padding = std::array::from_fn(|side| window.padding[side].min(most[side]));
            net.average_pool(x, Window { dilation: [1; 2], padding, ..window }, include, z)
        }
        2 => {
            let clamp = clamp(r);
            Some(net.affine(x, clamp))
        }
        3 => {
            let (one, clamp) = (square_conv(r, net, x), clamp(r));
            Some(net.add(x, one, clamp))
        }
        4 => {
            let (one, rescale) = (square_conv(r, net, x), r.once_in(2));
            Some(net.concat(&[(x, false), (one, rescale), (x, rescale)]))
        }
        5 => Some(net.reshape(x, if r.once_in(2) { [1, 1, h * w * c] } else { [w, c, h] })),
        6 => {
            let (outputs, bits) = (channels(r), bits(r));
            Some(net.fully_connected(x, outputs, bits))
        }
        _ => conv(r, net, x),
    }
    .unwrap_or(x)
}

/// A convolution that keeps all extents.
fn square_conv(r: &mut Random, net: &mut Net, x: TensorId) -> TensorId {
    let c = net.extents(x)[2];
    let (bits, clamp, depthwise) = (bits(r), clamp(r), r.once_in(2));
    net.conv(x, c, net::square(3, 1, 1), if depthwise { c } else { 1 }, bits, clamp).unwrap()
}

fn random_net(seed: u64) -> Artifact {
    let mut r = Random(seed ^ 0x5eed);
    let input = [channels(&mut r).min(24), r.between(1, 14), r.between(1, 18)];
    let zero_point = if r.once_in(2) { 128 } else { r.below(256) as u8 };
    let (mut net, mut x) = Net::new(seed, input, zero_point);
    // Small codes let kernels sum deeper.
    net.normal = r.once_in(2);
    if r.once_in(4) {
        let [_, lo, hi] = clamp(&mut r);
        net.bounds = [lo, hi];
    }
    if r.once_in(8) {
        // A second input, as codes in its own order.
        let [h, w, c] = net.extents(x);
        let other = net.input(vec![1, h, w, c]);
        let other = net.quantize(other, [h, w, c], Order::Same, zero_point);
        let clamp = clamp(&mut r);
        x = net.add(x, other, clamp);
    }
    for _ in 0..r.between(1, 4) {
        x = step(&mut r, &mut net, x);
        if net.extents(x).iter().product::<u32>() > 8000 {
            break;
        }
    }
    let (outputs, bits) = (channels(&mut r), bits(&mut r));
    let slot = match r.below(4) {
        0 => net.dequantize(x),
        1 => net.conv_logits(x, outputs.min(20), net::square(1, 1, 0), 1, bits).unwrap(),
        2 => {
            let slot = net.logits(x, outputs, bits);
            net.output(slot);
            net.softmax(slot, r.once_in(2))
        }
        _ => net.logits(x, outputs, bits),
    };
    net.output(slot);
    if r.once_in(3) {
        let mut slot = if r.once_in(4) { net.program.inputs[0].1 } else { slot };
        for _ in 0..r.between(0, 4) {
            slot = net.island(&mut r, slot);
            if net.program.floats[slot.0 as usize].len > 4000 {
                break;
            }
        }
        net.output(slot);
    }
    net.artifact()
}

fn input(r: &mut Random, len: usize) -> Vec<f32> {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -0.0];
    (0..len).map(|_| if r.once_in(200) { odd[r.below(5) as usize] } else { r.normal() * 1.5 }).collect()
}

/// Bits of the outputs, NaN included.
fn words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// An operator in one line.
fn summary(op: &Op) -> String {
    match op {
        Op::Conv(c) => {
            format!("{:?} {} bits, {} outputs, {} groups, {:?}", c.kind, c.bits, c.outputs, c.groups, c.window)
        }
        other => format!("{other:?}"),
    }
}

fn check(seed: u64) {
    let artifact = random_net(seed);
    let x = input(&mut Random(!seed), artifact.program().input_len());
    let expected = words(&Reference::new(&artifact).run(&x).unwrap().concat());
    // The second run of a session meets what the first one left in memory.
    for (name, mut session, runs) in sessions(&artifact, 1, seed.is_multiple_of(EMULATED_EVERY)) {
        for round in 0..runs {
            let mut y = vec![0.0; session.output_len()];
            session.run(&x, &mut y).unwrap();
            if words(&y) != expected {
                let at = words(&y).iter().zip(&expected).position(|(a, b)| a != b);
                let summary: Vec<String> = artifact.program().ops.iter().map(summary).collect();
                panic!("seed {seed}, {name}, round {round}: differs first at {at:?}\n{}", summary.join("\n"));
            }
        }
    }
}

/// All features that can be hidden from the probe.
const HIDDEN: Features = Features::NONE.with(Feature::Gfni).with(Feature::Vbmi);

/// A session for each instruction set of this machine and each layout of weights, and for emulated tiles where they are asked for, with the
/// number of runs it is worth.
fn sessions(artifact: &Artifact, threads: usize, emulated: bool) -> impl Iterator<Item = (String, Session, usize)> {
    let layouts = [
        (WeightLayout::Fastest, Features::NONE, 2),
        (WeightLayout::Packed, Features::NONE, 1),
        (WeightLayout::Packed, HIDDEN, 1),
        (WeightLayout::Widened, Features::NONE, 1),
    ];
    let real = Isa::available().flat_map(move |isa| layouts.map(|layout| (isa, layout)));
    // Below VNNI nothing can be hidden.
    let real = real.filter(|(isa, (_, hidden, _))| *isa >= Isa::Avx512Vnni || *hidden == Features::NONE);
    let real = real.map(move |(isa, (layout, without, runs))| {
        let options = SessionOptions { isa: Some(isa), threads, without };
        let name = format!("{isa} without \"{without}\", {layout:?}");
        (name, Session::with_weights(artifact, options, layout).unwrap(), runs)
    });
    let tiles = [EmulatedTiles::WhereHardwarePays, EmulatedTiles::Everywhere].into_iter().filter(move |_| emulated);
    real.chain(tiles.map(move |tiles| {
        (format!("emulated tiles, {tiles:?}"), Session::with_emulated_tiles(artifact, tiles, threads).unwrap(), 2)
    }))
}

fn check_quarter(quarter: u64) {
    (quarter * CASES..(quarter + 1) * CASES).for_each(check);
}

#[test]
fn random_programs_give_the_same_bytes_on_every_instruction_set() {
    check_quarter(0);
}

#[test]
fn random_programs_second_quarter() {
    check_quarter(1);
}

#[test]
fn random_programs_third_quarter() {
    check_quarter(2);
}

#[test]
fn random_programs_fourth_quarter() {
    check_quarter(3);
}

#[test]
fn layers_that_are_tried_at_load_give_the_same_bytes() {
    for k in 2..=8 {
        let bits = BitWidth::new(k).unwrap();
        let (mut net, x) = Net::new(k.into(), [256, 3, 3], 7);
        let x = net.conv(x, 128, net::square(3, 1, 1), 1, bits, [9, 0, 255]).unwrap();
        let x = net.fully_connected(x, 256, bits);
        let y = net.logits(x, 20, bits);
        net.output(y);
        let artifact = net.artifact();
        let x = input(&mut Random(2), artifact.program().input_len());
        let expected = words(&Reference::new(&artifact).run(&x).unwrap().concat());
        for (isa, without) in Isa::available().flat_map(|isa| [(isa, Features::NONE), (isa, HIDDEN)]) {
            let options = SessionOptions { isa: Some(isa), threads: 1, without };
            let mut session = Session::new(&artifact, options).unwrap();
            let mut y = vec![0.0; session.output_len()];
            session.run(&x, &mut y).unwrap();
            assert_eq!(words(&y), expected, "{k} bits, {isa} without \"{without}\"");
        }
    }
}

#[test]
fn bytes_in_memory_may_begin_anywhere() {
    let parts = |net: Net| {
        let Net { program, constants, weights, .. } = net;
        encode(&ArtifactParts { program, constants, weights, ..ArtifactParts::default() })
    };
    let (mut net, x) = Net::new(3, [16, 5, 5], 7);
    let y = net.conv_logits(x, 40, net::square(3, 1, 1), 1, BitWidth::new(5).unwrap()).unwrap();
    net.output(y);
    let bytes = parts(net);
    let x = input(&mut Random(2), 16 * 5 * 5);
    let mut expected = None;
    for offset in 0..4 {
        let mut moved = vec![0; offset];
        moved.extend_from_slice(&bytes);
        let artifact = Artifact::from_bytes(&moved[offset..], LoadOptions::default()).unwrap();
        assert!(artifact.weights_section().as_ptr().addr().is_multiple_of(64), "kernels load whole cache lines");
        let mut session = Session::new(&artifact, SessionOptions::default()).unwrap();
        let mut y = vec![0.0; session.output_len()];
        session.run(&x, &mut y).unwrap();
        assert_eq!(*expected.get_or_insert_with(|| words(&y)), words(&y), "offset {offset}");
    }
}

#[test]
fn pixels_give_what_their_values_give() {
    for (channels, mean, std) in [
        (1, vec![0.1307], vec![0.3081]),
        (3, vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        (5, vec![0.5], vec![0.2]),
    ] {
        let (mut net, x) = Net::new(channels.into(), [channels, 19, 70], 117);
        let x = net.conv(x, 24, net::square(3, 1, 1), 1, BitWidth::new(4).unwrap(), [0, 0, 255]).unwrap();
        let y = net.logits(x, 10, BitWidth::MAX);
        net.output(y);
        let artifact = net.artifact();
        let mut random = Random(3);
        let pixels: Vec<u8> = (0..artifact.program().input_len()).map(|_| random.below(256) as u8).collect();
        for mapping in [Pixels::Normalize { mean, std }, Pixels::Raw] {
            let value = |(i, &pixel): (usize, &u8)| mapping.value(pixel, i / (19 * 70));
            let values: Vec<f32> = pixels.iter().enumerate().map(value).collect();
            let expected = words(&Reference::new(&artifact).run(&values).unwrap().concat());
            for isa in Isa::available() {
                let mut session =
                    Session::new(&artifact, SessionOptions { isa: Some(isa), threads: 2, ..SessionOptions::default() })
                        .unwrap();
                session.set_pixels(mapping.clone()).unwrap();
                let mut y = vec![0.0; session.output_len()];
                session.run_u8(&pixels, &mut y).unwrap();
                assert_eq!(words(&y), expected, "{channels} channels, {isa}, {mapping:?}");
            }
        }
    }
}

#[test]
fn pixels_take_what_the_artifact_records() {
    let artifact = |entries: &[(&str, &str)]| {
        let (mut net, x) = Net::new(3, [3, 5, 5], 7);
        let y = net.logits(x, 4, BitWidth::MAX);
        net.output(y);
        let metadata = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let Net { program, constants, weights, .. } = net;
        let bytes = encode(&ArtifactParts { program, constants, weights, metadata, ..ArtifactParts::default() });
        Artifact::from_bytes(bytes, LoadOptions::default()).unwrap()
    };
    let session = |entries: &[(&str, &str)]| Session::new(&artifact(entries), SessionOptions::default()).unwrap();
    let stated = [("preprocessing", "normalize"), ("preprocessing.mean", "0.5,0.25,0"), ("preprocessing.std", "2")];
    let normalize = Pixels::Normalize { mean: vec![0.5, 0.25, 0.0], std: vec![2.0] };
    assert_eq!(session(&stated).pixels(), Some(&normalize));
    assert_eq!(session(&[("preprocessing", "raw")]).pixels(), Some(&Pixels::Raw));

    // Two means for three channels, and nothing at all.
    let wrong = [("preprocessing", "normalize"), ("preprocessing.mean", "0.5,0.25"), ("preprocessing.std", "2")];
    for entries in [&wrong[..], &[]] {
        let mut session = session(entries);
        let error = session.run_u8(&[0; 75], &mut [0.0; 4]).unwrap_err().to_string();
        assert!(error.contains("state mean and standard deviation"), "{error}");
        assert!(session.set_pixels(Pixels::Normalize { mean: vec![0.0], std: vec![-1.0] }).is_err());
        session.set_pixels(normalize.clone()).unwrap();
        session.run_u8(&[0; 75], &mut [0.0; 4]).unwrap();
        assert!(session.run_u8(&[0; 74], &mut [0.0; 4]).is_err());
    }
}

#[test]
fn a_batch_is_its_samples() {
    let artifact = random_net(7);
    let (len, mut random) = (artifact.program().input_len(), Random(1));
    let x = input(&mut random, 3 * len);
    let mut session = Session::new(&artifact, SessionOptions::default()).unwrap();
    let width = session.output_len();
    let mut batch = vec![0.0; 3 * width];
    session.run_batch(&x, &mut batch).unwrap();
    for (x, row) in x.chunks(len).zip(batch.chunks(width)) {
        let mut y = vec![0.0; width];
        session.run(x, &mut y).unwrap();
        assert_eq!(words(&y), words(row));
    }
}

#[test]
fn a_batched_session_gives_what_each_sample_gives() {
    // Fully connected layers that are tried at load, small ones, a convolution of one window; whole batches and a rest.
    for k in [2, 4, 5, 8] {
        let bits = BitWidth::new(k).unwrap();
        let (mut net, x) = Net::new(k.into(), [24, 5, 5], 7);
        let x = net.conv(x, 30, net::square(3, 1, 1), 1, bits, [9, 0, 255]).unwrap();
        let x = net.conv(x, 300, net::square(5, 1, 0), 2, bits, [9, 0, 255]).unwrap();
        let x = net.fully_connected(x, 900, bits);
        let x = net.fully_connected(x, 37, bits);
        let slot = net.logits(x, 19, bits);
        let softmax = net.softmax(slot, false);
        [slot, softmax].into_iter().for_each(|slot| net.output(slot));
        let artifact = net.artifact();
        let len = artifact.program().input_len();
        let x = input(&mut Random(2), 11 * len);
        let reference = Reference::new(&artifact);
        let expected: Vec<u32> = x.chunks(len).flat_map(|x| words(&reference.run(x).unwrap().concat())).collect();
        for (isa, (samples, threads)) in Isa::available().flat_map(|isa| [(4, 1), (11, 3), (20, 1)].map(|s| (isa, s))) {
            let mut session = Session::for_batches(
                &artifact,
                SessionOptions { isa: Some(isa), threads, ..SessionOptions::default() },
                samples,
            )
            .unwrap();
            let mut y = vec![0.0; 11 * session.output_len()];
            session.run_batch(&x, &mut y).unwrap();
            assert_eq!(words(&y), expected, "{k} bits, {samples} samples, {isa}");
        }
    }
}

#[test]
fn threads_do_not_change_a_byte() {
    let (mut net, x) = Net::new(5, [24, 40, 33], 7);
    let bits = |k| BitWidth::new(k).unwrap();
    let x = net.conv(x, 72, net::square(3, 1, 1), 1, bits(4), [0, 0, 255]).unwrap();
    let x = net.conv(x, 72, net::square(3, 1, 1), 72, bits(6), [9, 0, 255]).unwrap();
    let y = net.conv(x, 72, net::square(3, 1, 1), 1, bits(3), [9, 0, 255]).unwrap();
    let x = net.add(x, y, [0, 0, 255]);
    let x = net.max_pool(x, net::square(2, 2, 0)).unwrap();
    let x = net.conv(x, 300, net::square(1, 2, 0), 1, bits(5), [0, 0, 255]).unwrap();
    let y = net.logits(x, 130, bits(2));
    net.output(y);
    let artifact = net.artifact();
    let x = input(&mut Random(2), artifact.program().input_len());
    let expected = words(&Reference::new(&artifact).run(&x).unwrap().concat());
    for threads in [1, 2, 3, 7] {
        for (name, mut session, _) in sessions(&artifact, threads, true) {
            for _ in 0..20 {
                let mut y = vec![0.0; session.output_len()];
                session.run(&x, &mut y).unwrap();
                assert_eq!(words(&y), expected, "{threads} threads, {name}");
            }
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let artifact = random_net(3);
    let mut session = Session::new(&artifact, SessionOptions::default()).unwrap();
    let (inputs, outputs) = (session.input_len(), session.output_len());
    assert!(session.run(&vec![0.0; inputs + 1], &mut vec![0.0; outputs]).is_err());
    assert!(session.run(&vec![0.0; inputs], &mut vec![0.0; outputs + 1]).is_err());
    assert!(session.run_batch(&vec![0.0; 2 * inputs], &mut vec![0.0; outputs]).is_err());
}
