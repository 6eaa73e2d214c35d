//! Programs by hand (`examples/*.s`): they assemble, verify and run; their bytes are those of a computation of this test alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use releqc_runtime::accel::cycle::simulate;
use releqc_runtime::accel::step::{Sections, steps};
use releqc_runtime::accel::text::{Assembly, assemble_by_hand};
use releqc_runtime::accel::{AccelConfig, Serial, Simulator};
use releqc_runtime::program::Program;

const FULLY_CONNECTED: &str = include_str!("../../examples/fully_connected.s");
const CONV_POOL: &str = include_str!("../../examples/conv_pool.s");

fn assembled(text: &str, config: &AccelConfig) -> Assembly {
    assemble_by_hand(text, config).unwrap()
}

/// The numbers of the lines that begin with a word.
fn rows(text: &str, word: &str) -> Vec<Vec<f32>> {
    let of = |line: &str| line.split([' ', '=']).filter_map(|word| word.parse().ok()).collect();
    text.lines().filter(|line| line.starts_with(word)).map(of).collect()
}

/// Rounded to the nearest, ties to even, and clamped.
fn code(value: f32, zero_point: f32, lo: f32, hi: f32) -> f32 {
    (value.round_ties_even() + zero_point).clamp(lo, hi)
}

/// The default machine and others that take other cycles.
fn machines() -> Vec<AccelConfig> {
    let default = AccelConfig::default();
    let small = AccelConfig { rows: 2, columns: 3, lanes: 4, requantizers: 2, dram_burst_bytes: 16, ..default };
    vec![default, small, AccelConfig { serial: Serial::Both, ..default }]
}

#[test]
fn a_fully_connected_layer() {
    let (weights, constants) = (rows(FULLY_CONNECTED, ".row"), rows(FULLY_CONNECTED, ".channel"));
    assert_eq!((weights.len(), constants.len()), (4, 4));
    for config in machines() {
        let mut simulator = Simulator::bare(&assembled(FULLY_CONNECTED, &config), &config).unwrap();
        for input in [[1.0, 2.0, 3.0, 4.0], [255.0, 0.0, 17.0, 99.0], [9.0, 200.0, 80.0, 3.0]] {
            let expected: Vec<f32> = weights
                .iter()
                .zip(&constants)
                .map(|(row, constant)| {
                    let sum: f32 = row.iter().zip(input).map(|(w, x)| w * x).sum();
                    code((sum + constant[0]) * constant[1], 0.0, 0.0, 255.0)
                })
                .collect();
            let outputs = simulator.run(&input).unwrap();
            assert_eq!(outputs, std::slice::from_ref(&expected));
            assert_eq!(simulator.host_memory(), [&input[..], &expected].concat());
            let codes: Vec<f32> = simulator.activation_buffer()[64..68].iter().map(|&code| code.into()).collect();
            assert_eq!(codes, expected);
        }
    }
}

/// The worked example of docs/accelerator.md.
#[test]
fn a_fully_connected_layer_takes_231_cycles() {
    let config = AccelConfig::default();
    let Assembly { program, weights, constants } = assembled(FULLY_CONNECTED, &config);
    let sections = Sections { weights: weights.len(), constants: constants.len() };
    let network = Program::default();
    let all = steps(&program, sections, &network, &config).unwrap();
    let spans: Vec<(u64, u64)> = simulate(&all, &network, &config).iter().map(|span| (span.start, span.end)).collect();
    // QUANTIZE, LOAD_WEIGHTS, EXECUTE, DEQUANTIZE, RETURN.
    assert_eq!(spans, [(107, 116), (0, 112), (116, 127), (222, 231), (231, 231)]);
}

#[test]
fn a_convolution_and_a_pool() {
    let (weights, constants) = (rows(CONV_POOL, ".row"), rows(CONV_POOL, ".channel"));
    // Values of both signs; some leave the range of codes.
    let input: Vec<f32> = (0..72).map(|i| ((i * 37 + 11) % 161) as f32 * 0.75 - 20.0).collect();
    let x = |channel: usize, row: usize, column: usize| {
        code(input[(channel * 6 + row) * 6 + column] * 2.0, 10.0, 0.0, 255.0)
    };
    let mut conv = [[[0.0f32; 3]; 6]; 6];
    for (row, column, output) in (0..108).map(|i| (i / 18, i / 3 % 6, i % 3)) {
        let mut sum = constants[output][0];
        for (tap, pair) in weights[output].chunks(2).enumerate() {
            let (y, z) = (row + tap / 3, column + tap % 3);
            for (channel, w) in pair.iter().enumerate() {
                // The cell at (y - 1, z - 1); padding is code 10.
                let inside = (1..=6).contains(&y) && (1..=6).contains(&z);
                sum += w * if inside { x(channel, y - 1, z - 1) } else { 10.0 };
            }
        }
        conv[row][column][output] = code(sum * constants[output][1], 50.0, 30.0, 90.0);
    }
    let mut expected = Vec::new();
    for (output, row, column) in (0..27).map(|i| (i / 9, i / 3 % 3, i % 3)) {
        let cells = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(y, z)| conv[2 * row + y][2 * column + z][output]);
        expected.push((cells.into_iter().fold(0.0, f32::max) - 50.0) * 0.25);
    }
    let distinct: std::collections::BTreeSet<u32> = expected.iter().map(|value| value.to_bits()).collect();
    assert!(distinct.len() > 8, "the results must not saturate: {expected:?}");
    for config in machines() {
        let mut simulator = Simulator::bare(&assembled(CONV_POOL, &config), &config).unwrap();
        assert_eq!(simulator.run(&input).unwrap(), std::slice::from_ref(&expected));
        let stored: Vec<f32> = simulator.arena().iter().map(|&code| code.into()).collect();
        assert_eq!(stored, conv.as_flattened().as_flattened());
        assert!(simulator.run(&input[1..]).is_err());
    }
}

#[test]
fn refusals_name_the_line() {
    let config = AccelConfig::default();
    let refused = |from: &str, to: &str| {
        let text = FULLY_CONNECTED.replacen(from, to, 1);
        assert_ne!(text, FULLY_CONNECTED, "{from}");
        let assembly = assemble_by_hand(&text, &config);
        let error = assembly.and_then(|assembly| Simulator::bare(&assembly, &config).map(|_| ())).unwrap_err();
        error.to_string()
    };
    for (from, to, expected) in [
        (".row  1  0 -1 -2", ".row  1  0 -1 -3", "line 10: -3; -2..=1 is required at 2 bits"),
        (".row  1  0 -1 -2", ".row  1  0 -1", "line 10: 3 codes; 4 are required"),
        (".row  1  0 -1 -2", "", "line 9: 12 codes; 4 rows of 4 are required"),
        (".weights at=0", ".weights at=0 at=1", "line 9: at is given twice"),
        (".weights at=0", ".weights at=9999999", "line 9: at=9999999; a section has at most 67108864 bytes"),
        (".constants at=0 outputs=4", ".constants at=0 outputs=5", "line 15: 4 channels; 5 are required"),
        ("bias=40  multiplier=0.5", "bias=40  multiplier=inf", "line 16: multiplier inf; a finite number is required"),
        (
            ".constants at=0",
            ".weights at=0 bits=2 outputs=1 depth=1\n.row 1\n.constants at=0",
            "line 15: at=0 lies in what stands there; at least 1 is required",
        ),
        ("wait_load=1", "wait_load=0", "may read too early"),
        (".host 8", ".host 7", "4 at 4 leave the host memory of 7"),
        ("DEQUANTIZE", "HOST operator=0 ;", "operator 0 of the network is none that it executes"),
    ] {
        let found = refused(from, to);
        assert!(found.contains(expected), "{to}: {found}");
    }
}
