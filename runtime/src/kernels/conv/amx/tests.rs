//! The kernel against `conv/scalar.rs`, on random layers: with emulated tiles on any machine, and with the compiled instructions, which the
//! hardware executes where there is one and the emulation answers elsewhere.

use super::*;
use crate::BitWidth;
use crate::isa::{EmulatedTiles, Isa};
use crate::kernels::conv::{Run, Weights, scalar};
use crate::kernels::{AlignedBytes, Borrowed, Input, View};
use crate::pack;
use proptest::prelude::*;

/// A layer's extents and where its bytes lie; everything else follows from `seed`.
#[derive(Clone, Debug)]
struct Case {
    height: usize,
    width: usize,
    /// Bytes between windows.
    pixel: usize,
    /// Bytes between rows beyond those of its windows.
    gap: usize,
    /// Bytes from the window to each run, and its steps.
    runs: Vec<(usize, usize)>,
    groups: usize,
    group_outputs: usize,
    bits: BitWidth,
    logits: bool,
    by_outputs: bool,
    /// Cuts of the parts, as fractions of 256: runs of parts are computed one after the other.
    cuts: Vec<u8>,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let extents = (1usize..8, 1usize..40, prop_oneof![1usize..70, Just(16), Just(64)], 0usize..3, 0usize..50);
    let runs = prop::collection::vec((0usize..300, 1usize..3), 1..4);
    let outputs = (
        1usize..3,
        prop_oneof![1usize..80, Just(16), Just(32), Just(64)],
        prop::sample::select(BitWidth::all().collect::<Vec<_>>()),
    );
    let rest = (any::<bool>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..3), any::<u64>());
    (extents, runs, outputs, rest).prop_map(
        |((height, width, pixel, whole, odd), runs, (groups, group_outputs, bits), rest)| {
            // Gaps of whole windows let rows be joined.
            let gap = if odd > 25 { odd } else { whole * pixel };
            let (logits, by_outputs, cuts, seed) = rest;
            Case { height, width, pixel, gap, runs, groups, group_outputs, bits, logits, by_outputs, cuts, seed }
        },
    )
}

struct Bench {
    layer: Layer,
    codes: AlignedBytes,
    floats: Vec<f32>,
    panels: usize,
}

/// The layer of a case, over random codes; the same each time.
fn bench(case: &Case) -> Bench {
    let mut state = case.seed | 1;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let runs: Vec<Run> = case.runs.iter().map(|&(offset, steps)| Run { offset, groups: steps * STEP_GROUPS }).collect();
    let depth_groups: usize = runs.iter().map(|run| run.groups).sum();
    let group_tiles = case.group_outputs.div_ceil(TILE_OUTPUTS);
    let lanes = case.groups * group_tiles * TILE_OUTPUTS;
    let grid = Grid {
        origin: 17,
        row: case.width * case.pixel + case.gap,
        pixel: case.pixel,
        height: case.height,
        width: case.width,
    };
    let group_inputs = 24;
    let reach = runs.iter().map(|run| run.offset + run.groups * 4).max().unwrap_or(0);
    let input = grid.origin + case.height * grid.row + case.groups * group_inputs + reach;
    let y = View {
        offset: input.next_multiple_of(64) + 5,
        row: case.width * case.groups * case.group_outputs + 3,
        pixel: case.groups * case.group_outputs,
        height: case.height,
        width: case.width,
    };
    let panels = (y.offset + case.height * y.row).next_multiple_of(64);
    let mut codes = AlignedBytes::zeroed(panels + panels_bytes(group_tiles, depth_groups));
    codes.iter_mut().for_each(|code| *code = next() as u8);
    let weights: Vec<i8> =
        (0..lanes * depth_groups * 4).map(|_| (next() as u8).cast_signed() >> (8 - case.bits.bits())).collect();
    // `pack` wants a row of all depths an output, tiles of 16 outputs: the order of a layer.
    let packed = pack::pack(&weights, lanes, depth_groups * 4, case.bits);
    let mut bytes = AlignedBytes::zeroed(packed.len());
    bytes[..packed.len()].copy_from_slice(&packed);
    let biases = (0..lanes).map(|_| if next() % 8 == 0 { next().cast_signed() } else { next().cast_signed() >> 12 });
    let biases: Vec<i32> = biases.collect();
    let multipliers = (0..lanes).map(|_| (1 + next() % 512) as f32 / 1e7).collect();
    let (a, b) = (next() as u8, next() as u8);
    let clamp = Clamp { z: next() as u8, lo: a.min(b), hi: a.max(b) };
    let positions = case.height * case.width;
    let target = if case.logits { Target::Logits { first: 3, positions, step: 1 } } else { Target::Codes { y, clamp } };
    let layer = Layer {
        grid,
        runs,
        depth_groups,
        slides: false,
        groups: case.groups,
        group_inputs,
        group_outputs: case.group_outputs,
        group_tiles,
        vectors: 1,
        weights: Weights::Bytes(bytes),
        biases,
        multipliers,
        target,
        trim: None,
    };
    Bench { layer, codes, floats: vec![f32::NAN; positions * case.groups * case.group_outputs + 6], panels }
}

/// What the kernel writes, against what the scalar kernel writes, panels aside.
fn check(case: &Case, available: Available, unit: TileUnit) -> Result<(), TestCaseError> {
    let mut expected = bench(case);
    let span = Span { rows: 0..case.height, origin_row: 0, tiles: 0..expected.layer.group_tiles };
    let memory = Borrowed::new(&mut expected.codes, &mut expected.floats, Input::Floats(&[]));
    scalar::rows(&expected.layer, &memory, &span, case.bits.bits());
    let Bench { layer, mut codes, mut floats, panels } = bench(case);
    let cut = if case.by_outputs { Cut::Outputs } else { Cut::Rows };
    let kernel = TileConv::new(available, unit, layer, case.bits.bits(), cut, panels);
    let parts = kernel.parts();
    let mut cuts: Vec<usize> = case.cuts.iter().map(|&cut| usize::from(cut) * parts / 256).collect();
    cuts.extend([0, parts]);
    cuts.sort_unstable();
    let memory = Borrowed::new(&mut codes, &mut floats, Input::Floats(&[]));
    // The last parts first: nothing may depend on the order.
    for part in cuts.windows(2).rev() {
        // SAFETY: the arena of a case holds all that its layer reaches; nothing else uses it.
        unsafe { kernel.run(&memory, part[0]..part[1]) };
    }
    prop_assert_eq!(&codes[..panels], &expected.codes[..panels]);
    let words = |floats: &[f32]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
    prop_assert_eq!(words(&floats), words(&expected.floats));
    Ok(())
}

const EMULATED: TileUnit = TileUnit::Emulated(EmulatedTiles::Everywhere);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn emulated_tiles_equal_scalar(case in cases()) {
        check(&case, Isa::Scalar.require().unwrap(), EMULATED)?;
        check(&case, Isa::detect().require().unwrap(), EMULATED)?;
    }

}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
proptest! {
    // A signal for each instruction takes its time.
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn compiled_instructions_equal_scalar(case in cases()) {
        use crate::isa::Amx;
        use crate::kernels::amx::trapped::with_tile_unit;
        if !Isa::Avx512Vnni.is_available() {
            eprintln!("skipped: no AVX-512 VNNI");
            return Ok(());
        }
        let mut result = Ok(());
        let count = with_tile_unit(|| {
            let unit = TileUnit::Hardware(Amx::for_trapped_instructions());
            result = check(&case, Isa::Avx512Vnni.require().unwrap(), unit);
        });
        result?;
        // Configure, load biases, load twice, multiply, store, release, unless this machine has a tile unit.
        prop_assert!(count >= 7 || Amx::probe().is_some(), "{} instructions were seen", count);
    }
}

#[test]
fn strips_cover_every_window_once_or_more() {
    for (width, height, pixel, gap) in
        [(1, 1, 3, 0), (8, 8, 64, 128), (16, 16, 2, 4), (7, 7, 5, 1), (4, 4, 64, 128), (33, 2, 1, 0), (17, 9, 3, 6)]
    {
        let grid = Grid { origin: 0, row: width * pixel + gap, pixel, height, width };
        for rows in 1..=height {
            let strips = Strips::new(&grid, rows);
            assert!(strips.computed() <= rows * width.div_ceil(16) * width.min(16), "{strips:?}");
            let mut seen = vec![0; strips.windows];
            for tile in 0..strips.tiles {
                let first = strips.first(tile);
                seen[first..first + strips.tile_windows].iter_mut().for_each(|count| *count += 1);
            }
            assert!(seen.iter().all(|&count| count > 0), "{strips:?}");
        }
    }
}

#[test]
fn rows_are_joined_where_that_saves_tiles() {
    let grid = |width: usize, gap: usize| Grid { origin: 0, row: (width + gap) * 10, pixel: 10, height: 8, width };
    // No gap: 64 windows are four full tiles.
    let joined = Strips { count: 1, windows: 64, pitch: 8, tiles: 4, tile_windows: 16 };
    assert_eq!(Strips::new(&grid(8, 0), 8), joined);
    // A gap of two: 78 windows in five tiles are more than eight tiles of 8 windows.
    let apart = Strips { count: 8, windows: 8, pitch: 8, tiles: 1, tile_windows: 8 };
    assert_eq!(Strips::new(&grid(8, 2), 8), apart);
    // Rows of 17 windows, each nine too few for a second tile: joined they fill all but one.
    let joined = Strips { count: 1, windows: 143, pitch: 18, tiles: 9, tile_windows: 16 };
    assert_eq!(Strips::new(&grid(17, 1), 8), joined);
    // Rows that are no whole number of windows apart cannot be joined.
    let odd = Grid { row: 175, ..grid(17, 0) };
    assert_eq!(Strips::new(&odd, 8), Strips { count: 8, windows: 17, pitch: 17, tiles: 2, tile_windows: 9 });
}
