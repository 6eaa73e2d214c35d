//! A run allocates nothing, on any instruction set, with one thread or several.

#![cfg(feature = "encode")]
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, reason = "a test with a counting allocator")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, square};
use releqc_runtime::isa::EmulatedTiles;
use releqc_runtime::program::Window;
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
fn run_allocates_nothing() {
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
    let [h, w, c] = net.extents(x);
    let x = net.reshape(x, [1, 1, h * w * c]);
    let logits = net.logits(x, 130, bits(2));
    let softmax = net.softmax(logits, false);
    let codes = net.dequantize(gathered);
    [logits, softmax, codes].into_iter().for_each(|slot| net.output(slot));
    let artifact = net.artifact();
    for threads in [1, 3] {
        let real = Isa::available()
            .map(|isa| (isa.to_string(), Session::new(&artifact, SessionOptions { isa: Some(isa), threads }).unwrap()));
        let tiles = [EmulatedTiles::WhereHardwarePays, EmulatedTiles::Everywhere]
            .map(|tiles| (format!("{tiles:?}"), Session::with_emulated_tiles(&artifact, tiles, threads).unwrap()));
        for (name, mut session) in real.chain(tiles) {
            let x = vec![0.3; session.input_len()];
            let pixels = vec![9; session.input_len()];
            session.set_pixels(Pixels::Raw).unwrap();
            let mut y = vec![0.0; session.output_len()];
            // The first run lets the workers start.
            session.run(&x, &mut y).unwrap();
            let options = SessionOptions { isa: Some(session.isa()), threads };
            let mut batched = Session::for_batches(&artifact, options, 3).unwrap();
            let (xs, mut ys) = (vec![0.3; 7 * x.len()], vec![0.0; 7 * y.len()]);
            batched.run_batch(&xs, &mut ys).unwrap();
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            batched.run_batch(&xs, &mut ys).unwrap();
            for _ in 0..5 {
                session.run(&x, &mut y).unwrap();
                session.run_u8(&pixels, &mut y).unwrap();
            }
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0, "{name}, {threads} threads");
        }
    }
}
