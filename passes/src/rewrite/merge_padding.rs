//! Moves padding around an image into the windows that read it.
//!
//! Takes any verified graph. A gather that only puts cells around height and width of an image, and that only windows read, goes where
//! every reader can take it: zeros before a convolution, zeros before an average pool that counts its padding or has none, and before a
//! max pool what never wins: the least number, or zeros where no value below 0 comes in.
//! Does not touch gathers that also crop or move, outputs, and pools of which a position would see padding alone.

use super::edit::Removal;
use crate::ir::{AxisMap, Clip, Function, Graph, Node, NodeId, Op, Padding, Window};

pub(super) fn merge_padding(mut graph: Graph) -> Graph {
    let users = graph.users();
    let mut removal = Removal::of(&graph);
    for index in 0..graph.nodes.len() {
        let id = NodeId(index);
        let Some((padding, fill)) = padding(&graph, id) else { continue };
        let source = removal.resolve(graph.node(id).inputs[0]);
        let is_output = graph.outputs.iter().any(|(_, output)| *output == id);
        if is_output || users[index].is_empty() {
            continue;
        }
        let merged: Option<Vec<Op>> =
            users[index].iter().map(|&user| merged(&graph, source, user, padding, fill)).collect();
        let Some(merged) = merged else { continue };
        for (&user, op) in users[index].iter().zip(merged) {
            graph.nodes[user.0].op = op;
        }
        removal.replace(id, source);
    }
    removal.apply(graph)
}

/// The cells that a node puts around an image, and their value, where it does nothing else.
fn padding(graph: &Graph, id: NodeId) -> Option<(Padding, f32)> {
    let Node { op: Op::Gather { maps, fill }, inputs, activation: None, .. } = graph.node(id) else { return None };
    let [AxisMap::All, AxisMap::All, rows, columns] = &maps[..] else { return None };
    let dims = graph.node(inputs[0]).shape.dims();
    let [top, bottom] = around(rows, dims[2])?;
    let [left, right] = around(columns, dims[3])?;
    Some((Padding { top, left, bottom, right }, *fill))
}

/// How many positions are put before and behind a whole axis.
fn around(map: &AxisMap, extent: usize) -> Option<[usize; 2]> {
    let AxisMap::Indices(indices) = map else { return Some([0, 0]) };
    let before = indices.iter().take_while(|index| index.is_none()).count();
    let after = indices.len().checked_sub(before + extent)?;
    let inside = indices[before..before + extent].iter().copied().eq((0..extent).map(Some));
    (inside && indices[before + extent..].iter().all(Option::is_none)).then_some([before, after])
}

/// The reader with the padding in its window; `None` where it cannot take it.
fn merged(graph: &Graph, source: NodeId, user: NodeId, padding: Padding, fill: f32) -> Option<Op> {
    let [_, _, height, width] = *graph.node(source).shape.dims() else { return None };
    let wider = |window: &Window| {
        let own = window.padding;
        Window {
            padding: Padding {
                top: own.top + padding.top,
                left: own.left + padding.left,
                bottom: own.bottom + padding.bottom,
                right: own.right + padding.right,
            },
            ..*window
        }
    };
    match &graph.node(user).op {
        Op::Conv(conv) if fill == 0.0 => {
            let mut conv = conv.clone();
            conv.window = wider(&conv.window);
            Some(Op::Conv(conv))
        }
        Op::AveragePool { window, count_include_pad } if fill == 0.0 => {
            let counts = *count_include_pad || window.padding == Padding::default();
            let window = wider(window);
            (counts && window.every_position_sees_image(height, width))
                .then_some(Op::AveragePool { window, count_include_pad: true })
        }
        Op::MaxPool(window) => {
            let never_wins = fill <= f32::MIN || (fill == 0.0 && is_never_negative(graph, source));
            let window = wider(window);
            (never_wins && window.every_position_sees_image(height, width)).then_some(Op::MaxPool(window))
        }
        _ => None,
    }
}

fn is_never_negative(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let floor = |clip: Clip| clip.min >= 0.0;
    if node.activation.is_some_and(floor) {
        return true;
    }
    match &node.op {
        Op::Clip(clip) => floor(*clip),
        Op::Unary(function) => matches!(
            function,
            Function::Sigmoid | Function::HardSigmoid { .. } | Function::Exp | Function::Softplus | Function::Abs
        ),
        Op::Softmax { log: false, .. } => true,
        Op::MaxPool(_) | Op::AveragePool { .. } | Op::Reshape | Op::Transpose { .. } => {
            node.activation.is_none() && is_never_negative(graph, node.inputs[0])
        }
        _ => false,
    }
}
