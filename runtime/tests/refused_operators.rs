//! Every check of an operator refuses a program that breaks it, and nothing else of it.

#![cfg(feature = "encode")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "support/net.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by tests")]
mod net;

use net::{Net, dense, square};
use releqc_runtime::BitWidth;
use releqc_runtime::float::{BinaryKind, ReduceKind};
use releqc_runtime::format::{Artifact, ArtifactParts, LoadOptions, encode};
use releqc_runtime::function::Function;
use releqc_runtime::program::{ArithmeticKind, Destination, FloatId, Op, Order, TensorId, Window};

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

/// Two tensors of 4 x 6 x 8, `x` and `other`, and the slot of the input.
fn start() -> (Net, TensorId, TensorId) {
    let (mut net, x) = Net::new(3, [8, 4, 6], 7);
    let other = net.constant([4, 6, 8], 7);
    let scale = net.program.tensor(x).scale;
    net.program.tensors[other.0 as usize].scale = scale;
    (net, x, other)
}

/// Closes a net whose last operator is under test.
fn finish(net: &mut Net) {
    let slots: Vec<FloatId> = net.program.ops.last().and_then(Op::writes_floats).into_iter().collect();
    slots.into_iter().for_each(|slot| net.output(slot));
    let x = TensorId(0);
    let y = net.dequantize(x);
    net.output(y);
}

/// A net of one operator under test.
fn with(op: impl FnOnce(&mut Net, TensorId, TensorId) -> Op) -> Net {
    let (mut net, x, other) = start();
    let op = op(&mut net, x, other);
    net.program.ops.push(op);
    finish(&mut net);
    net
}

/// Checks that the net is accepted, and refused with `what` in the error once `edit` has changed its operator under test.
fn check(net: &Net, what: &str, edit: impl FnOnce(&mut Op)) {
    assert_eq!(refusal(net), None, "before: {what}");
    let Net { program, constants, weights, .. } = net;
    let mut edited = program.clone();
    // The last operator dequantizes a tensor, for an output.
    let at = edited.ops.len() - 2;
    edit(&mut edited.ops[at]);
    let parts =
        ArtifactParts { program: edited, constants: constants.clone(), weights: weights.clone(), ..Default::default() };
    let error = Artifact::from_bytes(encode(&parts), LoadOptions::default()).err().map(|error| error.to_string());
    let error = error.unwrap_or_else(|| panic!("accepted: {what}"));
    assert!(error.contains(what) && error.contains(&format!("operator {at} (")), "{what}: {error}");
}

fn arithmetic(kind: ArithmeticKind) -> Net {
    with(|net, a, b| {
        let y = net.tensor([4, 6, 8], 1.0, 3);
        let strides = dense(&[4, 6, 8]);
        Op::Arithmetic {
            kind,
            a,
            b,
            y,
            extents: vec![4, 6, 8],
            strides_a: strides.clone(),
            strides_b: strides,
            multiplier_a: 0.5,
            multiplier_b: 1.0,
            lo: 0,
            hi: 255,
        }
    })
}

#[test]
fn arithmetic_stays_in_its_operands() {
    let net = arithmetic(ArithmeticKind::Mul);
    macro_rules! edit {
        ($what:literal, |$($field:ident),+| $change:expr) => {
            check(&net, $what, |op| {
                let Op::Arithmetic { $($field,)+ .. } = op else { panic!() };
                $change
            });
        };
    }
    edit!("reach value", |strides_a| strides_a[0] = 49);
    edit!("reach value", |strides_b| strides_b[2] = u32::MAX);
    edit!("strides for 3 axes", |strides_b| strides_b.push(0));
    edit!("for a result of", |extents| extents[1] = 5);
    edit!("each must be >= 1", |extents| extents[1] = 0);
    edit!("too many positions", |extents| *extents = vec![1 << 20, 1 << 20, 8]);
    edit!("at most 8 are allowed", |extents, strides_a, strides_b| {
        extents.splice(0..0, [1; 6]);
        strides_a.splice(0..0, [0; 6]);
        strides_b.splice(0..0, [0; 6]);
    });
    edit!("clamp", |lo, hi| (*lo, *hi) = (9, 8));
    edit!("multiplier_b of a product", |multiplier_b| *multiplier_b = 2.0);
    edit!("multiplier_a", |multiplier_a| *multiplier_a = -0.5);
    edit!("multiplier_a", |multiplier_a| *multiplier_a = f32::NAN);
    edit!("does not exist", |a| *a = TensorId(77));
    edit!("before it is written", |a, y| *a = *y);
    edit!("written twice", |a, y| *y = *a);
    let sum = arithmetic(ArithmeticKind::Add);
    check(&sum, "multiplier_b", |op| {
        let Op::Arithmetic { multiplier_b, .. } = op else { panic!() };
        *multiplier_b = 1e-13;
    });
}

#[test]
fn moves_stay_in_their_operand() {
    let net = with(|net, x, _| {
        let y = net.like(x, [6, 8, 5]);
        let axes = [(0..6).map(|i| 8 * i).collect(), (0..8).collect(), vec![0, 48, 96, 144, u32::MAX]];
        Op::Move { x, y, tables: axes.to_vec(), fill: 3 }
    });
    macro_rules! edit {
        ($what:literal, |$($field:ident),+| $change:expr) => {
            check(&net, $what, |op| {
                let Op::Move { $($field,)+ .. } = op else { panic!() };
                $change
            });
        };
    }
    edit!("reach value 192 of 192", |tables| tables[1][0] = 8);
    edit!("reach value", |tables| tables[2][0] = u32::MAX - 1);
    edit!("for a result of", |tables| tables[0].truncate(5));
    edit!("an axis of no position", |tables| tables[0].clear());
    edit!("at most 8 are allowed", |tables| tables.extend(vec![vec![0]; 6]));
    edit!("for a result of", |tables| tables.clear());
}

#[test]
fn moves_change_no_scale() {
    let net = with(|net, x, _| {
        let y = net.like(x, [4, 6, 8]);
        Op::Move { x, y, tables: vec![(0..192).collect()], fill: 0 }
    });
    assert_eq!(refusal(&net), None);
    let Net { mut program, constants, weights, .. } = net;
    program.tensors[2].zero_point += 1;
    let error = Artifact::from_bytes(
        encode(&ArtifactParts { program, constants, weights, ..Default::default() }),
        LoadOptions::default(),
    );
    assert!(error.err().unwrap().to_string().contains("equal scale and zero point"));
}

#[test]
fn concatenations_have_whole_parts() {
    let net = with(|net, x, other| {
        let y = net.like(x, [4, 12, 8]);
        Op::Concat { xs: vec![(x, None), (other, Some(0.5))], y, outer: 4, lo: 1, hi: 99 }
    });
    macro_rules! edit {
        ($what:literal, |$($field:ident),+| $change:expr) => {
            check(&net, $what, |op| {
                let Op::Concat { $($field,)+ .. } = op else { panic!() };
                $change
            });
        };
    }
    edit!("in 5 parts", |outer| *outer = 5);
    edit!("1..=", |outer| *outer = 0);
    edit!("codes in", |xs| xs.truncate(1));
    edit!("nothing is read", |xs| xs.clear());
    edit!("multiplier", |xs| xs[1].1 = Some(0.0));
    edit!("clamp", |hi| *hi = 0);
}

#[test]
fn pools_have_bounded_work() {
    let net = with(|net, x, _| {
        let y = net.like(x, [3, 5, 8]);
        Op::MaxPool { x, y, window: square(2, 1, 0), lo: 0, hi: 255 }
    });
    macro_rules! edit {
        ($what:literal, |$($field:ident),+| $change:expr) => {
            check(&net, $what, |op| {
                let Op::MaxPool { $($field,)+ .. } = op else { panic!() };
                $change
            });
        };
    }
    edit!("clamp", |lo, hi| (*lo, *hi) = (1, 0));
    edit!("each must be >= 1", |window| window.stride = [0, 1]);
    edit!("is required", |window| window.stride = [1, 2]);
    edit!("must be smaller than the window", |window| window.padding = [2, 0, 0, 0]);
    edit!("does not fit", |window| window.kernel = [5, 2]);

    // A window of 2^24 x 2^24 over an image of one cell.
    let (mut net, x) = Net::new(3, [1, 1, 1], 0);
    let most = (1 << 24) - 1;
    let y = net.like(x, [1, 1, 1]);
    let window = Window { kernel: [1 << 24; 2], stride: [1; 2], dilation: [1; 2], padding: [most, most, 0, 0] };
    net.program.ops.push(Op::MaxPool { x, y, window, lo: 0, hi: 255 });
    let y = net.dequantize(y);
    net.output(y);
    assert!(refusal(&net).unwrap().contains("at most 2^42 are allowed"));

    // Many operators, each of which is within the bound.
    let (mut net, mut x) = Net::new(3, [1, 1, 1], 0);
    let most = (1 << 20) - 1;
    for _ in 0..5 {
        let y = net.like(x, [1, 1, 1]);
        let window = Window { kernel: [1 << 20; 2], stride: [1; 2], dilation: [1; 2], padding: [most, most, 0, 0] };
        net.program.ops.push(Op::MaxPool { x, y, window, lo: 0, hi: 255 });
        x = y;
    }
    let y = net.dequantize(x);
    net.output(y);
    let text = refusal(&net).unwrap();
    assert!(text.contains("operator 4 (") && text.contains("at most 2^42 are allowed"), "{text}");
}

#[test]
fn tables_and_constants_lie_in_their_section() {
    for per_channel in [false, true] {
        let (mut net, x, _) = start();
        net.table(x, 3, per_channel);
        finish(&mut net);
        check(&net, "leave the section", |op| {
            let Op::Table { constants_offset, .. } = op else { panic!() };
            *constants_offset += 64;
        });
        check(&net, "a multiple of 64", |op| {
            let Op::Table { constants_offset, .. } = op else { panic!() };
            *constants_offset += 4;
        });
        check(&net, "belong to another operator", |op| {
            let Op::Table { constants_offset, .. } = op else { panic!() };
            *constants_offset = 0;
        });
    }
}

fn float(op: impl FnOnce(FloatId, FloatId) -> Op, len: u32) -> Net {
    with(|net, _, _| {
        let x = net.program.inputs[0].1;
        let y = net.slot(len);
        op(x, y)
    })
}

#[test]
fn operators_on_floats_stay_in_their_slots() {
    let strides = dense(&[8, 24]);
    let (a, b) = (strides.clone(), strides.clone());
    let binary = float(
        |x, y| Op::FloatBinary {
            kind: BinaryKind::Pow,
            a: x,
            b: x,
            y,
            extents: vec![8, 24],
            strides_a: a,
            strides_b: b,
        },
        192,
    );
    check(&binary, "reach value", |op| {
        let Op::FloatBinary { strides_b, .. } = op else { panic!() };
        strides_b[1] = 2;
    });
    check(&binary, "for a result of", |op| {
        let Op::FloatBinary { extents, .. } = op else { panic!() };
        extents[1] = 2;
    });
    check(&binary, "before it is written", |op| {
        let Op::FloatBinary { b, y, .. } = op else { panic!() };
        *b = *y;
    });
    check(&binary, "does not exist", |op| {
        let Op::FloatBinary { b, .. } = op else { panic!() };
        *b = FloatId(99);
    });

    let unary = float(|x, y| Op::FloatUnary { x, y, function: Function::LeakyRelu { alpha: 0.5 } }, 192);
    for alpha in [-0.0, 1e-40] {
        check(&unary, "no subnormal", |op| {
            let Op::FloatUnary { function, .. } = op else { panic!() };
            *function = Function::LeakyRelu { alpha };
        });
    }

    let moved = float(|x, y| Op::FloatMove { x, y, tables: vec![vec![0, 191, u32::MAX]], fill: 0.0 }, 3);
    check(&moved, "reach value 192 of 192", |op| {
        let Op::FloatMove { tables, .. } = op else { panic!() };
        tables[0][0] = 192;
    });
    check(&moved, "fill", |op| {
        let Op::FloatMove { fill, .. } = op else { panic!() };
        *fill = -0.0;
    });

    let concat = float(|x, y| Op::FloatConcat { xs: vec![x, x], y, outer: 8 }, 384);
    check(&concat, "in 7 parts", |op| {
        let Op::FloatConcat { outer, .. } = op else { panic!() };
        *outer = 7;
    });
    check(&concat, "values in", |op| {
        let Op::FloatConcat { xs, .. } = op else { panic!() };
        xs.truncate(1);
    });

    let reduce = float(|x, y| Op::FloatReduce { kind: ReduceKind::Mean, x, y, outer: 2, len: 24, inner: 4 }, 8);
    check(&reduce, "x: 192 values for 2 x 48 x 4", |op| {
        let Op::FloatReduce { len, .. } = op else { panic!() };
        *len = 48;
    });
    check(&reduce, "y: 8 values for 4 x 1 x 4", |op| {
        let Op::FloatReduce { outer, len, .. } = op else { panic!() };
        (*outer, *len) = (4, 12);
    });

    let softmax = float(|x, y| Op::Softmax { x, y, log: false, outer: 2, len: 24, inner: 4 }, 192);
    check(&softmax, "x: 192 values", |op| {
        let Op::Softmax { inner, .. } = op else { panic!() };
        *inner = 5;
    });

    let product = float(
        |x, y| Op::FloatMatMul {
            a: x,
            b: x,
            y,
            batch: vec![4],
            strides_a: vec![48],
            strides_b: vec![48],
            m: 6,
            k: 8,
            n: 6,
        },
        144,
    );
    macro_rules! edit {
        ($what:literal, |$($field:ident),+| $change:expr) => {
            check(&product, $what, |op| {
                let Op::FloatMatMul { $($field,)+ .. } = op else { panic!() };
                $change
            });
        };
    }
    edit!("a: strides [49] reach", |strides_a| strides_a[0] = 49);
    edit!("y: 144 values", |n| *n = 5);
    edit!("a: 192 values for a 6 x 33 matrix", |k| *k = 33);

    let resample = float(
        |x, y| Op::FloatResample { x, y, outer: 2, len: 24, inner: 4, taps: vec![vec![(0, 0.5), (23, 0.5)], vec![]] },
        16,
    );
    check(&resample, "a tap at 24 of 24", |op| {
        let Op::FloatResample { taps, .. } = op else { panic!() };
        taps[1].push((24, 1.0));
    });
    check(&resample, "y: 16 values", |op| {
        let Op::FloatResample { taps, .. } = op else { panic!() };
        taps.push(vec![]);
    });
    check(&resample, "taps", |op| {
        let Op::FloatResample { taps, .. } = op else { panic!() };
        taps[1].push((0, 1e-39));
    });
}

#[test]
fn constants_of_floats_are_canonical() {
    let (mut net, ..) = start();
    let mut r = net::Random(3);
    let y = net.float_constant(&mut r, 20);
    net.output(y);
    finish(&mut net);
    assert_eq!(refusal(&net), None);
    let end = net.constants.len();
    for bits in [0x8000_0000, 1, 0xffff_ffff_u32] {
        net.constants[end - 4..].copy_from_slice(&bits.to_le_bytes());
        assert!(refusal(&net).unwrap().contains("slots hold no subnormal number"), "{bits:#x}");
    }
}

#[test]
fn lookups_lie_in_their_section() {
    let (mut net, ..) = start();
    let (x, y) = (net.program.inputs[0].1, net.slot(192 * 3));
    let constants_offset = net.add_constants((0..12).map(|i| (i as f32).to_bits()));
    net.program.ops.push(Op::FloatLookup { x, y, constants_offset, rows: 4, width: 3 });
    finish(&mut net);
    check(&net, "leave the section", |op| {
        let Op::FloatLookup { rows, .. } = op else { panic!() };
        *rows = 1 << 24;
    });
    check(&net, "y: 576 values", |op| {
        let Op::FloatLookup { width, .. } = op else { panic!() };
        *width = 2;
    });
}

#[test]
fn layers_cover_their_input_or_one_position() {
    let (mut net, x, _) = start();
    let bits = BitWidth::MAX;
    let y = net.slot(24 * 5);
    let destination = Destination::Logits { y, order: Order::Same };
    net.layer(x, 5, square(1, 1, 0), 1, bits, releqc_runtime::program::LayerKind::FullyConnected, destination);
    finish(&mut net);
    check(&net, "cover its whole input, or one position", |op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.window.stride = [2, 2];
    });
    check(&net, "must divide", |op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.groups = 3;
    });
    check(&net, "groups", |op| {
        let Op::Conv(conv) = op else { panic!() };
        conv.groups = 0;
    });
}

#[test]
fn the_documentation_has_the_table_of_operators() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/format.md");
    let documented = std::fs::read_to_string(path).unwrap();
    let table = releqc_runtime::ops::operator_table();
    assert!(documented.contains(&table), "docs/format.md lacks:\n{table}");
}
