//! A run allocates nothing, on any instruction set, with one thread or several.

#![cfg(feature = "encode")]
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, reason = "a test with a counting allocator")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, square};
use releqc_runtime::isa::EmulatedTiles;
use releqc_runtime::program::{ArithmeticKind, Window};
use releqc_runtime::{BitWidth, Isa, Pixels, Session, SessionOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn runs_allocate_nothing() {
    a_run_on_floats_allocates_nothing();
    a_run_on_pixels_allocates_nothing();
}

fn a_run_on_pixels_allocates_nothing() {
    let (mut net, x) = Net::new(5, [3, 40, 33], 7);
    let x = net.conv(x, 16, square(3, 1, 1), 1, BitWidth::MAX, [0, 0, 255]).unwrap();
    let logits = net.logits(x, 10, BitWidth::MAX);
    net.output(logits);
    let mut session = Session::new(&net.artifact(), SessionOptions::default()).unwrap();
    session.set_pixels(Pixels::Raw).unwrap();
    let (pixels, mut y) = (vec![9; session.input_len()], vec![0.0; session.output_len()]);
    session.run_u8(&pixels, &mut y).unwrap();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    session.run_u8(&pixels, &mut y).unwrap();
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "pixels");
}

fn a_run_on_floats_allocates_nothing() {
    let bits = |k| BitWidth::new(k).unwrap();
    let (mut net, x) = Net::new(5, [3, 40, 33], 7);
    let x = net.conv(x, 64, square(3, 1, 1), 1, bits(4), [0, 0, 255]).unwrap();
    let x = net.conv(x, 64, square(3, 1, 1), 64, bits(6), [9, 0, 255]).unwrap();
    let wide = Window { padding: [70; 4], stride: [9; 2], ..square(3, 1, 0) };
    let gathered = net.conv(x, 8, wide, 1, bits(5), [0, 0, 255]).unwrap();
    let y = net.conv(x, 64, square(3, 1, 1), 1, bits(8), [9, 0, 255]).unwrap();
    let x = net.add(x, y, [0, 0, 255]);
    let x = net.affine(x, [0, 0, 255]);
    let x = net.concat(&[(x, false), (y, true)]);
    let x = net.max_pool(x, square(2, 2, 0)).unwrap();
    let x = net.average_pool(x, square(4, 4, 0), false, 0).unwrap();
    let x = net.conv(x, 64, square(3, 1, 1), 1, bits(2), [0, 0, 255]).unwrap();
    let mut r = net::Random(4);
    let gate = net.constant([1, 1, 64], 9);
    let x = net.arithmetic(&mut r, ArithmeticKind::Mul, [x, gate], [9, 0, 255]);
    let x = net.table(x, 3, true);
    let x = net.turned(&mut r, x, [9, 0, 255]);
    let x = net.moved(&mut r, x);
    let [h, w, c] = net.extents(x);
    let x = net.reshape(x, [1, 1, h * w * c]);
    let logits = net.logits(x, 130, bits(2));
    let softmax = net.softmax(logits, false);
    let codes = net.dequantize(gathered);
    let mut island = net.program.inputs[0].1;
    for _ in 0..40 {
        // Of every operator on floats at least one.
        island = net.island(&mut r, island);
        if net.program.floats[island.0 as usize].len > 10_000 {
            island = logits;
        }
    }
    [logits, softmax, codes, island].into_iter().for_each(|slot| net.output(slot));
    let artifact = net.artifact();
    for threads in [1, 3] {
        let real = Isa::available().map(|isa| {
            (
                isa.to_string(),
                Session::new(&artifact, SessionOptions { isa: Some(isa), threads, ..SessionOptions::default() })
                    .unwrap(),
            )
        });
        let tiles = [EmulatedTiles::WhereHardwarePays, EmulatedTiles::Everywhere]
            .map(|tiles| (format!("{tiles:?}"), Session::with_emulated_tiles(&artifact, tiles, threads).unwrap()));
        for (name, mut session) in real.chain(tiles) {
            let x = vec![0.3; session.input_len()];
            let mut y = vec![0.0; session.output_len()];
            // The first run lets the workers start.
            session.run(&x, &mut y).unwrap();
            let options = SessionOptions { isa: Some(session.isa()), threads, ..SessionOptions::default() };
            let mut batched = Session::for_batches(&artifact, options, 3).unwrap();
            let (xs, mut ys) = (vec![0.3; 7 * x.len()], vec![0.0; 7 * y.len()]);
            batched.run_batch(&xs, &mut ys).unwrap();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            batched.run_batch(&xs, &mut ys).unwrap();
            for _ in 0..5 {
                session.run(&x, &mut y).unwrap();
            }
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{name}, {threads} threads");
        }
    }
}
