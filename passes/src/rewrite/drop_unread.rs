//! Drops nodes whose results nobody reads.
//!
//! Takes any verified graph. Returns it without nodes from which no output can be reached. Does not drop inputs: they stay part of a sample.

use super::edit::Rebuild;
use crate::ir::Graph;

pub(super) fn drop_unread(graph: Graph) -> Graph {
    let mut read = vec![false; graph.nodes.len()];
    for (_, output) in &graph.outputs {
        read[output.0] = true;
    }
    for index in (0..graph.nodes.len()).rev() {
        if read[index] {
            graph.nodes[index].inputs.iter().for_each(|input| read[input.0] = true);
        }
    }
    let mut rebuild = Rebuild::of(&graph);
    for (id, node) in graph.iter() {
        if read[id.0] || node.is_input() {
            rebuild.keep(id);
        }
    }
    rebuild.finish()
}
