//! Layers that leave out the products of their padding or are computed in the transformed domain give the bytes of the reference.

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, Random};
use releqc_runtime::format::Artifact;
use releqc_runtime::program::Window;
use releqc_runtime::reference::Reference;
use releqc_runtime::session::WeightLayout;
use releqc_runtime::{BitWidth, Isa, Session, SessionOptions};

fn pick<T: Copy>(r: &mut Random, of: &[T]) -> T {
    of[r.below(of.len() as u32) as usize]
}

/// One layer over the input itself, then all its codes.
fn layer(r: &mut Random, seed: u64, bits: BitWidth) -> Option<Artifact> {
    let (height, width) =
        (pick(r, &[1, 2, 2, 4, 4, 5, 6, 8, 8, 10, 16]), pick(r, &[1, 2, 2, 3, 4, 4, 7, 8, 8, 12, 16]));
    let (mut net, x) = Net::new(seed, [pick(r, &[4, 16, 16, 20, 32, 48, 80]), height, width], pick(r, &[0, 0, 0, 128]));
    (net.extreme, net.normal) = (r.once_in(3), r.once_in(2));
    let plain = r.once_in(2);
    let (kernel, odd) = if plain { ([3, 3], false) } else { ([r.between(1, 5), r.between(1, 5)], r.once_in(2)) };
    let (stride, dilation) =
        if odd { ([r.between(1, 2), r.between(1, 2)], [r.between(1, 2); 2]) } else { ([1; 2], [1; 2]) };
    let padding = if plain && r.once_in(2) { [1; 4] } else { std::array::from_fn(|_| r.below(4)) };
    let window = Window { kernel, stride, dilation, padding };
    let clamp = pick(r, &[[0, 0, 255], [128, 0, 255], [3, 10, 200]]);
    let outputs = pick(r, &[16, 33, 64, 80, 130]);
    let y = net.conv(x, outputs, window, 1, bits, clamp)?;
    let y = net.dequantize(y);
    net.output(y);
    Some(net.artifact())
}

fn check(artifact: &Artifact, x: &[f32], what: &str) {
    let expected = Reference::new(artifact).run(x).unwrap().concat();
    for isa in Isa::available() {
        for (layout, threads) in [(WeightLayout::Fastest, 1), (WeightLayout::Fastest, 2), (WeightLayout::Packed, 1)] {
            let options = SessionOptions { isa: Some(isa), threads, ..SessionOptions::default() };
            let mut session = Session::with_weights(artifact, options, layout).unwrap();
            for round in 0..2 {
                let mut y = vec![0.0; session.output_len()];
                session.run(x, &mut y).unwrap();
                assert!(y == expected, "{what}, {isa}, {layout:?}, {threads} threads, round {round}");
            }
        }
    }
}

#[test]
fn single_layers_give_the_same_bytes_on_every_instruction_set() {
    for seed in 0..600 {
        let mut r = Random(seed);
        let bits = BitWidth::new(pick(&mut r, &[2, 3, 4, 5, 6, 7, 8, 8])).unwrap();
        let Some(artifact) = layer(&mut r, seed, bits) else { continue };
        // The largest codes everywhere, or any.
        let largest = r.once_in(3);
        let len = artifact.program().input_len();
        let x: Vec<f32> = (0..len).map(|_| if largest { 1e9 } else { r.normal() * 3.0 }).collect();
        check(&artifact, &x, &format!("seed {seed}, {bits} bits"));
    }
}

#[test]
fn layers_of_eight_bits_are_transformed_on_avx2() {
    if !Isa::Avx2.is_available() {
        return;
    }
    let bytes = |size: u32, padding: u32, bits: u8| {
        let (mut net, x) = Net::new(1, [32, size, size], 0);
        let y = net.conv(x, 48, net::square(3, 1, padding), 1, BitWidth::new(bits).unwrap(), [0, 0, 255]).unwrap();
        let y = net.dequantize(y);
        net.output(y);
        let artifact = net.artifact();
        let session =
            Session::new(&artifact, SessionOptions { isa: Some(Isa::Avx2), threads: 1, ..SessionOptions::default() })
                .unwrap();
        session.weight_bytes()[1]
    };
    let transformed = 16 * 32 * 48 * size_of::<i16>();
    assert_eq!(bytes(8, 1, 8), transformed);
    assert_eq!(bytes(16, 1, 6), transformed);
    // An odd number of windows, few windows, few bits.
    for (size, padding, bits) in [(7, 1, 8), (2, 1, 8), (16, 1, 4)] {
        assert!(bytes(size, padding, bits) < transformed);
    }
}

/// Fewer packed bytes than input, more weights: two threads share it by rows, so no products are left out.
#[test]
fn narrow_layers_shared_by_rows_are_whole() {
    for bits in [2, 3, 8] {
        let (mut net, x) = Net::new(7, [128, 8, 8], 0);
        let bits = BitWidth::new(bits).unwrap();
        let y = net.conv(x, 16, net::square(3, 1, 1), 1, bits, [0, 0, 255]).unwrap();
        let y = net.dequantize(y);
        net.output(y);
        let artifact = net.artifact();
        let mut r = Random(5);
        let x: Vec<f32> = (0..artifact.program().input_len()).map(|_| r.normal() * 3.0).collect();
        check(&artifact, &x, &format!("{bits} bits"));
    }
}
