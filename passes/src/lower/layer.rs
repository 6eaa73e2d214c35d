//! Layers with weights.

use super::LowerError;
use super::lowering::{Lowering, append, extent};
use super::place::row_major;
use crate::ir::{Node, NodeId, Op};
use crate::quantize::{Domain, QuantizedLayer};
use releqc_runtime::pack;
use releqc_runtime::program::{self, Destination, LayerKind, Order, TensorId, Window};

/// A window that covers one cell.
const CELL: Window = Window { kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };

impl<'q> Lowering<'q> {
    pub(super) fn layer(&mut self, id: NodeId, node: &'q Node) -> Result<(), LowerError> {
        let layer = &self.quantized.layers[&id];
        match &node.op {
            Op::Conv(conv) => {
                let window = self.window(node, &conv.window)?;
                let x = self.image(node.inputs[0])?;
                let [kh, kw] = conv.window.kernel;
                let inputs = layer.depth / (kh * kw);
                // [input][tap] to [tap][input].
                let order: Vec<usize> =
                    (0..kh * kw).flat_map(|tap| (0..inputs).map(move |i| i * kh * kw + tap)).collect();
                let groups = extent(node, conv.groups)?;
                self.emit_layer(id, node, LayerKind::Conv, x, window, groups, &order)
            }
            _ if node.shape.len() == layer.biases.len() => {
                let (x, order) = self.flattened(node.inputs[0])?;
                let [height, width, _] = self.tensor_extents(x);
                let window = Window { kernel: [extent(node, height)?, extent(node, width)?], ..CELL };
                self.emit_layer(id, node, LayerKind::FullyConnected, x, window, 1, &order)
            }
            _ => {
                let x = self.rows(node.inputs[0])?;
                let order: Vec<usize> = (0..layer.depth).collect();
                self.emit_layer(id, node, LayerKind::FullyConnected, x, CELL, 1, &order)
            }
        }
    }

    /// The codes of all of a sample's values as they lie, and the position in the order of ONNX of each: the weights of the reader
    /// follow that order, so that a flattening in front of it moves nothing.
    fn flattened(&mut self, mut id: NodeId) -> Result<(TensorId, Vec<usize>), LowerError> {
        while let (Op::Reshape, Domain::Codes) = (&self.graph_node(id).op, self.quantized.domains[id.0]) {
            id = self.graph_node(id).inputs[0];
        }
        let place = self.codes(id)?;
        let dims = self.dims(id);
        let onnx = row_major(dims);
        let len: usize = dims.iter().product();
        let mut order = vec![0; len];
        for at in 0..len {
            let offset: usize = (0..dims.len()).map(|axis| at / onnx[axis] % dims[axis] * place.strides[axis]).sum();
            order[offset] = at;
        }
        Ok((place.tensor, order))
    }

    /// Emits a layer; `order` has the position in ONNX of each weight of an output as the plan wants it.
    #[allow(clippy::too_many_arguments, reason = "what a layer is made of")]
    fn emit_layer(
        &mut self,
        id: NodeId,
        node: &'q Node,
        kind: LayerKind,
        x: TensorId,
        window: Window,
        groups: u32,
        order: &[usize],
    ) -> Result<(), LowerError> {
        let layer: &QuantizedLayer = &self.quantized.layers[&id];
        let outputs = layer.biases.len();
        let is_image = matches!(node.op, Op::Conv(_));
        let float = self.quantized.domains[id.0] == Domain::Float;
        let destination = if float {
            let y = self.new_float(node, node.shape.len())?;
            Destination::Logits { y, order: if is_image { Order::ChannelFirst } else { Order::Same } }
        } else {
            let (lo, hi) = self.quantized.clamp(id, node.activation);
            let y = if is_image { self.place_image(id)? } else { self.place_rows(id)? };
            Destination::Codes { y, lo, hi }
        };
        let codes: Vec<i8> =
            layer.codes.chunks_exact(layer.depth).flat_map(|row| order.iter().map(|&at| row[at])).collect();
        let packed = pack::pack(&codes, outputs, layer.depth, layer.bits);
        let weights_offset = append(&mut self.lowered.weights, &packed);
        let biases = layer.biases.iter().flat_map(|b| b.to_le_bytes());
        let multipliers = layer.multipliers.iter().flat_map(|m| m.to_le_bytes());
        let constants_offset = append(&mut self.lowered.constants, &biases.chain(multipliers).collect::<Vec<u8>>());
        self.emit(program::Op::Conv(program::Conv {
            name: node.name.clone(),
            kind,
            x,
            destination,
            window,
            groups,
            outputs: extent(node, outputs)?,
            bits: layer.bits,
            weights_offset,
            constants_offset,
        }));
        if let Destination::Logits { y, .. } = destination {
            let images = node.shape.dims().first().copied().unwrap_or(1);
            let y = if is_image && images != 1 { self.images_apart(node, y)? } else { y };
            self.keep_clipped(id, node, y)?;
        }
        Ok(())
    }

    /// `[channel][image][cell]` to `[image][channel][cell]`.
    fn images_apart(&mut self, node: &Node, x: program::FloatId) -> Result<program::FloatId, LowerError> {
        let dims = node.shape.dims();
        let (images, channels) = (dims[0], dims[1]);
        let cells = node.shape.len() / (images * channels);
        let steps = |count: usize, step: usize| (0..count).map(|i| (i * step) as u32).collect::<Vec<u32>>();
        let tables = vec![steps(images, cells), steps(channels, images * cells), steps(cells, 1)];
        let y = self.new_float(node, node.shape.len())?;
        self.emit(program::Op::FloatMove { x, y, tables, fill: 0.0 });
        Ok(y)
    }
}
