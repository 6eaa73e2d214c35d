//! The text form of a graph: one line a node, for snapshots and `--emit`.

use super::{BatchNorm, Clip, Graph, Node, Op, Tensor, Window};
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
        Op::Input | Op::Add | Op::Concat | Op::Reshape | Op::Softmax { .. } => Ok(()),
    }
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
