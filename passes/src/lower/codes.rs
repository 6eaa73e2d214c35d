//! Operators on codes.

use super::lowering::{FILL, Lowering, Place, append, at_least_one, extent};
use super::place::{agree, broadcast, joined, order_of, row_major};
use super::{LowerError, table};
use crate::activation::ActivationQuant;
use crate::equalize;
use crate::ir::{AxisMap, BinaryKind, Clip, Function, Node, NodeId, Op, Window};
use crate::quantize::check_multiplier;
use releqc_runtime::program::{self, ArithmeticKind, TensorId, Window as RuntimeWindow};
use releqc_runtime::verify::{MAX_ADDEND, MULTIPLIER_RANGE};

impl<'q> Lowering<'q> {
    /// A node without weights whose value is codes.
    pub(super) fn integer(&mut self, id: NodeId, node: &'q Node) -> Result<(), LowerError> {
        match &node.op {
            Op::MaxPool(window) => {
                let window = self.window(node, &window.within_reach())?;
                let (lo, hi) = self.quantized.clamp(id, node.activation);
                let (x, y) = (self.image(node.inputs[0])?, self.place_image(id)?);
                self.emit(program::Op::MaxPool { x, y, window, lo, hi });
            }
            Op::AveragePool { window, count_include_pad } => {
                let multiplier = self.ratio(node, node.inputs[0], id)?;
                check_multiplier(node, multiplier / (window.kernel[0] * window.kernel[1]) as f32)?;
                let window = self.window(node, &window.within_reach())?;
                let (lo, hi) = self.quantized.clamp(id, node.activation);
                let (x, y) = (self.image(node.inputs[0])?, self.place_image(id)?);
                let count_include_pad = *count_include_pad;
                self.emit(program::Op::AveragePool { x, y, window, count_include_pad, multiplier, lo, hi });
            }
            Op::Binary(kind) => self.arithmetic(id, node, *kind)?,
            Op::Concat { axis } => self.concat(id, node, *axis)?,
            Op::BatchNorm(norm) => {
                let (mul, add) = norm.affine();
                self.affine(id, node, &mul, &add, node.activation)?;
            }
            Op::ChannelAffine { mul, add } => self.affine(id, node, mul, add, node.activation)?,
            Op::Clip(clip) => {
                let clip = node.activation.map_or(*clip, |outer| clip.then(outer));
                self.affine(id, node, &[1.0], &[0.0], Some(clip))?;
            }
            Op::Unary(function) if self.have_factors(id, node) => self.tables(id, node, |_, v| function.eval(v))?,
            Op::Unary(function) => {
                let x = self.codes(node.inputs[0])?;
                let codes = self.table(id, node, 0, |v| function.eval(v));
                let constants_offset = append(&mut self.lowered.constants, &codes);
                let y = self.place(id, self.tensor_extents(x.tensor), x.strides)?;
                self.emit(program::Op::Table { x: x.tensor, y, constants_offset, per_channel: false });
            }
            Op::PRelu { slope } => {
                self.tables(id, node, |c, v| Function::LeakyRelu { alpha: slope[c] }.eval(v))?;
            }
            Op::Gather { maps, .. } => self.gather(id, node, maps)?,
            other => {
                let what = format!("{} of codes; it has no integer form", other.label());
                return Err(LowerError::Unsupported { node: node.name.clone(), what });
            }
        }
        Ok(())
    }

    /// Whether the channels of a node or of its operand have factors.
    fn have_factors(&self, id: NodeId, node: &Node) -> bool {
        self.factors(id).is_some() || self.factors(node.inputs[0]).is_some()
    }

    /// A table for each channel.
    fn tables(&mut self, id: NodeId, node: &Node, function: impl Fn(usize, f32) -> f32) -> Result<(), LowerError> {
        let x = self.image(node.inputs[0])?;
        let channels = node.shape.channels();
        let tables: Vec<u8> = (0..channels).flat_map(|c| self.table(id, node, c, |v| function(c, v))).collect();
        let constants_offset = append(&mut self.lowered.constants, &tables);
        let y = self.place_image(id)?;
        self.emit(program::Op::Table { x, y, constants_offset, per_channel: true });
        Ok(())
    }

    fn table(&self, id: NodeId, node: &Node, channel: usize, function: impl Fn(f32) -> f32) -> [u8; 256] {
        let quant = |id: NodeId| {
            let quant = self.activation(id);
            ActivationQuant { scale: quant.scale * equalize::factor(self.factors(id), channel), ..quant }
        };
        table::codes(quant(node.inputs[0]), quant(id), node.activation, function)
    }

    /// A window over `[N, C, H, W]` whose images lie one below the other.
    pub(super) fn window(&self, node: &Node, window: &Window) -> Result<RuntimeWindow, LowerError> {
        let images = self.dims(node.inputs[0])[0];
        let p = window.padding;
        let rows_keep_apart = window.kernel[0] == 1 && window.stride[0] == 1 && p.top == 0 && p.bottom == 0;
        if images != 1 && !rows_keep_apart {
            let what = format!(
                "window {window} over {images} images of one sample; 1 image, or a window of 1 row, is supported"
            );
            return Err(LowerError::Unsupported { node: node.name.clone(), what });
        }
        let pair = |values: [usize; 2]| Ok::<_, LowerError>([extent(node, values[0])?, extent(node, values[1])?]);
        let ([top, left], [bottom, right]) = (pair([p.top, p.left])?, pair([p.bottom, p.right])?);
        Ok(RuntimeWindow {
            kernel: pair(window.kernel)?,
            stride: pair(window.stride)?,
            dilation: pair(window.dilation)?,
            padding: [top, left, bottom, right],
        })
    }

    /// `x * mul[c] + add[c]` with one value a channel, or one for all.
    fn affine(
        &mut self,
        id: NodeId,
        node: &'q Node,
        mul: &[f32],
        add: &[f32],
        clip: Option<Clip>,
    ) -> Result<(), LowerError> {
        let operand = node.inputs[0];
        let uniform = |values: &[f32]| values.iter().all(|v| *v == values[0]);
        let (x, y, mul, add) = if uniform(mul) && uniform(add) && !self.have_factors(id, node) {
            let place = self.codes(operand)?;
            let extents = self.tensor_extents(place.tensor);
            let y = self.place(id, extents, place.strides)?;
            (place.tensor, y, vec![mul[0]; extents[2]], vec![add[0]; extents[2]])
        } else {
            let each =
                |values: &[f32]| values.iter().copied().cycle().take(node.shape.channels()).collect::<Vec<f32>>();
            (self.image(operand)?, self.place_image(id)?, each(mul), each(add))
        };
        let (from, to) = (self.activation(operand), self.activation(id));
        let ratio = f64::from(from.scale) / f64::from(to.scale);
        let mut constants = Vec::with_capacity(mul.len() * 8);
        let factor = |id: NodeId, channel: usize| f64::from(equalize::factor(self.factors(id), channel));
        for (c, m) in mul.into_iter().enumerate() {
            // A channel switched off keeps the smallest multiplier: |q - z| < 256 of it rounds to no step.
            let multiplier = (f64::from(m) * ratio * factor(operand, c) / factor(id, c)) as f32;
            let smallest = *MULTIPLIER_RANGE.start() * 1.000_001;
            let multiplier = if multiplier.abs() < smallest { smallest } else { multiplier };
            check_multiplier(node, multiplier.abs())?;
            constants.extend(multiplier.to_le_bytes());
        }
        for (c, a) in add.into_iter().enumerate() {
            let addend = (f64::from(a) / (f64::from(to.scale) * factor(id, c))) as f32;
            constants.extend(addend.clamp(-MAX_ADDEND, MAX_ADDEND).to_le_bytes());
        }
        let constants_offset = append(&mut self.lowered.constants, &constants);
        let (lo, hi) = self.quantized.clamp(id, clip);
        self.emit(program::Op::Affine { x, y, constants_offset, lo, hi });
        Ok(())
    }

    fn arithmetic(&mut self, id: NodeId, node: &'q Node, kind: BinaryKind) -> Result<(), LowerError> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let places = [self.codes(a)?, self.codes(b)?];
        let dims = node.shape.dims();
        // The result lies as an operand of its shape does, the first that is no constant if both are.
        let whole = |&i: &usize| self.dims(node.inputs[i]) == dims;
        let constant = |i: usize| matches!(self.graph_node(node.inputs[i]).op, Op::Constant(_));
        let leader = (0..2).filter(whole).min_by_key(|&i| constant(i));
        let y = match leader {
            Some(i) => self.place(id, self.tensor_extents(places[i].tensor), places[i].strides.clone())?,
            None => self.place_rows(id)?,
        };
        let strides_y = self.codes(id)?.strides;
        let [sa, sb] = [0, 1].map(|i| broadcast(self.dims(node.inputs[i]), &places[i].strides, dims));
        let axes: Vec<_> = order_of(&strides_y).into_iter().map(|axis| (dims[axis], [sa[axis], sb[axis]])).collect();
        let (extents, [strides_a, strides_b]) = joined(&axes);
        let words = |values: Vec<usize>| values.iter().map(|&v| extent(node, v)).collect::<Result<Vec<u32>, _>>();
        let (kind, [multiplier_a, multiplier_b]) = match kind {
            BinaryKind::Mul => {
                let scales = [a, b].map(|x| f64::from(self.activation(x).scale));
                let ratio = scales[0] * scales[1] / f64::from(self.activation(id).scale);
                (ArithmeticKind::Mul, [check_multiplier(node, ratio as f32)?, 1.0])
            }
            BinaryKind::Sub => (ArithmeticKind::Sub, [self.ratio(node, a, id)?, self.ratio(node, b, id)?]),
            BinaryKind::Min => (ArithmeticKind::Min, [self.ratio(node, a, id)?, self.ratio(node, b, id)?]),
            BinaryKind::Max => (ArithmeticKind::Max, [self.ratio(node, a, id)?, self.ratio(node, b, id)?]),
            _ => (ArithmeticKind::Add, [self.ratio(node, a, id)?, self.ratio(node, b, id)?]),
        };
        let (lo, hi) = self.quantized.clamp(id, node.activation);
        let (extents, strides_a, strides_b) = (words(extents)?, words(strides_a)?, words(strides_b)?);
        let [a, b] = places.map(|place| place.tensor);
        self.emit(program::Op::Arithmetic {
            kind,
            a,
            b,
            y,
            extents,
            strides_a,
            strides_b,
            multiplier_a,
            multiplier_b,
            lo,
            hi,
        });
        Ok(())
    }

    fn concat(&mut self, id: NodeId, node: &'q Node, axis: usize) -> Result<(), LowerError> {
        // All lie as the first that is no constant does.
        let leader = node.inputs.iter().copied().find(|&x| !matches!(self.graph_node(x).op, Op::Constant(_)));
        let leader = leader.unwrap_or(node.inputs[0]);
        let place = self.codes(leader)?;
        let y = self.place_like(id, leader, &place)?;
        let order = order_of(&self.codes(id)?.strides);
        let outer = order.iter().take_while(|&&other| other != axis).map(|&other| node.shape.dims()[other]).product();
        let (lo, hi) = self.quantized.clamp(id, node.activation);
        let mut xs = Vec::with_capacity(node.inputs.len());
        for &input in &node.inputs {
            let x = self.in_axis_order(input, &order)?;
            let rescale = (self.activation(input) != self.activation(id)).then(|| self.ratio(node, input, id));
            xs.push((x, rescale.transpose()?));
        }
        self.emit(program::Op::Concat { xs, y, outer: extent(node, outer)?, lo, hi });
        Ok(())
    }

    /// The codes of a node, dense in an order of axes.
    fn in_axis_order(&mut self, id: NodeId, order: &[usize]) -> Result<TensorId, LowerError> {
        let Place { tensor, strides } = self.codes(id)?;
        let dims = self.dims(id);
        let wanted = super::place::in_order(dims, order);
        if agree(dims, &strides, &wanted) {
            return Ok(tensor);
        }
        let (outer, inner) = order.split_at(order.len() - 1);
        let outer = outer.iter().map(|&axis| dims[axis]).product();
        self.ordered(id, wanted, [1, outer, dims[inner[0]]])
    }

    fn gather(&mut self, id: NodeId, node: &'q Node, maps: &[AxisMap]) -> Result<(), LowerError> {
        let operand = node.inputs[0];
        let x = self.codes(operand)?;
        let y = self.place_like(id, operand, &x)?;
        let fill = self.activation(operand).zero_point;
        let dims = node.shape.dims();
        let order = order_of(&self.codes(id)?.strides);
        let mut tables: Vec<Vec<u32>> = Vec::new();
        // What an axis of one position adds goes to another axis.
        let mut base = Some(0);
        for axis in order {
            let at = |position: usize| maps[axis].at(position).map(|p| (p * x.strides[axis]) as u32);
            if dims[axis] == 1 {
                base = base.zip(at(0)).map(|(base, own)| base + own);
            } else {
                tables.push((0..dims[axis]).map(|position| at(position).unwrap_or(FILL)).collect());
            }
        }
        let mut tables = at_least_one(tables);
        for entry in &mut tables[0] {
            *entry = match base {
                Some(base) if *entry != FILL => *entry + base,
                _ => FILL,
            };
        }
        self.emit(program::Op::Move { x: x.tensor, y, tables, fill });
        Ok(())
    }

    /// Strides of a node's result in the order of ONNX, for an axis map over floats.
    pub(super) fn float_tables(&self, operand: NodeId, maps: &[AxisMap]) -> Vec<Vec<u32>> {
        let dims = self.dims(operand);
        let strides = row_major(dims);
        let table = |(axis, map): (usize, &AxisMap)| {
            let extent = map.extent(dims[axis]);
            let at = |position: usize| map.at(position).map_or(FILL, |p| (p * strides[axis]) as u32);
            (0..extent).map(at).collect::<Vec<u32>>()
        };
        at_least_one(maps.iter().enumerate().map(table).collect())
    }
}
