//! Checks of convolutions and of the loads of their weights.

use super::resolve::{Check, Layer, Registers, disjoint, inside, require, set};
use super::{Clamped, ConvStep, HostTensor, LanesOver, Operation, Sink, View, Weights};
use crate::BitWidth;
use crate::pack::{TILE_OUTPUTS, packed_len};
use crate::program::{Conv, Destination, Order, TensorId, Window};
use std::ops::Range;

/// Bytes of the weights of `outputs` channels.
fn packed(outputs: u32, depth: u64, bits: BitWidth) -> Check<u64> {
    let len = usize::try_from(depth).ok().and_then(|depth| packed_len(outputs as usize, depth, bits));
    Ok(len.ok_or("too many weights")? as u64)
}

fn depth(layer: &Layer, window: &Window, x: &View) -> Check<u64> {
    let taps = u64::from(window.kernel[0]) * u64::from(window.kernel[1]);
    taps.checked_mul((x.channels / layer.groups).into()).ok_or_else(|| "too many weights".into())
}

/// Channels of a layer, the first a multiple of 16.
fn channels(layer: &Layer, outputs: &Range<u32>) -> Check {
    require(outputs.start < outputs.end && outputs.end <= layer.outputs, || {
        format!("outputs {outputs:?}; the layer has {}", layer.outputs)
    })?;
    require((outputs.start as usize).is_multiple_of(TILE_OUTPUTS), || {
        format!("first output {}; a multiple of 16 is required", outputs.start)
    })
}

impl Registers<'_> {
    fn layer_and_input(&self) -> Check<(Layer, View)> {
        let (layer, x) = (set(self.layer, "SET_WEIGHTS")?, set(self.input, "SET_INPUT")?);
        let divides = |n: u32| n.is_multiple_of(layer.groups);
        require(divides(x.channels) && divides(layer.outputs), || {
            format!("{} groups must divide {} inputs and {} outputs", layer.groups, x.channels, layer.outputs)
        })?;
        Ok((layer, x))
    }

    pub(super) fn load_weights(&self, buffer: u32, slot: u16, first: u32, outputs: u32) -> Check<Operation> {
        let (layer, x) = self.layer_and_input()?;
        let (window, _) = self.window(&x)?;
        let range = first..first.checked_add(outputs).ok_or("too many outputs")?;
        channels(&layer, &range)?;
        let depth = depth(&layer, &window, &x)?;
        let before = packed(first, depth, layer.bits)?;
        let len = packed(outputs, depth, layer.bits)?;
        let start = layer.weights.checked_add(before).ok_or("the weights lie too far")?;
        let source = inside("weights section", start, len, self.sections.weights)?;
        inside("weight buffer", buffer.into(), len, self.memories.weights)?;
        let constants = self.constants(layer.constants, layer.outputs)?;
        let bias = constants.start + 4 * first as usize;
        let slots = inside("constants buffer", slot.into(), outputs.into(), self.memories.slots)?;
        let multipliers = bias + 4 * layer.outputs as usize;
        Ok(Operation::LoadWeights { source, buffer: buffer as usize, constants: [bias, multipliers], slots })
    }

    pub(super) fn conv_of_tile(
        &mut self,
        sink: Sink,
        [weights, slot]: [u32; 2],
        outputs: Range<u32>,
        channel: u32,
    ) -> Check<ConvStep> {
        let (layer, x) = self.layer_and_input()?;
        require(x.range().end <= self.memories.buffer, || "its input must lie in the activation buffer".into())?;
        let (window, extent) = self.window(&x)?;
        channels(&layer, &outputs)?;
        let count = outputs.end - outputs.start;
        let [rows, columns] = extent;
        match sink {
            Sink::Codes(Clamped { view: y, .. }) => {
                require(y.range().end <= self.memories.buffer, || {
                    "its result must lie in the activation buffer".into()
                })?;
                disjoint(&x, &y)?;
                let fits = channel.checked_add(count).is_some_and(|end| end <= y.channels);
                require(fits && [y.height, y.width] == extent, || {
                    let (h, w, c) = (y.height, y.width, y.channels);
                    format!("{count} channels at {channel} of a result {h}x{w}x{c}; it yields {rows}x{columns}")
                })?;
            }
            Sink::Host { extent: [height, width], first_row, .. } => {
                let fits = first_row.checked_add(rows).is_some_and(|end| end <= height) && columns == width;
                let (_, [_, _, whole]) = set(self.host_sink, "SET_HOST")?;
                require(fits && whole == layer.outputs, || {
                    format!("{rows}x{columns} at row {first_row} of a host tensor {height}x{width}x{whole}")
                })?;
            }
        }
        let depth = depth(&layer, &window, &x)?;
        self.work(&[window.kernel[0], window.kernel[1], x.channels / layer.groups, rows, columns, count])?;
        let len = packed(count, depth, layer.bits)?;
        let bytes = inside("weight buffer", weights.into(), len, self.memories.weights)?;
        let slots = inside("constants buffer", slot.into(), count.into(), self.memories.slots)?;
        let lanes_over = match layer.lanes_over {
            0 => LanesOver::Channels,
            1 => LanesOver::Taps,
            2 => {
                let whole = window.kernel == [x.height, x.width] && window.dilation == [1, 1] && layer.groups == 1;
                require(whole && window.padding == [0; 4], || {
                    "lanes over the depth require one group and a kernel that covers its input".into()
                })?;
                LanesOver::Depth
            }
            other => return Err(format!("lanes_over {other}; 0, 1 or 2 is required")),
        };
        Ok(ConvStep {
            x,
            sink,
            extent,
            window,
            layer_outputs: layer.outputs,
            outputs,
            channel,
            groups: layer.groups,
            bits: layer.bits,
            weights: Weights::Buffer { bytes, slots },
            lanes_over,
        })
    }

    /// A whole layer of the plan, for the vector unit. The plan was verified.
    pub(super) fn conv_of_plan(&mut self, conv: &Conv, places: &[(TensorId, usize)]) -> Check<ConvStep> {
        let network = self.network;
        let view = |id: TensorId| {
            let t = network.tensor(id);
            let address = places.iter().find(|(place, _)| *place == id).map_or(0, |&(_, address)| address);
            View { address, height: t.height, width: t.width, channels: t.channels, zero_point: t.zero_point }
        };
        let (x, extent) = (view(conv.x), network.conv_output(conv));
        let sink = match conv.destination {
            Destination::Codes { y, lo, hi } => Sink::Codes(Clamped { view: view(y), lo, hi }),
            Destination::Logits { y, order } => {
                let channel_last = order == Order::Same;
                let tensor = HostTensor { first: self.host_places[y.0 as usize], channel_last };
                Sink::Host { tensor, extent, first_row: 0 }
            }
        };
        let [rows, columns] = extent;
        let [kernel_height, kernel_width] = conv.window.kernel;
        self.work(&[kernel_height, kernel_width, x.channels / conv.groups, rows, columns, conv.outputs])?;
        let depth = conv.depth(network.tensor(conv.x)) as u64;
        let len = packed(conv.outputs, depth, conv.bits)?;
        let weights = inside("weights section", conv.weights_offset, len, self.sections.weights)?;
        let constants = self.constants(conv.constants_offset, conv.outputs)?;
        Ok(ConvStep {
            x,
            sink,
            extent,
            window: conv.window,
            layer_outputs: conv.outputs,
            outputs: 0..conv.outputs,
            channel: 0,
            groups: conv.groups,
            bits: conv.bits,
            weights: Weights::Section { weights, constants },
            lanes_over: LanesOver::Channels,
        })
    }
}
