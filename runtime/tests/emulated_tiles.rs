//! Programs of the shapes that int8 tiles (AMX) are for give the bytes of the reference executor on emulated tiles.
//!
//! Where the machine has the hardware, `session_equals_reference.rs` and this test run it too, as one more instruction set.

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, Random, square};
use releqc_runtime::format::Artifact;
use releqc_runtime::isa::EmulatedTiles;
use releqc_runtime::program::{TensorId, Window};
use releqc_runtime::reference::Reference;
use releqc_runtime::{BitWidth, Isa, Session, SessionOptions};

/// Programs of each of the two tests over random programs.
const CASES: u64 = 600;

fn bits(r: &mut Random) -> BitWidth {
    BitWidth::new(r.between(2, 8) as u8).unwrap()
}

/// Channels around the edges of tiles: 64 depths, 16 outputs.
fn channels(r: &mut Random) -> u32 {
    match r.below(4) {
        0 => 64 * r.between(1, 2),
        1 => 16 * r.between(1, 6),
        2 => 16 * r.between(1, 4) + r.between(0, 2) - 1,
        _ => r.between(1, 70),
    }
}

fn window(r: &mut Random, [height, width]: [u32; 2]) -> Window {
    let kernel = [1, 1, 3, 3, 5][r.below(5) as usize].min(height).min(width);
    let padding = if r.once_in(3) { 0 } else { kernel / 2 };
    let stride = if r.once_in(3) { 2 } else { 1 };
    let dilation =
        if r.once_in(8) && kernel == 3 && height + 2 * padding > 4 && width + 2 * padding > 4 { 2 } else { 1 };
    Window { dilation: [dilation; 2], ..square(kernel, stride, padding) }
}

fn conv(r: &mut Random, net: &mut Net, x: TensorId) -> TensorId {
    let [height, width, inputs] = net.extents(x);
    let window = window(r, [height, width]);
    let groups = if r.once_in(6) && inputs.is_multiple_of(2) { 2 } else { 1 };
    let outputs = groups * channels(r).div_ceil(groups);
    let (bits, z) = (bits(r), r.below(256) as u8);
    net.conv(x, outputs, window, groups, bits, [z, 0, 255]).unwrap_or(x)
}

fn random_net(seed: u64) -> Artifact {
    let mut r = Random(seed ^ 0x711e5);
    let input = [channels(&mut r), r.between(1, 12), r.between(1, 20)];
    let (mut net, mut x) = Net::new(seed, input, r.below(256) as u8);
    for _ in 0..r.between(1, 3) {
        x = conv(&mut r, &mut net, x);
        if r.once_in(3) {
            let [h, w, c] = net.extents(x);
            let (bits, side) = (bits(&mut r), conv(&mut r, &mut net, x));
            x = if net.extents(side) == [h, w, c] {
                net.add(x, side, [3, 0, 255])
            } else {
                net.conv(side, c, square(1, 1, 0), 1, bits, [0, 0, 255]).unwrap()
            };
        }
    }
    let (outputs, bits) = (channels(&mut r), bits(&mut r));
    let slot = match r.below(3) {
        0 => net.dequantize(x),
        1 => net.conv_logits(x, outputs, square(1, 1, 0), 1, bits).unwrap(),
        _ => net.logits(x, outputs, bits),
    };
    net.output(slot);
    net.artifact()
}

/// Runs a program twice, so that what the first run leaves in scratch memory would show.
fn check(artifact: &Artifact, threads: usize, name: &str) {
    let mut r = Random(11);
    let x: Vec<f32> = (0..artifact.program().input_len()).map(|_| r.normal() * 1.5).collect();
    let words = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let expected = words(&Reference::new(artifact).run(&x).unwrap().concat());
    let emulated = [EmulatedTiles::WhereHardwarePays, EmulatedTiles::Everywhere]
        .map(|tiles| (format!("{tiles:?}"), Session::with_emulated_tiles(artifact, tiles, threads).unwrap()));
    let real = Isa::available().filter(|&isa| isa == Isa::Amx).map(|isa| {
        (
            isa.to_string(),
            Session::new(artifact, SessionOptions { isa: Some(isa), threads, ..SessionOptions::default() }).unwrap(),
        )
    });
    for (tiles, mut session) in real.chain(emulated) {
        for round in 0..2 {
            let mut y = vec![0.0; session.output_len()];
            session.run(&x, &mut y).unwrap();
            assert_eq!(words(&y), expected, "{name}, {tiles}, {threads} threads, round {round}");
        }
    }
}

#[test]
fn random_programs_of_tile_shapes() {
    (0..CASES).for_each(|seed| check(&random_net(seed), 1, &format!("seed {seed}")));
}

#[test]
fn random_programs_of_tile_shapes_second_half() {
    (CASES..2 * CASES).for_each(|seed| check(&random_net(seed), 1, &format!("seed {seed}")));
}

/// Layers whose weights stay packed for the hardware: more than 1 MiB as bytes.
#[test]
fn large_layers_of_every_width() {
    for bits in BitWidth::all() {
        let (mut net, x) = Net::new(u64::from(bits.bits()), [256, 5, 6], 9);
        let x = net.conv(x, 528, square(3, 1, 1), 1, bits, [0, 0, 255]).unwrap();
        let y = net.conv_logits(x, 33, square(1, 1, 0), 1, bits).unwrap();
        net.output(y);
        let artifact = net.artifact();
        for threads in [1, 3] {
            check(&artifact, threads, &format!("{bits} bits"));
        }
    }
}

/// The layer shapes of small image networks, shared between threads.
#[test]
fn threads_do_not_change_a_byte() {
    let bits = |k| BitWidth::new(k).unwrap();
    let (mut net, x) = Net::new(5, [16, 32, 32], 7);
    let y = net.conv(x, 16, square(3, 1, 1), 1, bits(4), [0, 0, 255]).unwrap();
    let x = net.add(x, y, [0, 0, 255]);
    let x = net.conv(x, 64, square(3, 2, 1), 1, bits(3), [9, 0, 255]).unwrap();
    let y = net.conv(x, 64, square(3, 1, 1), 1, bits(8), [9, 0, 255]).unwrap();
    let x = net.add(x, y, [0, 0, 255]);
    let x = net.conv(x, 192, square(3, 2, 1), 1, bits(5), [0, 0, 255]).unwrap();
    let x = net.conv(x, 192, square(3, 1, 1), 1, bits(2), [0, 0, 255]).unwrap();
    let x = net.max_pool(x, square(2, 2, 0)).unwrap();
    let x = net.conv(x, 192, square(3, 1, 1), 1, bits(6), [0, 0, 255]).unwrap();
    let y = net.logits(x, 130, bits(2));
    net.output(y);
    let artifact = net.artifact();
    for threads in [1, 2, 3, 7] {
        check(&artifact, threads, "small network");
    }
}
