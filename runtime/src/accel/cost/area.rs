//! Transistors of the arrays, as yosys counted those of the hardware (`rtl/gates`, docs/rtl.md), and what they say about energy.

use crate::accel::config::{AccelConfig, Serial};

/// Lanes of the element that the register and element energies were measured for.
pub(super) const LANES_OF_CONSTANTS: u32 = 8;

/// Lanes, and transistors of an element with one serial operand.
const ONE_SERIAL: [(u32, u32); 4] = [(4, 3080), (8, 4456), (16, 7260), (32, 12948)];
/// Lanes, and transistors of an element with two serial operands.
const BOTH_SERIAL: [(u32, u32); 5] = [(8, 2232), (16, 2588), (32, 3364), (64, 4712), (128, 7660)];
/// Lanes, and transistors of the correction of a column.
const CORRECTION: [(u32, u32); 2] = [(8, 3040), (16, 5596)];
/// Transistors of a requantizer.
const REQUANTIZER: f64 = 31190.0;

/// On the line through the two measured points around `lanes`, or through the last two.
fn at(measured: &[(u32, u32)], lanes: u32) -> f64 {
    let above = measured.iter().position(|(count, _)| *count >= lanes).unwrap_or(measured.len() - 1).max(1);
    let [(x0, y0), (x1, y1)] = [measured[above - 1], measured[above]].map(|(x, y)| (f64::from(x), f64::from(y)));
    y0 + (f64::from(lanes) - x0) * (y1 - y0) / (x1 - x0)
}

fn element(lanes: u32, serial: Serial) -> f64 {
    match serial {
        // The element of Stripes is the same circuit with its operands exchanged.
        Serial::Weights | Serial::Activations => at(&ONE_SERIAL, lanes),
        Serial::Both => at(&BOTH_SERIAL, lanes),
    }
}

/// Transistors of the machine's element over those of the element that the energies were measured for. That energy follows
/// transistors is an assumption.
pub(super) fn element_ratio(config: &AccelConfig) -> f64 {
    element(config.lanes, config.serial) / element(LANES_OF_CONSTANTS, Serial::Weights)
}

/// Transistors of all elements, corrections and requantizers; without flip-flops, buffers, control and the vector unit.
pub fn transistors(config: &AccelConfig) -> f64 {
    let [rows, columns, tiles, requantizers] =
        [config.rows, config.columns, config.tiles, config.requantizers].map(f64::from);
    // A column adds up whole activations, or a bit of them a cycle in an element of its own.
    let correction = match config.serial {
        Serial::Weights => at(&CORRECTION, config.lanes),
        Serial::Activations | Serial::Both => element(config.lanes, config.serial),
    };
    let array = rows * columns * element(config.lanes, config.serial) + columns * correction;
    tiles * (array + rows * requantizers * REQUANTIZER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_lanes_are_less_than_twice_the_element() {
        let config = AccelConfig::default();
        assert_eq!(element_ratio(&AccelConfig { lanes: 8, ..config }), 1.0);
        assert!((element_ratio(&config) - 1.629).abs() < 0.001);
        assert!((element(12, Serial::Weights) - 5858.0).abs() < 1e-9 && element(2, Serial::Weights) > 2000.0);
        // 128 lanes of one bit by one bit make as many products as 16 of 8 bits by one.
        let loom = element(128, Serial::Both) / element(16, Serial::Weights);
        assert!((loom - 1.055).abs() < 0.001, "{loom}");
        assert!(transistors(&AccelConfig { requantizers: 4, ..config }) > 1.5 * transistors(&config));
    }

    /// The counts stand in docs/rtl.md.
    #[test]
    fn counts_are_those_of_the_document() {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rtl.md")).expect("a file");
        let stated = |module: &str, lanes: u32, count: u32| {
            let (thousands, rest) = (count / 1000, count % 1000);
            document.lines().any(|line| {
                line.starts_with(&format!("| {module} | {lanes} |"))
                    && line.ends_with(&format!("| {thousands},{rest:03} |"))
            })
        };
        assert!(ONE_SERIAL.iter().all(|&(lanes, count)| stated("element", lanes, count)));
        assert!(BOTH_SERIAL.iter().all(|&(lanes, count)| stated("element, both serial", lanes, count)));
        assert!(CORRECTION.iter().all(|&(lanes, count)| stated("correction of a column", lanes, count)));
    }
}
