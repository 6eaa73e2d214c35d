//! Loading allocates no more than the stated multiple of the file, whatever the file holds, and planning no large tables for a small one.

#![cfg(feature = "encode")]
#![allow(missing_docs, unsafe_code, clippy::unwrap_used, reason = "a test with a counting allocator")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::Net;
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, Metadata, PARSE_MEMORY_FACTOR, encode};
use releqc_runtime::program::{FloatId, FloatSlot, Op, Order, Port, Program, Tensor, TensorId, Window};
use releqc_runtime::{BitWidth, Session, SessionOptions};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator. `realloc` is that of the trait: the old and the new block count together.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Most bytes allocated at once while loading, the copy of the file not counted, over the length of the file.
fn factor(parts: &ArtifactParts) -> f64 {
    let bytes = encode(parts);
    let before = LIVE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let loaded = Artifact::from_bytes(&bytes, LoadOptions::default());
    let most = MOST.load(Ordering::Relaxed) - before;
    drop(loaded);
    (most - bytes.len().next_multiple_of(64)) as f64 / bytes.len() as f64
}

fn tensor(name: &str) -> Tensor {
    Tensor { name: name.to_owned(), height: 1, width: 1, channels: 1, scale: 1.0, zero_point: 0, arena_offset: 0 }
}

fn with_program(program: Program) -> ArtifactParts {
    ArtifactParts { program, ..Default::default() }
}

/// Held by each test, so that nothing else allocates meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

/// The lengths are just above powers of two, where a list that grows has room for twice its elements.
#[test]
fn loading_allocates_a_bounded_multiple_of_the_file() {
    let _alone = ALONE.lock().unwrap();
    let count = (1u32 << 16) + 1;
    let port = |dims| Port { name: String::new(), dims, ..Port::default() };
    let quantize = Op::Quantize { x: FloatId(0), y: TensorId(0), inv_scale: 1.0, order: Order::Same };
    let program = Program {
        inputs: vec![(port(vec![1]), FloatId(0))],
        outputs: vec![(port(vec![1]), FloatId(1))],
        tensors: vec![tensor("")],
        floats: vec![FloatSlot { len: 1 }; 2],
        ops: vec![quantize, Op::Dequantize { x: TensorId(0), y: FloatId(1), order: Order::Same }],
        arena_bytes: 1,
    };
    // What is displayed of a character that is not printed is several times as long.
    let name = "\u{7f}".repeat(43_691);
    let pool = |i| {
        let window = Window { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], padding: [0; 4] };
        Op::MaxPool { x: TensorId(i), y: TensorId(i + 1), window, lo: 0, hi: 255 }
    };
    let moved = |tables| Op::Move { x: TensorId(0), y: TensorId(1), tables, fill: 0 };
    let with_tables = |tables| {
        let ops = program.ops.iter().take(1).cloned().chain([moved(tables)]).collect();
        with_program(Program { ops, tensors: vec![tensor(""); 2], ..program.clone() })
    };
    let metadata: Metadata = (0..count).map(|i| (format!("{i:05x}"), String::new())).collect();
    let files = [
        ("operators", with_program(Program { ops: (0..count).map(pool).collect(), ..program.clone() })),
        (
            "operators and tensors",
            with_program(Program {
                ops: program.ops.iter().take(1).cloned().chain((0..count - 1).map(pool)).collect(),
                tensors: vec![tensor(""); count as usize],
                ..program.clone()
            }),
        ),
        (
            "concat",
            with_program(Program {
                ops: vec![Op::Concat {
                    xs: vec![(TensorId(0), None); count as usize],
                    y: TensorId(0),
                    outer: 1,
                    lo: 0,
                    hi: 255,
                }],
                ..program.clone()
            }),
        ),
        (
            "float slots",
            with_program(Program { floats: vec![FloatSlot { len: 1 }; count as usize], ..program.clone() }),
        ),
        (
            "outputs",
            with_program(Program { outputs: vec![(port(vec![]), FloatId(0)); count as usize], ..program.clone() }),
        ),
        ("axes", with_tables(vec![vec![]; count as usize])),
        ("positions of an axis", with_tables(vec![vec![0; count as usize]])),
        (
            "extents",
            with_program(Program {
                inputs: vec![(port(vec![u32::MAX; count as usize]), FloatId(0))],
                ..program.clone()
            }),
        ),
        ("metadata", ArtifactParts { metadata, ..with_program(program.clone()) }),
        (
            "a name in an error",
            with_program(Program { tensors: vec![Tensor { height: 0, ..tensor(&name) }], ..program.clone() }),
        ),
        (
            "two names in an error",
            with_program(Program {
                ops: vec![program.ops[0].clone(), pool(0), program.ops[1].clone()],
                tensors: vec![tensor(&name), tensor(&name)],
                ..program
            }),
        ),
    ];
    for (what, parts) in &files {
        let factor = factor(parts);
        assert!(factor <= PARSE_MEMORY_FACTOR as f64, "{what}: {factor:.1} times the file");
    }
}

/// Most bytes allocated at once while a session is planned.
fn planned_bytes(artifact: &Artifact) -> usize {
    let before = LIVE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let session = Session::new(artifact, SessionOptions::default()).unwrap();
    let most = MOST.load(Ordering::Relaxed) - before;
    drop(session);
    most
}

#[test]
fn pixels_of_many_channels_share_their_codes() {
    let _alone = ALONE.lock().unwrap();
    let channels = 1 << 20;
    let (mut net, x) = Net::new(3, [channels, 1, 1], 0);
    let y = net.logits(x, 1, BitWidth::MIN);
    net.output(y);
    let Net { program, constants, weights, .. } = net;
    let metadata = Metadata::from([("preprocessing".to_owned(), "raw".to_owned())]);
    let bytes = encode(&ArtifactParts { metadata, program, constants, weights, ..Default::default() });
    let artifact = Artifact::from_bytes(&bytes, LoadOptions::default()).unwrap();
    // The tensor and the weights, widened for a trial; a table a channel would take 256 MiB.
    assert!(planned_bytes(&artifact) < 100 << 20);
}

#[test]
fn layers_of_many_windows_and_taps_are_not_trimmed() {
    let _alone = ALONE.lock().unwrap();
    let (mut net, x) = Net::new(3, [4, 1, 256], 0);
    let window = Window { kernel: [1, 512], stride: [1; 2], dilation: [1; 2], padding: [0, 384, 0, 384] };
    let y = net.conv(x, 16, window, 1, BitWidth::MIN, [0, 0, 255]).unwrap();
    let y = net.dequantize(y);
    net.output(y);
    let planned = planned_bytes(&net.artifact());
    assert!(planned < 1 << 20, "{planned} bytes for 513 windows of 512 taps");
}
