//! A hash of everything a graph says.

use super::{Graph, Op};

impl Graph {
    /// Equal for equal graphs, parameters to the last bit included; 32 bytes.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?} {:?}", self.name, self.outputs).as_bytes());
        for node in &self.nodes {
            // A tensor prints its extents only.
            hasher.update(format!("{node:?}").as_bytes());
            let tensor = match &node.op {
                Op::Conv(conv) => Some(&conv.weight),
                Op::FullyConnected(fc) => Some(&fc.weight),
                Op::Constant(tensor) | Op::Lookup { table: tensor } => Some(tensor),
                Op::Recurrent(recurrent) => Some(&recurrent.weight),
                _ => None,
            };
            for value in tensor.into_iter().flat_map(|tensor| tensor.data()) {
                hasher.update(&value.to_bits().to_le_bytes());
            }
        }
        hasher.finalize().into()
    }
}
