//! Quantized graph to the CPU plan: operators of the runtime, packed weights, constants, memory plan.
//!
//! Takes a [`Quantized`] graph, returns everything an artifact stores for execution. The plan names no instruction set:
//! what depends on one is planned when the artifact is loaded. Flattening before a fully connected layer disappears into the
//! order of its weights.

use super::memory_plan::{self, Lifetime};
use crate::ir::{BinaryKind, Node, NodeId, Op, Shape, Window};
use crate::quantize::{Domain, QuantizeError, Quantized, check_multiplier};
use releqc_runtime::pack;
use releqc_runtime::program::{
    self, Destination, FloatId, FloatSlot, LayerKind, Port, Program, TensorId, Window as RuntimeWindow,
};
use releqc_runtime::verify::{MAX_ADDEND, MAX_EXTENT};
use std::collections::BTreeMap;
use thiserror::Error;

/// Why a quantized graph cannot be lowered.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum LowerError {
    /// A ratio of scales is out of range.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A tensor or the arena is too large for the format.
    #[error("{node}: {what} is {value}; at most {limit} is supported")]
    TooLarge {
        /// ONNX node name.
        node: String,
        /// What is too large.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The limit.
        limit: usize,
    },
    /// An operator that has no integer form in this place.
    #[error("{node}: {what}")]
    Unsupported {
        /// ONNX node name.
        node: String,
        /// What is not supported.
        what: String,
    },
}

/// The executable form of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lowered {
    /// Operators, tensors and memory plan.
    pub program: Program,
    /// Biases and multipliers.
    pub constants: Vec<u8>,
    /// Packed codes.
    pub weights: Vec<u8>,
}

const SECTION_ALIGNMENT: usize = 64;

/// Lowers every node.
///
/// # Errors
/// A node that the runtime's operators cannot express.
pub fn lower(quantized: &Quantized) -> Result<Lowered, LowerError> {
    let mut lowering = Lowering {
        quantized,
        needs_codes: needs_codes(quantized),
        tensors: BTreeMap::new(),
        floats: BTreeMap::new(),
        lowered: Lowered::default(),
    };
    let graph = &quantized.graph;
    lowering.lowered.program.input = port(&graph.nodes[0].name, &graph.nodes[0].shape);
    for (id, node) in graph.iter() {
        lowering.node(id, node)?;
    }
    for (name, id) in &graph.outputs {
        let slot = lowering.float(*id)?;
        lowering.lowered.program.outputs.push((port(name, &graph.node(*id).shape), slot));
    }
    lowering.plan_memory()?;
    Ok(lowering.lowered)
}

fn port(name: &str, shape: &Shape) -> Port {
    Port { name: name.to_owned(), dims: shape.dims().iter().skip(1).map(|&d| d as u32).collect() }
}

/// Reshapes whose codes somebody reads in their new order; all others disappear.
fn needs_codes(quantized: &Quantized) -> Vec<bool> {
    let graph = &quantized.graph;
    let mut needed = vec![false; graph.nodes.len()];
    for (id, node) in graph.iter() {
        let looks_through = matches!(node.op, Op::FullyConnected(_) | Op::Reshape | Op::Softmax { .. });
        if !looks_through && quantized.domains[id.0] == Domain::Codes {
            for input in &node.inputs {
                needed[input.0] = true;
            }
        }
    }
    needed
}

struct Lowering<'q> {
    quantized: &'q Quantized,
    needs_codes: Vec<bool>,
    tensors: BTreeMap<NodeId, TensorId>,
    floats: BTreeMap<NodeId, FloatId>,
    lowered: Lowered,
}

impl Lowering<'_> {
    fn node(&mut self, id: NodeId, node: &Node) -> Result<(), LowerError> {
        let quantized = self.quantized;
        let op = match &node.op {
            Op::Input(_) => {
                let inv_scale = check_multiplier(node, 1.0 / quantized.activations[id.0].scale)?;
                program::Op::Quantize { y: self.new_tensor(id)?, inv_scale }
            }
            Op::Conv(conv) => {
                let window = self.window(node, &conv.window)?;
                self.conv(id, node, LayerKind::Conv, node.inputs[0], window, conv.groups)?
            }
            Op::FullyConnected(_) => {
                let source = quantized.source(node.inputs[0]);
                let [_, h, w] = quantized.graph.node(source).shape.chw();
                let window = RuntimeWindow {
                    kernel: [extent(node, h)?, extent(node, w)?],
                    stride: [1, 1],
                    dilation: [1, 1],
                    padding: [0; 4],
                };
                self.conv(id, node, LayerKind::FullyConnected, source, window, 1)?
            }
            Op::MaxPool(window) => {
                let (x, window) = (self.tensor(node.inputs[0]), self.window(node, window)?);
                program::Op::MaxPool { x, y: self.new_tensor(id)?, window }
            }
            Op::AveragePool { window, count_include_pad } => {
                let multiplier = self.ratio(node, 0, id)?;
                check_multiplier(node, multiplier / (window.kernel[0] * window.kernel[1]) as f32)?;
                let (lo, hi) = quantized.clamp(id, node.activation);
                let (x, window) = (self.tensor(node.inputs[0]), self.window(node, window)?);
                let count_include_pad = *count_include_pad;
                program::Op::AveragePool { x, y: self.new_tensor(id)?, window, count_include_pad, multiplier, lo, hi }
            }
            Op::Binary(BinaryKind::Add) => {
                let (multiplier_a, multiplier_b) = (self.ratio(node, 0, id)?, self.ratio(node, 1, id)?);
                let (lo, hi) = quantized.clamp(id, node.activation);
                let (a, b) = (self.tensor(node.inputs[0]), self.tensor(node.inputs[1]));
                program::Op::Add { a, b, y: self.new_tensor(id)?, multiplier_a, multiplier_b, lo, hi }
            }
            Op::Concat { .. } => {
                let y = quantized.activations[id.0];
                let mut xs = Vec::with_capacity(node.inputs.len());
                for (i, input) in node.inputs.iter().enumerate() {
                    let rescale = (quantized.activations[input.0] != y).then(|| self.ratio(node, i, id)).transpose()?;
                    xs.push((self.tensor(*input), rescale));
                }
                program::Op::Concat { xs, y: self.new_tensor(id)? }
            }
            Op::BatchNorm(bn) => {
                let (mul, add) = bn.affine();
                self.affine(id, node, &mul, &add, node.activation)?
            }
            Op::ChannelAffine { mul, add } => self.affine(id, node, mul, add, node.activation)?,
            Op::Clip(clip) => {
                let channels = node.shape.chw()[0];
                self.affine(id, node, &vec![1.0; channels], &vec![0.0; channels], Some(*clip))?
            }
            Op::Reshape => {
                if !self.needs_codes[id.0] {
                    return Ok(());
                }
                let x = self.tensor(quantized.source(id));
                program::Op::Reshape { x, y: self.new_tensor(id)? }
            }
            Op::Softmax { log, .. } => {
                let x = self.float(node.inputs[0])?;
                program::Op::Softmax { x, y: self.new_float(id)?, log: *log }
            }
            other => {
                let what = format!("{} has no lowering yet", other.label());
                return Err(LowerError::Unsupported { node: node.name.clone(), what });
            }
        };
        self.lowered.program.ops.push(op);
        Ok(())
    }

    fn conv(
        &mut self,
        id: NodeId,
        node: &Node,
        kind: LayerKind,
        input: NodeId,
        window: RuntimeWindow,
        groups: usize,
    ) -> Result<program::Op, LowerError> {
        let layer = &self.quantized.layers[&id];
        let outputs = layer.biases.len();
        let destination = match self.quantized.domains[id.0] {
            Domain::Float => Destination::Logits { y: self.new_float(id)? },
            Domain::Codes => {
                let (lo, hi) = self.quantized.clamp(id, node.activation);
                Destination::Codes { y: self.new_tensor(id)?, lo, hi }
            }
        };
        let packed = pack::pack(&layer.codes, outputs, layer.depth, layer.bits);
        let weights_offset = append(&mut self.lowered.weights, &packed);
        let biases = layer.biases.iter().flat_map(|b| b.to_le_bytes());
        let multipliers = layer.multipliers.iter().flat_map(|m| m.to_le_bytes());
        let constants_offset = append(&mut self.lowered.constants, &biases.chain(multipliers).collect::<Vec<u8>>());
        Ok(program::Op::Conv(program::Conv {
            name: node.name.clone(),
            kind,
            x: self.tensor(input),
            destination,
            window,
            groups: extent(node, groups)?,
            outputs: extent(node, outputs)?,
            bits: layer.bits,
            weights_offset,
            constants_offset,
        }))
    }

    fn affine(
        &mut self,
        id: NodeId,
        node: &Node,
        mul: &[f32],
        add: &[f32],
        clip: Option<crate::ir::Clip>,
    ) -> Result<program::Op, LowerError> {
        let (x, y) = (self.quantized.activations[node.inputs[0].0], self.quantized.activations[id.0]);
        let ratio = f64::from(x.scale) / f64::from(y.scale);
        let mut constants = Vec::with_capacity(mul.len() * 8);
        for &m in mul {
            // A channel switched off keeps the smallest multiplier: |q - z| < 256 of it rounds to no step.
            let multiplier = (f64::from(m) * ratio) as f32;
            let smallest = *releqc_runtime::verify::MULTIPLIER_RANGE.start() * 1.000_001;
            let multiplier = if multiplier.abs() < smallest { smallest } else { multiplier };
            check_multiplier(node, multiplier.abs())?;
            constants.extend(multiplier.to_le_bytes());
        }
        for &a in add {
            let addend = (f64::from(a) / f64::from(y.scale)) as f32;
            constants.extend(addend.clamp(-MAX_ADDEND, MAX_ADDEND).to_le_bytes());
        }
        let constants_offset = append(&mut self.lowered.constants, &constants);
        let (lo, hi) = self.quantized.clamp(id, clip);
        Ok(program::Op::Affine { x: self.tensor(node.inputs[0]), y: self.new_tensor(id)?, constants_offset, lo, hi })
    }

    /// Scale of input `i` over the scale of the result.
    fn ratio(&self, node: &Node, i: usize, id: NodeId) -> Result<f32, QuantizeError> {
        let scales = &self.quantized.activations;
        let ratio = f64::from(scales[node.inputs[i].0].scale) / f64::from(scales[id.0].scale);
        check_multiplier(node, ratio as f32)
    }

    fn window(&self, node: &Node, window: &Window) -> Result<RuntimeWindow, LowerError> {
        let pair = |values: [usize; 2]| Ok::<_, LowerError>([extent(node, values[0])?, extent(node, values[1])?]);
        let p = window.padding;
        let ([top, left], [bottom, right]) = (pair([p.top, p.left])?, pair([p.bottom, p.right])?);
        Ok(RuntimeWindow {
            kernel: pair(window.kernel)?,
            stride: pair(window.stride)?,
            dilation: pair(window.dilation)?,
            padding: [top, left, bottom, right],
        })
    }

    fn new_tensor(&mut self, id: NodeId) -> Result<TensorId, LowerError> {
        let node = self.quantized.graph.node(id);
        let quant = self.quantized.activations[id.0];
        let [c, h, w] = node.shape.chw();
        let tensor = TensorId(self.lowered.program.tensors.len() as u32);
        self.lowered.program.tensors.push(program::Tensor {
            name: node.name.clone(),
            height: extent(node, h)?,
            width: extent(node, w)?,
            channels: extent(node, c)?,
            scale: quant.scale,
            zero_point: quant.zero_point,
            arena_offset: 0,
        });
        self.tensors.insert(id, tensor);
        Ok(tensor)
    }

    fn new_float(&mut self, id: NodeId) -> Result<FloatId, LowerError> {
        let node = self.quantized.graph.node(id);
        let slot = FloatId(self.lowered.program.floats.len() as u32);
        self.lowered.program.floats.push(FloatSlot { len: extent(node, node.shape.len())? });
        self.floats.insert(id, slot);
        Ok(slot)
    }

    /// The codes of a node; a reshape that disappeared stands for what it reshapes.
    fn tensor(&self, id: NodeId) -> TensorId {
        let id = if self.tensors.contains_key(&id) { id } else { self.quantized.source(id) };
        self.tensors[&id]
    }

    /// The floats of a node, dequantized where it has codes only.
    fn float(&mut self, id: NodeId) -> Result<FloatId, LowerError> {
        let source = self.quantized.source(id);
        for known in [id, source] {
            if let Some(slot) = self.floats.get(&known) {
                return Ok(*slot);
            }
        }
        let x = self.tensor(source);
        let y = self.new_float(source)?;
        self.lowered.program.ops.push(program::Op::Dequantize { x, y });
        Ok(y)
    }

    fn plan_memory(&mut self) -> Result<(), LowerError> {
        let program = &mut self.lowered.program;
        let mut lifetimes: Vec<Lifetime> =
            program.tensors.iter().map(|t| Lifetime { bytes: t.len(), first: 0, last: 0 }).collect();
        for (at, op) in program.ops.iter().enumerate() {
            if let Some(y) = op.writes() {
                let life = &mut lifetimes[y.0 as usize];
                (life.first, life.last) = (at, at);
            }
            for x in op.reads() {
                lifetimes[x.0 as usize].last = at;
            }
        }
        let (offsets, arena) = memory_plan::plan(&lifetimes);
        let limit = u32::MAX as usize;
        let too_large = || LowerError::TooLarge {
            node: self.quantized.graph.name.clone(),
            what: "the activation arena",
            value: arena,
            limit,
        };
        program.arena_bytes = u32::try_from(arena).map_err(|_| too_large())?;
        for (tensor, offset) in program.tensors.iter_mut().zip(offsets) {
            tensor.arena_offset = offset as u32;
        }
        Ok(())
    }
}

fn extent(node: &Node, value: usize) -> Result<u32, LowerError> {
    let limit = MAX_EXTENT as usize;
    let fits = u32::try_from(value).ok().filter(|&v| v <= MAX_EXTENT);
    fits.ok_or_else(|| LowerError::TooLarge { node: node.name.clone(), what: "an extent", value, limit })
}

/// Appends at the next aligned offset and returns it.
fn append(section: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    section.resize(section.len().next_multiple_of(SECTION_ALIGNMENT), 0);
    let offset = section.len();
    section.extend_from_slice(bytes);
    offset as u64
}
