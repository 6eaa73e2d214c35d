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

/// Energy of events, in picojoules. Sources of the default: docs/accelerator.md.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyModel {
    /// One element, 8 lanes, one cycle.
    pub element_cycle: f64,
    /// Weight register of one row, 8 lanes, filled with a bit plane.
    pub weight_register_row_cycle: f64,
    /// Activation register of one column, 8 lanes, filled for a step.
    pub activation_register_column_step: f64,
    /// One result: f32 product, clamp, rounding.
    pub requantize: f64,
    /// One element of the vector unit.
    pub vector_element: f64,
    /// One byte read from the weight buffer.
    pub weight_read_byte: f64,
    /// One byte written to the weight buffer.
    pub weight_write_byte: f64,
    /// One byte read from the activation buffer.
    pub activation_read_byte: f64,
    /// One byte written to the activation buffer.
    pub activation_write_byte: f64,
    /// One byte of DRAM, read or written.
    pub dram_byte: f64,
}

impl Default for EnergyModel {
    /// 28 nm arrays, buffers as an upper bound.
    fn default() -> Self {
        // The table `28nm` of the descriptions, which derives the values: the same bits, so that sums are equal.
        const BUFFER_BYTE: f64 = 2.5;
        EnergyModel {
            element_cycle: 0.421875,
            weight_register_row_cycle: 0.69,
            activation_register_column_step: 0.9039375,
            requantize: 4.6,
            vector_element: 4.6,
            weight_read_byte: BUFFER_BYTE,
            weight_write_byte: BUFFER_BYTE,
            activation_read_byte: BUFFER_BYTE,
            activation_write_byte: BUFFER_BYTE,
            dram_byte: 125.0,
        }
    }
}

impl EnergyModel {
    /// Names of the constants, with their values.
    pub fn entries(&self) -> [(&'static str, f64); 10] {
        [
            ("element_cycle", self.element_cycle),
            ("weight_register_row_cycle", self.weight_register_row_cycle),
            ("activation_register_column_step", self.activation_register_column_step),
            ("requantize", self.requantize),
            ("vector_element", self.vector_element),
            ("weight_read_byte", self.weight_read_byte),
            ("weight_write_byte", self.weight_write_byte),
            ("activation_read_byte", self.activation_read_byte),
            ("activation_write_byte", self.activation_write_byte),
            ("dram_byte", self.dram_byte),
        ]
    }

    /// The model of ten constants in the order of [`EnergyModel::entries`].
    pub fn from_values(values: [f64; 10]) -> Self {
        let [
            element_cycle,
            weight_register_row_cycle,
            activation_register_column_step,
            requantize,
            vector_element,
            weight_read_byte,
            weight_write_byte,
            activation_read_byte,
            activation_write_byte,
            dram_byte,
        ] = values;
        EnergyModel {
            element_cycle,
            weight_register_row_cycle,
            activation_register_column_step,
            requantize,
            vector_element,
            weight_read_byte,
            weight_write_byte,
            activation_read_byte,
            activation_write_byte,
            dram_byte,
        }
    }

    /// The model with one constant halved or doubled, for each constant.
    pub fn variants(&self) -> impl Iterator<Item = EnergyModel> + use<> {
        let values = self.entries().map(|(_, value)| value);
        (0..values.len()).flat_map(move |constant| {
            [0.5, 2.0].map(|factor| {
                let mut scaled = values;
                scaled[constant] *= factor;
                EnergyModel::from_values(scaled)
            })
        })
    }
}
