//! What a choice of widths costs: a sum over layers, relative to the same network at 8 bit.
//!
//! Every cost here is a table `layer x width`, so that measured latencies and simulated energies are treated as the paper's
//! formula is. A table need not fall with the width: where a narrower width costs no less than a wider one, the wider one is
//! preferred ([`CostModel::canonical_actions`]).

use releqc_runtime::{BitWidth, pack};

use super::environment::{LayerFacts, SearchError, widths_text};

/// Energy of a memory access over the energy of a multiply-accumulate; the paper's State_Quantization weighs weights with it.
pub const MEMORY_OVER_MAC_ENERGY: f64 = 120.0;

const COLUMNS: usize = BitWidth::MAX.bits() as usize + 1;

/// The cost of every layer at every width.
#[derive(Clone, Debug)]
pub struct CostModel {
    name: String,
    /// `[layer][bits]`; columns below the smallest width are unused.
    table: Vec<[f64; COLUMNS]>,
    at_8_bit: f64,
}

impl CostModel {
    fn of(name: &str, layers: usize, cost: impl Fn(usize, BitWidth) -> f64) -> Self {
        let mut table = vec![[0.0; COLUMNS]; layers];
        for (layer, row) in table.iter_mut().enumerate() {
            for width in BitWidth::all() {
                row[usize::from(width.bits())] = cost(layer, width);
            }
        }
        let at_8_bit = table.iter().map(|row| row[usize::from(BitWidth::MAX.bits())]).sum();
        CostModel { name: name.into(), table, at_8_bit }
    }

    /// The paper's State_Quantization: per layer `(weights * E_mem / E_mac + macs) * bits`.
    pub fn paper(layers: &[LayerFacts]) -> Self {
        Self::of("paper", layers.len(), |l, w| {
            (layers[l].weights as f64 * MEMORY_OVER_MAC_ENERGY + layers[l].macs as f64) * f64::from(w.bits())
        })
    }

    /// Plain mean of the bits, as in the paper's tables and its released code.
    pub fn mean(layers: usize) -> Self {
        Self::of("mean", layers, |_, w| f64::from(w.bits()) / layers.max(1) as f64)
    }

    /// Bytes of packed weights as an artifact holds them: in whole tiles.
    pub fn size(layers: &[LayerFacts]) -> Self {
        Self::of("size", layers.len(), |l, w| {
            let LayerFacts { outputs, weights, .. } = &layers[l];
            let depth = weights / (*outputs).max(1) as u64;
            pack::packed_len(*outputs, depth as usize, w).unwrap_or(usize::MAX) as f64
        })
    }

    /// A measured or simulated cost: `rows[layer][bits - 2]` for 2..=8 bits.
    ///
    /// # Errors
    /// [`SearchError::Invalid`] when a row does not have seven finite values above 0.
    pub fn measured(name: &str, rows: &[Vec<f64>]) -> Result<Self, SearchError> {
        let wanted = BitWidth::all().count();
        for (layer, row) in rows.iter().enumerate() {
            if row.len() != wanted || row.iter().any(|c| !c.is_finite() || *c <= 0.0) {
                return Err(SearchError::invalid(
                    format!("cost table {name}, layer {layer}"),
                    format!("{row:?}"),
                    "needs one finite value above 0 for each of 2..=8 bits",
                ));
            }
        }
        Ok(Self::of(name, rows.len(), |l, w| rows[l][usize::from(w.bits() - BitWidth::MIN.bits())]))
    }

    /// Short name, as on the command line.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.table.len()
    }

    /// Cost of one layer, in the unit of the table.
    pub fn of_layer(&self, layer: usize, width: BitWidth) -> f64 {
        self.table[layer][usize::from(width.bits())]
    }

    /// Cost of a choice, in the unit of the table.
    pub fn absolute(&self, widths: &[BitWidth]) -> f64 {
        debug_assert_eq!(widths.len(), self.table.len(), "widths {}", widths_text(widths));
        widths.iter().enumerate().map(|(layer, &width)| self.of_layer(layer, width)).sum()
    }

    /// Cost of a choice over the cost of 8 bit everywhere: the State_Quantization of the agent.
    pub fn relative(&self, widths: &[BitWidth]) -> f64 {
        self.absolute(widths) / self.at_8_bit
    }

    /// For every layer and action the widest action that costs no more: where a narrower width saves nothing, the wider one
    /// is taken for it, since it cannot be less accurate. The identity where costs rise with the width.
    pub fn canonical_actions(&self, widths: &[BitWidth]) -> Vec<Vec<usize>> {
        let canonical = |layer: usize, action: usize| {
            let cost = self.of_layer(layer, widths[action]);
            (action..widths.len()).rev().find(|&a| self.of_layer(layer, widths[a]) <= cost).unwrap_or(action)
        };
        (0..self.depth()).map(|layer| (0..widths.len()).map(|action| canonical(layer, action)).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::layers;

    fn widths(bits: &[u8]) -> Vec<BitWidth> {
        bits.iter().map(|&b| BitWidth::new(b).expect("2..=8")).collect()
    }

    #[test]
    fn the_paper_weighs_weights_by_memory_energy() {
        let layers = layers(&[10, 1], &[0, 600]);
        let cost = CostModel::paper(&layers);
        // (1200 * 2 + 720 * 8) / (1920 * 8)
        assert!((cost.relative(&widths(&[2, 8])) - 8160.0 / 15360.0).abs() < 1e-12);
    }

    #[test]
    fn mean_and_size() {
        // 10 outputs each, of 5 and of 16 weights: tiles of 16 outputs and 4 weights, 8 bytes a bit.
        let layers = layers(&[50, 160], &[1, 1]);
        assert!((CostModel::mean(2).relative(&widths(&[2, 4])) - 3.0 / 8.0).abs() < 1e-12);
        assert_eq!(CostModel::size(&layers).absolute(&widths(&[3, 2])), f64::from(2 * 8 * 3 + 4 * 8 * 2));
    }

    #[test]
    fn a_width_that_saves_nothing_is_replaced_by_a_wider_one() {
        // 3 bits cost what 4 cost; 5 cost more than 8.
        let row = vec![1.0, 2.0, 2.0, 6.0, 4.0, 4.0, 5.0];
        let cost = CostModel::measured("cpu", &[row]).expect("valid");
        let all: Vec<BitWidth> = BitWidth::all().collect();
        assert_eq!(cost.canonical_actions(&all), vec![vec![0, 2, 2, 6, 5, 5, 6]]);
        assert!(CostModel::measured("cpu", &[vec![1.0; 6]]).is_err());
        assert!(CostModel::measured("cpu", &[vec![0.0; 7]]).is_err());
    }
}
