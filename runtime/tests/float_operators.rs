//! Float operators against formulas written over coordinates, in f64.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the message")]

use proptest::prelude::*;
use releqc_runtime::float::{self, BinaryKind, FILL, MatMul, ReduceKind, canonical};
use releqc_runtime::function::Function;

/// Values of a slot: ordinary ones, whole ones, zeros, infinities and NaN.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -10.0f32..10.0,
        3 => (-4i8..5).prop_map(f32::from),
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(1e-37), Just(3e38)],
        1 => any::<f32>().prop_map(canonical),
    ]
}

fn slot(len: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(value(), len)
}

/// Every coordinate of a dense array, in order.
fn coordinates(extents: &[u32]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &extent in extents {
        all = all
            .iter()
            .flat_map(|at: &Vec<usize>| (0..extent as usize).map(|i| [at.as_slice(), &[i]].concat()))
            .collect();
    }
    all
}

fn place(at: &[usize], strides: &[u32]) -> usize {
    at.iter().zip(strides).map(|(i, &stride)| i * stride as usize).sum()
}

/// Strides of an operand that has extent 1 where `repeated`, and its length.
fn broadcast(extents: &[u32], repeated: &[bool]) -> (Vec<u32>, usize) {
    let mut strides = vec![0; extents.len()];
    let mut len = 1u32;
    for axis in (0..extents.len()).rev() {
        if !repeated[axis] {
            strides[axis] = len;
            len *= extents[axis];
        }
    }
    (strides, len as usize)
}

fn same(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (&y, &e)) in found.iter().zip(expected).enumerate() {
        assert_eq!(canonical(y).to_bits(), y.to_bits(), "{what}: {y:e} at {i} is not canonical");
        let rounded = canonical(e as f32);
        let near =
            f64::from((y - rounded).abs()) <= tolerance * (f64::from(rounded.abs()) + f64::from(f32::MIN_POSITIVE));
        assert!(y.to_bits() == rounded.to_bits() || near, "{what} at {i}: {y:e} instead of {rounded:e}");
    }
}

fn naive_binary(kind: BinaryKind, a: f64, b: f64) -> f64 {
    let truth = |condition| f64::from(u8::from(condition));
    let nan = a.is_nan() || b.is_nan();
    match kind {
        BinaryKind::Add => a + b,
        BinaryKind::Sub => a - b,
        BinaryKind::Mul => a * b,
        BinaryKind::Div => a / b,
        BinaryKind::Min if nan => f64::NAN,
        BinaryKind::Min => a.min(b),
        BinaryKind::Max if nan => f64::NAN,
        BinaryKind::Max => a.max(b),
        BinaryKind::Pow if nan => f64::NAN,
        BinaryKind::Pow => a.powf(b),
        // `rem_euclid` differs where b < 0.
        BinaryKind::Mod => {
            let r = a % b;
            if r != 0.0 && r.is_sign_negative() != b.is_sign_negative() { r + b } else { r }
        }
        BinaryKind::Fmod => a % b,
        BinaryKind::Less => truth(a < b),
        BinaryKind::LessOrEqual => truth(a <= b),
        BinaryKind::Greater => truth(a > b),
        BinaryKind::GreaterOrEqual => truth(a >= b),
        BinaryKind::Equal => truth(a == b),
        BinaryKind::And => truth(a != 0.0 && b != 0.0),
        BinaryKind::Or => truth(a != 0.0 || b != 0.0),
        BinaryKind::Xor => truth((a != 0.0) ^ (b != 0.0)),
        BinaryKind::PRelu if a < 0.0 => a * b,
        BinaryKind::PRelu => a,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn binary_follows_coordinates(
        extents in proptest::collection::vec(1u32..5, 0..5),
        repeated in proptest::collection::vec(any::<(bool, bool)>(), 5),
        pool in slot(400),
    ) {
        let (a_repeats, b_repeats): (Vec<bool>, Vec<bool>) = repeated.into_iter().unzip();
        let (strides_a, len_a) = broadcast(&extents, &a_repeats);
        let (strides_b, len_b) = broadcast(&extents, &b_repeats);
        let (a, b) = (&pool[..len_a.min(200)], &pool[200..][..len_b.min(200)]);
        prop_assume!(len_a <= 200 && len_b <= 200);
        let places = coordinates(&extents);
        for &kind in BinaryKind::ALL {
            let mut y = vec![7.0; places.len()];
            float::binary(kind, a, b, &mut y, &extents, &strides_a, &strides_b);
            let pairs = places.iter().map(|at| (a[place(at, &strides_a)], b[place(at, &strides_b)]));
            let expected: Vec<f64> = pairs.map(|(a, b)| naive_binary(kind, a.into(), b.into())).collect();
            // pow is not rounded correctly by every platform.
            same(&y, &expected, if kind == BinaryKind::Pow { 1e-6 } else { 0.0 }, kind.label());
        }
        let c: Vec<f32> = pool.iter().rev().copied().take(len_a).collect();
        let mut y = vec![7.0; places.len()];
        float::select(&c, a, b, &mut y, &extents, [&strides_a, &strides_a, &strides_b]);
        for (at, y) in places.iter().zip(&y) {
            let (i, j) = (place(at, &strides_a), place(at, &strides_b));
            let expected = if c[i] == 0.0 { b[j] } else { a[i] };
            prop_assert_eq!(y.to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn movement_sums_its_tables(
        tables in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![5 => 0u32..20, 1 => Just(FILL)], 1..5), 0..5,
        ),
        runs in proptest::collection::vec((0u32..10, 1u32..8), 0..2),
        x in slot(200),
    ) {
        let ramps = runs.iter().map(|&(first, len)| (first..first + len).collect());
        let tables: Vec<Vec<u32>> = tables.into_iter().chain(ramps).collect();
        let extents: Vec<u32> = tables.iter().map(|table| table.len() as u32).collect();
        let places = coordinates(&extents);
        let mut y = vec![7.0; places.len()];
        float::movement(&x, &mut y, &tables, -5.5);
        for (at, y) in places.iter().zip(&y) {
            let entries: Vec<u32> = at.iter().zip(&tables).map(|(&i, table)| table[i]).collect();
            let expected = if entries.contains(&FILL) { -5.5 } else { x[entries.iter().sum::<u32>() as usize] };
            prop_assert_eq!(y.to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn reductions_follow_their_definition(
        [outer, len, inner] in prop_oneof![[1usize..40, 1usize..6, 1usize..2], [1usize..3, 1usize..8, 1usize..40]],
        plain: bool,
        pool in slot(2 * 8 * 40),
    ) {
        let tamed = |&v: &f32| if plain && (v.is_nan() || v.abs() > 20.0) { 1.0 } else { v };
        let x: Vec<f32> = pool[..outer * len * inner].iter().map(tamed).collect();
        for &kind in ReduceKind::ALL {
            let mut y = vec![7.0; outer * inner];
            float::reduce(kind, &x, &mut y, len, inner);
            let expected: Vec<f64> = (0..outer * inner)
                .map(|i| {
                    let lane: Vec<f64> =
                        (0..len).map(|l| f64::from(x[(i / inner * len + l) * inner + i % inner])).collect();
                    naive_reduce(kind, &lane)
                })
                .collect();
            let tolerance = if matches!(kind, ReduceKind::LogSum | ReduceKind::LogSumExp) { 1e-6 } else { 0.0 };
            same(&y, &expected, tolerance, kind.label());
        }
    }

    #[test]
    fn products_of_matrices(
        batch in proptest::collection::vec((1u32..4, any::<bool>(), any::<bool>()), 0..3),
        m in 1usize..6, k in 1usize..12, n in prop_oneof![1usize..6, 14usize..40],
        pool in slot(2000),
    ) {
        let extents: Vec<u32> = batch.iter().map(|&(extent, ..)| extent).collect();
        let strided = |size: usize, repeated: Vec<bool>| {
            let (strides, len) = broadcast(&extents, &repeated);
            (strides.iter().map(|stride| stride * size as u32).collect::<Vec<u32>>(), len * size)
        };
        let (strides_a, len_a) = strided(m * k, batch.iter().map(|b| b.1).collect());
        let (strides_b, len_b) = strided(k * n, batch.iter().map(|b| b.2).collect());
        let cycle = |len, from| pool.iter().cycle().skip(from).take(len).copied().collect::<Vec<f32>>();
        let (a, b) = (cycle(len_a, 0), cycle(len_b, 777));
        let places = coordinates(&extents);
        let mut y = vec![7.0; places.len() * m * n];
        let product = MatMul { batch: &extents, strides_a: &strides_a, strides_b: &strides_b, m, k, n };
        float::matmul(product, &a, &b, &mut y);
        let mut expected = Vec::new();
        for at in &places {
            let (a, b) = (&a[place(at, &strides_a)..], &b[place(at, &strides_b)..]);
            for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let products = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + column]));
                expected.push(products.fold(0.0, |sum, p| sum + p));
            }
        }
        same(&y, &expected, 0.0, "matmul");
    }

    #[test]
    fn resample_lookup_and_concat(
        taps in proptest::collection::vec(proptest::collection::vec((0u32..5, -1.0f32..1.0), 0..4), 1..6),
        outer in 1usize..4, inner in prop_oneof![1usize..4, 15usize..36],
        indices in proptest::collection::vec(-2.0f32..9.0, 1..6),
        x in slot(3 * 5 * 36),
    ) {
        let (len, count) = (5, taps.len());
        let taps: Vec<Vec<(u32, f32)>> =
            taps.into_iter().map(|taps| taps.into_iter().map(|(i, w)| (i, canonical(w))).collect()).collect();
        let x = &x[..outer * len * inner];
        let mut y = vec![7.0; outer * count * inner];
        float::resample(x, &mut y, &taps, len, inner);
        let expected: Vec<f64> = coordinates(&[outer as u32, count as u32, inner as u32])
            .iter()
            .map(|at| {
                let source = |index: u32| f64::from(x[(at[0] * len + index as usize) * inner + at[2]]);
                taps[at[1]].iter().fold(0.0, |sum, &(index, weight)| sum + f64::from(weight) * source(index))
            })
            .collect();
        same(&y, &expected, 0.0, "resample");

        // `x` as a table of `outer * len` rows.
        let mut y = vec![7.0; indices.len() * inner];
        float::lookup(&indices, &mut y, x, inner);
        for (&index, y) in indices.iter().zip(y.chunks_exact(inner)) {
            let row = (f64::from(index).round_ties_even().max(0.0) as usize).min(outer * len - 1);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
            prop_assert_eq!(bits(y), bits(&x[row * inner..][..inner]));
        }

        let (a, b) = (x, &x[..outer * inner]);
        let mut y = vec![7.0; a.len() + b.len()];
        float::concat([a, b].into_iter(), &mut y, outer);
        for (o, y) in y.chunks_exact((len + 1) * inner).enumerate() {
            let parts = [&a[o * len * inner..][..len * inner], &b[o * inner..][..inner]].concat();
            prop_assert!(y.iter().zip(&parts).all(|(y, x)| y.to_bits() == x.to_bits()));
        }
    }

    #[test]
    fn softmax_is_near_its_definition(values in proptest::collection::vec(-30f32..30.0, 24), log: bool) {
        let [outer, len, inner] = [2, 4, 3];
        let mut y = values.clone();
        float::softmax(&mut y, log, len, inner);
        for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
            let lane: Vec<usize> = (0..len).map(|l| (o * len + l) * inner + i).collect();
            let sum: f64 = lane.iter().map(|&at| f64::from(values[at]).exp()).sum();
            for at in lane {
                let share = f64::from(values[at]).exp() / sum;
                let expected = if log { share.ln() } else { share };
                prop_assert!((f64::from(y[at]) - expected).abs() <= 1e-5 * (1.0 + expected.abs()));
            }
        }
    }

    #[test]
    fn unary_is_the_function(x in slot(40)) {
        let mut y = vec![7.0; 40];
        float::unary(Function::Silu, &x, &mut y);
        for (&x, y) in x.iter().zip(y) {
            prop_assert_eq!(Function::Silu.eval(x).to_bits(), y.to_bits());
        }
    }
}

fn naive_reduce(kind: ReduceKind, lane: &[f64]) -> f64 {
    let sum: f64 = lane.iter().fold(0.0, |sum, v| sum + v);
    let extreme = |sign: f64| {
        let key = |v: f64| if v.is_nan() { f64::INFINITY } else { (sign * v).min(f64::MAX) };
        lane.iter().map(|&v| key(v)).fold(f64::NEG_INFINITY, f64::max)
    };
    let places = |sign: f64| -> Vec<usize> {
        let best = extreme(sign);
        let key = |v: f64| if v.is_nan() { f64::INFINITY } else { (sign * v).min(f64::MAX) };
        (0..lane.len()).filter(|&i| key(lane[i]) == best).collect()
    };
    let at = |sign: f64, last: bool| {
        let places = places(sign);
        (if last { places[places.len() - 1] } else { places[0] }) as f64
    };
    let any_nan = lane.iter().any(|v| v.is_nan());
    match kind {
        ReduceKind::Mean => sum / lane.len() as f64,
        ReduceKind::Sum => sum,
        ReduceKind::Max if any_nan => f64::NAN,
        ReduceKind::Max => lane.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ReduceKind::Min if any_nan => f64::NAN,
        ReduceKind::Min => lane.iter().copied().fold(f64::INFINITY, f64::min),
        ReduceKind::Prod => lane.iter().product(),
        ReduceKind::L1 => lane.iter().fold(0.0, |sum, v| sum + v.abs()),
        ReduceKind::L2 => lane.iter().fold(0.0, |sum, v| sum + v * v).sqrt(),
        ReduceKind::SumSquare => lane.iter().fold(0.0, |sum, v| sum + v * v),
        ReduceKind::LogSum => sum.ln(),
        ReduceKind::LogSumExp if any_nan => f64::NAN,
        ReduceKind::LogSumExp => {
            let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shift = if max.is_infinite() { 0.0 } else { max };
            shift + lane.iter().map(|v| (v - shift).exp()).sum::<f64>().ln()
        }
        ReduceKind::ArgMax => at(1.0, false),
        ReduceKind::ArgMin => at(-1.0, false),
        ReduceKind::ArgMaxLast => at(1.0, true),
        ReduceKind::ArgMinLast => at(-1.0, true),
    }
}
