//! The plan under construction: what a node's value is as codes and as floats, made when somebody asks for it.

use super::place::{agree, channels_last, image_extents, in_order, order_of, reshape, row_extents, row_major};
use super::{LowerError, Lowered, memory_plan, table};
use crate::activation::ActivationQuant;
use crate::equalize::{self, ChannelFactors};
use crate::ir::{Function, Node, NodeId, Op, Shape};
use crate::quantize::{Domain, Quantized, check_multiplier};
use releqc_runtime::float::canonical;
use releqc_runtime::program::{self, ElementType, FloatId, FloatSlot, Order, Port, TensorId};
use releqc_runtime::verify::MAX_EXTENT;
use std::collections::BTreeMap;

/// Marks a position of a move table that comes from nowhere.
pub(super) const FILL: u32 = u32::MAX;

const SECTION_ALIGNMENT: usize = 64;

/// Codes of a node: a tensor, and the stride of each axis of the node's shape in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) tensor: TensorId,
    pub(super) strides: Vec<usize>,
}

pub(super) struct Lowering<'q> {
    pub(super) quantized: &'q Quantized,
    /// Codes of each node as it was computed.
    places: BTreeMap<NodeId, Place>,
    /// Copies with the channels, or the last axis, innermost.
    images: BTreeMap<NodeId, TensorId>,
    rows: BTreeMap<NodeId, TensorId>,
    floats: BTreeMap<NodeId, FloatId>,
    pub(super) lowered: Lowered,
}

impl<'q> Lowering<'q> {
    pub(super) fn new(quantized: &'q Quantized) -> Result<Self, LowerError> {
        let mut lowering = Lowering {
            quantized,
            places: BTreeMap::new(),
            images: BTreeMap::new(),
            rows: BTreeMap::new(),
            floats: BTreeMap::new(),
            lowered: Lowered::default(),
        };
        for (id, node) in quantized.graph.inputs() {
            let Op::Input(element) = node.op else { continue };
            let slot = lowering.new_float(node, node.shape.len())?;
            lowering.floats.insert(id, slot);
            lowering.lowered.program.inputs.push((port(&node.name, element, &node.shape), slot));
        }
        Ok(lowering)
    }

    /// Emits what computes a node. What only moves codes waits for its readers.
    pub(super) fn node(&mut self, id: NodeId, node: &'q Node) -> Result<(), LowerError> {
        match (&node.op, self.quantized.domains[id.0]) {
            (Op::Input(_) | Op::Constant(_), _) => Ok(()),
            (Op::Conv(_) | Op::FullyConnected(_), _) => self.layer(id, node),
            (Op::Transpose { .. } | Op::Reshape, Domain::Codes) => Ok(()),
            (_, Domain::Codes) => self.integer(id, node),
            (_, Domain::Float) => self.island(id, node),
        }
    }

    pub(super) fn finish(mut self) -> Result<Lowered, LowerError> {
        for (name, id) in &self.quantized.graph.outputs {
            let slot = self.floats(*id)?;
            let port = port(name, ElementType::F32, &self.quantized.graph.node(*id).shape);
            self.lowered.program.outputs.push((port, slot));
        }
        self.plan_memory()?;
        Ok(self.lowered)
    }

    pub(super) fn graph_node(&self, id: NodeId) -> &'q Node {
        self.quantized.graph.node(id)
    }

    pub(super) fn dims(&self, id: NodeId) -> &'q [usize] {
        self.graph_node(id).shape.dims()
    }

    pub(super) fn activation(&self, id: NodeId) -> ActivationQuant {
        self.quantized.activations[id.0]
    }

    pub(super) fn factors(&self, id: NodeId) -> &'q ChannelFactors {
        &self.quantized.factors[id.0]
    }

    pub(super) fn emit(&mut self, op: program::Op) {
        self.lowered.program.ops.push(op);
    }

    /// Scale of an operand over the scale of the result, as a multiplier.
    pub(super) fn ratio(&self, node: &Node, x: NodeId, y: NodeId) -> Result<f32, LowerError> {
        let ratio = f64::from(self.activation(x).scale) / f64::from(self.activation(y).scale);
        Ok(check_multiplier(node, ratio as f32)?)
    }

    /// A tensor of rows, columns and channels for codes of `like`.
    pub(super) fn new_tensor(
        &mut self,
        node: &Node,
        [height, width, channels]: [usize; 3],
        quant: ActivationQuant,
    ) -> Result<TensorId, LowerError> {
        let tensor = TensorId(self.lowered.program.tensors.len() as u32);
        self.lowered.program.tensors.push(program::Tensor {
            name: node.name.clone(),
            height: extent(node, height)?,
            width: extent(node, width)?,
            channels: extent(node, channels)?,
            scale: quant.scale,
            zero_point: quant.zero_point,
            arena_offset: 0,
        });
        Ok(tensor)
    }

    pub(super) fn tensor_extents(&self, id: TensorId) -> [usize; 3] {
        let tensor = self.lowered.program.tensor(id);
        [tensor.height as usize, tensor.width as usize, tensor.channels as usize]
    }

    /// A tensor for the result of a node, whose codes are there from now on.
    pub(super) fn place(
        &mut self,
        id: NodeId,
        extents: [usize; 3],
        strides: Vec<usize>,
    ) -> Result<TensorId, LowerError> {
        let tensor = self.new_tensor(self.graph_node(id), extents, self.activation(id))?;
        self.places.insert(id, Place { tensor, strides });
        Ok(tensor)
    }

    /// The result of a node as an image, or several one below the other.
    pub(super) fn place_image(&mut self, id: NodeId) -> Result<TensorId, LowerError> {
        let shape = &self.graph_node(id).shape;
        let tensor = self.place(id, image_extents(shape), channels_last(shape.dims()))?;
        self.images.insert(id, tensor);
        Ok(tensor)
    }

    /// The result of a node with its last axis as channels.
    pub(super) fn place_rows(&mut self, id: NodeId) -> Result<TensorId, LowerError> {
        let shape = &self.graph_node(id).shape;
        let tensor = self.place(id, row_extents(shape), row_major(shape.dims()))?;
        self.rows.insert(id, tensor);
        Ok(tensor)
    }

    /// The result of a node in the order that an operand of another shape has.
    pub(super) fn place_like(&mut self, id: NodeId, operand: NodeId, place: &Place) -> Result<TensorId, LowerError> {
        let (from, to) = (&self.graph_node(operand).shape, &self.graph_node(id).shape);
        let extents = self.tensor_extents(place.tensor);
        let is_image = to.rank() > 2
            && agree(from.dims(), &place.strides, &channels_last(from.dims()))
            && extents == image_extents(from);
        if is_image {
            return self.place_image(id);
        }
        if agree(from.dims(), &place.strides, &row_major(from.dims())) {
            return self.place_rows(id);
        }
        let order = order_of(&place.strides);
        let extents = |axes: &[usize]| axes.iter().map(|&axis| to.dims()[axis]).product::<usize>();
        let (outer, inner) = order.split_at(order.len().saturating_sub(1));
        let strides = in_order(to.dims(), &order);
        self.place(id, [1, extents(outer), extents(inner)], strides)
    }

    /// The codes of a node.
    pub(super) fn codes(&mut self, id: NodeId) -> Result<Place, LowerError> {
        if let Some(place) = self.places.get(&id) {
            return Ok(place.clone());
        }
        let node = self.graph_node(id);
        let place = match (&node.op, self.quantized.domains[id.0]) {
            (Op::Constant(tensor), _) => {
                let quant = self.activation(id);
                let values = equalize::divided(&node.shape, tensor.data(), self.factors(id));
                let codes: Vec<u8> = values.iter().map(|&v| table::code(v, quant)).collect();
                let constants_offset = append(&mut self.lowered.constants, &codes);
                let y = self.new_tensor(node, row_extents(&node.shape), quant)?;
                self.emit(program::Op::Constant { y, constants_offset });
                Place { tensor: y, strides: row_major(node.shape.dims()) }
            }
            (Op::Input(_), _) | (_, Domain::Float) => self.quantized_floats(id, node)?,
            (Op::Transpose { perm }, _) => {
                let Place { tensor, strides } = self.codes(node.inputs[0])?;
                Place { tensor, strides: perm.iter().map(|&axis| strides[axis]).collect() }
            }
            (Op::Reshape, _) => self.reshaped(node)?,
            _ => unreachable!("{}: nodes precede their readers", node.name),
        };
        self.places.insert(id, place.clone());
        Ok(place)
    }

    /// The codes of a reshape: its operand's where their memory allows it, else a copy in the order of ONNX.
    fn reshaped(&mut self, node: &'q Node) -> Result<Place, LowerError> {
        let x = node.inputs[0];
        let Place { tensor, strides } = self.codes(x)?;
        if let Some(strides) = reshape(self.dims(x), &strides, node.shape.dims()) {
            return Ok(Place { tensor, strides });
        }
        let copy = self.rows(x)?;
        Ok(Place { tensor: copy, strides: row_major(node.shape.dims()) })
    }

    /// Codes made of floats.
    fn quantized_floats(&mut self, id: NodeId, node: &'q Node) -> Result<Place, LowerError> {
        let x = self.floats(id)?;
        let x = self.scaled(node, x, self.factors(id), |factor| 1.0 / factor)?;
        let quant = self.activation(id);
        let x = self.within_codes(node, x, quant)?;
        let inv_scale = check_multiplier(node, 1.0 / quant.scale)?;
        let image = node.shape.dims().first() == Some(&1) && self.is_read_as_image(id, 0);
        let (order, extents, strides) = if image {
            (Order::ChannelFirst, image_extents(&node.shape), channels_last(node.shape.dims()))
        } else {
            (Order::Same, row_extents(&node.shape), row_major(node.shape.dims()))
        };
        let y = self.new_tensor(node, extents, quant)?;
        self.emit(program::Op::Quantize { x, y, inv_scale, order });
        Ok(Place { tensor: y, strides })
    }

    /// Floats that become no code above the largest: quantizing has no clamp but that of a byte.
    fn within_codes(&mut self, node: &Node, x: FloatId, quant: ActivationQuant) -> Result<FloatId, LowerError> {
        if quant.largest == u8::MAX {
            return Ok(x);
        }
        let max = (f32::from(quant.largest) - f32::from(quant.zero_point)) * quant.scale;
        self.unary(node, x, Function::Clip { min: f32::NEG_INFINITY, max })
    }

    /// Whether the first reader that cares wants the channels innermost.
    fn is_read_as_image(&self, id: NodeId, depth: usize) -> bool {
        const FAR: usize = 16;
        let rank = self.graph_node(id).shape.rank();
        if rank < 3 {
            return false;
        }
        let mut users = self.quantized.graph.iter().skip(id.0 + 1).filter(|(_, user)| user.inputs.contains(&id));
        let wish = users.find_map(|(user_id, user)| match &user.op {
            Op::Conv(_) | Op::MaxPool(_) | Op::AveragePool { .. } | Op::BatchNorm(_) | Op::PRelu { .. } => Some(true),
            Op::FullyConnected(_) | Op::Transpose { .. } => Some(false),
            Op::Reshape => {
                let wide = |shape: &Shape| shape.dims().iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
                let renamed = wide(&user.shape) == wide(&self.graph_node(id).shape);
                Some(renamed && depth < FAR && self.is_read_as_image(user_id, depth + 1))
            }
            Op::Unary(_)
            | Op::Binary(_)
            | Op::ChannelAffine { .. }
            | Op::Concat { .. }
            | Op::Clip(_)
            | Op::Gather { .. }
                if depth < FAR =>
            {
                Some(self.is_read_as_image(user_id, depth + 1))
            }
            _ => None,
        });
        wish.unwrap_or(rank == 4)
    }

    /// The codes of a node as `[N * rows, columns, channels]`.
    pub(super) fn image(&mut self, id: NodeId) -> Result<TensorId, LowerError> {
        if let Some(tensor) = self.images.get(&id) {
            return Ok(*tensor);
        }
        let shape = &self.graph_node(id).shape;
        let tensor = self.ordered(id, channels_last(shape.dims()), image_extents(shape))?;
        self.images.insert(id, tensor);
        Ok(tensor)
    }

    /// The codes of a node in the order of ONNX, the last axis as channels.
    pub(super) fn rows(&mut self, id: NodeId) -> Result<TensorId, LowerError> {
        if let Some(tensor) = self.rows.get(&id) {
            return Ok(*tensor);
        }
        let shape = &self.graph_node(id).shape;
        let tensor = self.ordered(id, row_major(shape.dims()), row_extents(shape))?;
        self.rows.insert(id, tensor);
        Ok(tensor)
    }

    /// The codes of a node under given strides and extents, copied where they lie otherwise.
    pub(super) fn ordered(
        &mut self,
        id: NodeId,
        wanted: Vec<usize>,
        extents: [usize; 3],
    ) -> Result<TensorId, LowerError> {
        let place = self.codes(id)?;
        let dims = self.dims(id);
        if agree(dims, &place.strides, &wanted) && self.tensor_extents(place.tensor) == extents {
            return Ok(place.tensor);
        }
        let tables = order_of(&wanted)
            .into_iter()
            .filter(|&axis| dims[axis] != 1)
            .map(|axis| (0..dims[axis]).map(|position| (position * place.strides[axis]) as u32).collect::<Vec<u32>>());
        let tables = at_least_one(tables.collect());
        let y = self.new_tensor(self.graph_node(id), extents, self.activation(id))?;
        self.emit(program::Op::Move { x: place.tensor, y, tables, fill: 0 });
        Ok(y)
    }

    /// A float slot of `len` values.
    pub(super) fn new_float(&mut self, node: &Node, len: usize) -> Result<FloatId, LowerError> {
        let slot = FloatId(self.lowered.program.floats.len() as u32);
        self.lowered.program.floats.push(FloatSlot { len: extent(node, len)? });
        Ok(slot)
    }

    /// The floats of a node are in a slot from now on.
    pub(super) fn keep_floats(&mut self, id: NodeId, slot: FloatId) {
        self.floats.insert(id, slot);
    }

    /// The floats of a node in the order of ONNX, dequantized where it has codes only.
    pub(super) fn floats(&mut self, id: NodeId) -> Result<FloatId, LowerError> {
        if let Some(slot) = self.floats.get(&id) {
            return Ok(*slot);
        }
        let node = self.graph_node(id);
        if let Op::Constant(tensor) = &node.op {
            let slot = self.constant_floats(node, tensor.data())?;
            self.floats.insert(id, slot);
            return Ok(slot);
        }
        let place = self.codes(id)?;
        let dims = node.shape.dims();
        let y = self.new_float(node, node.shape.len())?;
        let is_image = agree(dims, &place.strides, &channels_last(dims))
            && self.tensor_extents(place.tensor) == image_extents(&node.shape)
            && dims.first() == Some(&1);
        if agree(dims, &place.strides, &row_major(dims)) {
            self.emit(program::Op::Dequantize { x: place.tensor, y, order: Order::Same });
        } else if is_image {
            self.emit(program::Op::Dequantize { x: place.tensor, y, order: Order::ChannelFirst });
        } else {
            let stored = self.new_float(node, node.shape.len())?;
            self.emit(program::Op::Dequantize { x: place.tensor, y: stored, order: Order::Same });
            let tables = (0..dims.len()).filter(|&axis| dims[axis] != 1).map(|axis| {
                (0..dims[axis]).map(|position| (position * place.strides[axis]) as u32).collect::<Vec<u32>>()
            });
            let tables = at_least_one(tables.collect());
            self.emit(program::Op::FloatMove { x: stored, y, tables, fill: 0.0 });
        }
        let y = self.scaled(node, y, self.factors(id), |factor| factor)?;
        self.floats.insert(id, y);
        Ok(y)
    }

    /// Floats with each channel multiplied by what its factor gives.
    fn scaled(
        &mut self,
        node: &Node,
        x: FloatId,
        factors: &ChannelFactors,
        multiple: impl Fn(f32) -> f32,
    ) -> Result<FloatId, LowerError> {
        let Some(factors) = factors else { return Ok(x) };
        let multiples: Vec<f32> = factors.iter().map(|&factor| multiple(factor)).collect();
        self.times_channels(node, x, &multiples)
    }

    /// A slot of constant floats.
    pub(super) fn constant_floats(&mut self, node: &Node, values: &[f32]) -> Result<FloatId, LowerError> {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| canonical(v).to_le_bytes()).collect();
        let constants_offset = append(&mut self.lowered.constants, &bytes);
        let y = self.new_float(node, values.len())?;
        self.emit(program::Op::FloatConstant { y, constants_offset });
        Ok(y)
    }

    fn plan_memory(&mut self) -> Result<(), LowerError> {
        let program = &mut self.lowered.program;
        let mut lifetimes: Vec<memory_plan::Lifetime> =
            program.tensors.iter().map(|t| memory_plan::Lifetime { bytes: t.len(), first: 0, last: 0 }).collect();
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

fn port(name: &str, element: ElementType, shape: &Shape) -> Port {
    Port { name: name.to_owned(), element, dims: shape.dims().iter().map(|&d| d as u32).collect() }
}

/// Move tables of a single element have no axis of more than one position.
pub(super) fn at_least_one(tables: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    if tables.is_empty() { vec![vec![0]] } else { tables }
}

pub(super) fn extent(node: &Node, value: usize) -> Result<u32, LowerError> {
    let limit = MAX_EXTENT as usize;
    let fits = u32::try_from(value).ok().filter(|&v| v <= MAX_EXTENT);
    fits.ok_or_else(|| LowerError::TooLarge { node: node.name.clone(), what: "an extent", value, limit })
}

/// Appends at the next aligned offset and returns it.
pub(super) fn append(section: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    section.resize(section.len().next_multiple_of(SECTION_ALIGNMENT), 0);
    let offset = section.len();
    section.extend_from_slice(bytes);
    offset as u64
}
