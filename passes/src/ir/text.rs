//! The text form of a graph: one line a node, for snapshots and `--emit`.

use super::{AxisMap, BatchNorm, Clip, Graph, Node, Op, Tensor, Window};
use std::fmt;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {:?}", self.name)?;
        for (id, node) in self.iter() {
            write!(f, "  %{} = {}", id.0, node.op.label())?;
            for input in &node.inputs {
                write!(f, " %{}", input.0)?;
            }
            write!(f, " -> {}", node.shape)?;
            attributes(node, f)?;
            if let Some(clip) = node.activation {
                write!(f, " {clip}")?;
            }
            writeln!(f, "  {:?}", node.name)?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "  output {name:?} = %{}", id.0)?;
        }
        Ok(())
    }
}

fn attributes(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &node.op {
        Op::Conv(conv) => {
            write!(f, " weight {} {}", digest(&conv.weight), conv.window)?;
            if conv.groups > 1 {
                write!(f, " groups {}", conv.groups)?;
            }
            parameters(conv.bias.as_deref(), conv.batch_norm.as_ref(), f)
        }
        Op::FullyConnected(fc) => {
            write!(f, " weight {}", digest(&fc.weight))?;
            parameters(fc.bias.as_deref(), fc.batch_norm.as_ref(), f)
        }
        Op::BatchNorm(bn) => parameters(None, Some(bn), f),
        Op::ChannelAffine { mul, add } => write!(f, " mul {} add {}", summary(mul), summary(add)),
        Op::Clip(clip) => write!(f, " {clip}"),
        Op::MaxPool(window) => write!(f, " {window}"),
        Op::AveragePool { window, count_include_pad } => {
            write!(f, " {window}{}", if *count_include_pad { " count_include_pad" } else { "" })
        }
        Op::Constant(tensor) => write!(f, " {}", digest(tensor)),
        Op::Unary(function) => match &function.parameters()[..] {
            [] => Ok(()),
            parameters => write!(f, " {parameters:?}"),
        },
        Op::PRelu { slope } => write!(f, " slope {}", summary(slope)),
        Op::Concat { axis } | Op::Softmax { axis, .. } => write!(f, " axis {axis}"),
        Op::Transpose { perm } => write!(f, " perm {perm:?}"),
        Op::Gather { maps, fill } => {
            maps.iter().enumerate().try_for_each(|(axis, map)| axis_map(axis, map, f))?;
            if maps.iter().any(|map| matches!(map, AxisMap::Indices(indices) if indices.contains(&None))) {
                write!(f, " fill {fill}")?;
            }
            Ok(())
        }
        Op::Reduce { axes, .. } => write!(f, " axes {axes:?}"),
        Op::Resample { axis, taps } => {
            write!(f, " axis {axis} taps {}", taps.iter().map(Vec::len).max().unwrap_or(0))
        }
        Op::Lookup { table } => write!(f, " table {}", digest(table)),
        Op::Recurrent(recurrent) => {
            let direction = if recurrent.reverse { " reverse" } else { "" };
            write!(f, "{direction} weight {} bias {}", digest(&recurrent.weight), summary(&recurrent.bias))
        }
        Op::Input(_) | Op::Binary(_) | Op::Select | Op::Reshape | Op::MatMul => Ok(()),
    }
}

/// `axis 2 [3, 2, 1]`; runs of equal steps as `first..last/step`.
fn axis_map(axis: usize, map: &AxisMap, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let AxisMap::Indices(indices) = map else { return Ok(()) };
    write!(f, " axis {axis} [")?;
    let mut at = 0;
    while at < indices.len() {
        let step = |i: usize| Some(indices.get(i + 1).copied()?? as isize - indices[i]? as isize);
        let first = step(at);
        let mut end = at;
        while first.is_some() && step(end) == first {
            end += 1;
        }
        let comma = if at == 0 { "" } else { ", " };
        match (indices[at], indices[end]) {
            (Some(from), Some(to)) if end > at + 1 => write!(f, "{comma}{from}..={to}/{}", first.unwrap_or(0))?,
            (Some(from), _) => {
                end = at;
                write!(f, "{comma}{from}")?;
            }
            (None, _) => write!(f, "{comma}fill")?,
        }
        at = end + 1;
    }
    f.write_str("]")
}

fn parameters(bias: Option<&[f32]>, bn: Option<&BatchNorm>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(bias) = bias {
        write!(f, " bias {}", summary(bias))?;
    }
    if let Some(bn) = bn {
        write!(f, " bn gamma {} mean {} eps {:e}", summary(&bn.gamma), summary(&bn.mean), bn.epsilon)?;
    }
    Ok(())
}

/// Extents and the range of the values: enough to see a rewrite at work without printing the weights.
fn digest(tensor: &Tensor) -> String {
    let dims: Vec<_> = tensor.dims().iter().map(usize::to_string).collect();
    format!("{} {}", dims.join("x"), summary(tensor.data()))
}

fn summary(values: &[f32]) -> String {
    let (lo, hi) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    format!("[{lo:.4}..{hi:.4}]")
}

impl fmt::Display for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (0.0, f32::INFINITY) => f.write_str("relu"),
            (min, max) => write!(f, "clip {min}..{max}"),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.kernel[0], self.kernel[1])?;
        if self.stride != [1, 1] {
            write!(f, " stride {},{}", self.stride[0], self.stride[1])?;
        }
        if self.dilation != [1, 1] {
            write!(f, " dilation {},{}", self.dilation[0], self.dilation[1])?;
        }
        let p = self.padding;
        if [p.top, p.left, p.bottom, p.right] != [0; 4] {
            write!(f, " pad {},{},{},{}", p.top, p.left, p.bottom, p.right)?;
        }
        Ok(())
    }
}
