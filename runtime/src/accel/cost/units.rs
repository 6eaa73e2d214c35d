//! Units, and the energy of events.

use std::ops::{Add, AddAssign};

/// Clock cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cycles(pub u64);

/// Picojoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PicoJoules(pub f64);

impl Add for Cycles {
    type Output = Cycles;
    fn add(self, other: Cycles) -> Cycles {
        Cycles(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Cycles) {
        *self = *self + other;
    }
}

impl Add for PicoJoules {
    type Output = PicoJoules;
    fn add(self, other: PicoJoules) -> PicoJoules {
        PicoJoules(self.0 + other.0)
    }
}

impl AddAssign for PicoJoules {
    fn add_assign(&mut self, other: PicoJoules) {
        *self = *self + other;
    }
}

/// Energy of events, in picojoules at 28 nm unless stated. Sources: docs/accelerator.md.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyModel {
    /// One element, 8 lanes, one cycle.
    pub element_cycle: f64,
    /// Weight register of one row, 8 lanes, one cycle.
    pub weight_register_row_cycle: f64,
    /// Activation register of one column, 8 lanes, one step.
    pub activation_register_column_step: f64,
    /// One byte of either memory on the chip, read or written.
    pub sram_byte: f64,
    /// One byte of DRAM, read or written.
    pub dram_byte: f64,
}

/// Lanes of the element that the register and element energies were measured for.
pub(super) const LANES_OF_CONSTANTS: f64 = 8.0;

impl Default for EnergyModel {
    fn default() -> Self {
        // Place-and-route factor of the source.
        const LAYOUT: f64 = 1.5;
        EnergyModel {
            element_cycle: 0.28125 * LAYOUT,
            weight_register_row_cycle: 0.46 * LAYOUT,
            activation_register_column_step: (0.53 + 0.072625) * LAYOUT,
            sram_byte: 20.0 / 8.0,
            dram_byte: 1000.0 / 8.0,
        }
    }
}

impl EnergyModel {
    /// The model with one constant halved or doubled, for each constant.
    pub fn variants(&self) -> impl Iterator<Item = EnergyModel> + use<> {
        let scaled = |model: EnergyModel, constant: usize, factor: f64| {
            let EnergyModel {
                mut element_cycle,
                mut weight_register_row_cycle,
                mut activation_register_column_step,
                mut sram_byte,
                mut dram_byte,
            } = model;
            *[
                &mut element_cycle,
                &mut weight_register_row_cycle,
                &mut activation_register_column_step,
                &mut sram_byte,
                &mut dram_byte,
            ][constant] *= factor;
            EnergyModel {
                element_cycle,
                weight_register_row_cycle,
                activation_register_column_step,
                sram_byte,
                dram_byte,
            }
        };
        let model = *self;
        (0..5).flat_map(move |constant| [0.5, 2.0].map(|factor| scaled(model, constant, factor)))
    }
}
