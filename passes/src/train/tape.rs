//! Own layers on Burn's automatic differentiation.
//!
//! A layer is a [`Differentiable`]: forward and backward over flat f32 slices. One Burn backend extension runs any of
//! them, so that a new layer needs no further code here. Tensors on the tape are flat; their extents belong to the layers.

use super::buffers::Buffers;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Dispatch, Flex, backend_extension};
use burn::tensor::{Device, Tensor, TensorData};
use std::fmt::Debug;
use std::sync::Arc;

/// The gradient a layer hands to one of its inputs.
pub enum Gradient {
    /// Its values.
    Values(Vec<f32>),
    /// That of an earlier input.
    SameAs(usize),
}

/// A layer over flat slices.
pub trait Differentiable: Debug + Send + Sync {
    /// The output for these inputs.
    fn forward(&self, inputs: &[&[f32]], buffers: &Buffers) -> Vec<f32>;

    /// For each wanted input its gradient, from the inputs, the output and the gradient of the output.
    fn backward(
        &self,
        inputs: &[&[f32]],
        output: &[f32],
        dy: &[f32],
        wanted: &[bool],
        buffers: &Buffers,
    ) -> Vec<Option<Gradient>>;
}

/// A layer with the buffers its tensors come from and return to.
#[derive(Clone, Debug)]
pub struct Call {
    layer: Arc<dyn Differentiable>,
    buffers: Arc<Buffers>,
}

/// Backends that can run a [`Differentiable`] on 1 to 4 tensors.
#[backend_extension(Autodiff, Flex)]
pub trait LayerBackend: burn::backend::Backend {
    /// A layer of one input.
    fn layer1(a: FloatTensor<Self>, call: Call) -> FloatTensor<Self>;
    /// A layer of two inputs.
    fn layer2(a: FloatTensor<Self>, b: FloatTensor<Self>, call: Call) -> FloatTensor<Self>;
    /// A layer of three inputs.
    fn layer3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>, call: Call) -> FloatTensor<Self>;
    /// A layer of four inputs.
    fn layer4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self>;
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("tensors on the tape are contiguous f32")
}

fn tensor(values: Vec<f32>) -> FlexTensor {
    let len = values.len();
    FlexTensor::from_data(TensorData::new(values, [len]))
}

fn run<const N: usize>(inputs: [&FlexTensor; N], call: &Call) -> FlexTensor {
    tensor(call.layer.forward(&inputs.map(slice), &call.buffers))
}

impl LayerBackend for Flex {
    fn layer1(a: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        run([&a], &call)
    }
    fn layer2(a: FloatTensor<Self>, b: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        run([&a, &b], &call)
    }
    fn layer3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        run([&a, &b, &c], &call)
    }
    fn layer4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        run([&a, &b, &c, &d], &call)
    }
}

type Recorded<C> = FloatTensor<Autodiff<Flex, C>>;

impl<C: CheckpointStrategy> LayerBackend for Autodiff<Flex, C> {
    fn layer1(a: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        record::<C, 1>([a], call)
    }
    fn layer2(a: FloatTensor<Self>, b: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        record::<C, 2>([a, b], call)
    }
    fn layer3(a: FloatTensor<Self>, b: FloatTensor<Self>, c: FloatTensor<Self>, call: Call) -> FloatTensor<Self> {
        record::<C, 3>([a, b, c], call)
    }
    fn layer4(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        call: Call,
    ) -> FloatTensor<Self> {
        record::<C, 4>([a, b, c, d], call)
    }
}

/// What the backward pass of a layer needs.
#[derive(Clone, Debug)]
struct Saved<const N: usize> {
    call: Call,
    inputs: [FlexTensor; N],
    output: FlexTensor,
}

#[derive(Debug)]
struct LayerBackward;

impl<const N: usize> Backward<Flex, N> for LayerBackward {
    type State = Saved<N>;

    fn backward(self, ops: Ops<Saved<N>, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let dy = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let Saved { call, inputs, output } = ops.state;
        let Call { layer, buffers } = call;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let slices = inputs.each_ref().map(slice);
        let mut made: Vec<Option<FlexTensor>> = Vec::with_capacity(N);
        for gradient in layer.backward(&slices, slice(&output), slice(&dy), &wanted, &buffers) {
            made.push(match gradient {
                None => None,
                Some(Gradient::Values(values)) => Some(tensor(values)),
                Some(Gradient::SameAs(input)) => made[input].clone(),
            });
        }
        for (parent, gradient) in ops.parents.into_iter().zip(made) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                gradients.register::<Flex>(parent.id, gradient);
            }
        }
        // Whatever nobody else holds any more serves the next layers.
        for tensor in inputs.into_iter().chain([output, dy]) {
            if tensor.is_unique()
                && let Ok(values) = tensor.into_data().try_into_vec()
            {
                buffers.give(values);
            }
        }
    }
}

fn record<C: CheckpointStrategy, const N: usize>(inputs: [Recorded<C>; N], call: Call) -> Recorded<C> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let inputs = inputs.map(|input| input.into_primitive());
    let output = run(inputs.each_ref(), &call);
    match LayerBackward.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(Saved { call, inputs, output: output.clone() }, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// A constant on the tape.
pub(crate) fn constant(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

/// The values of a tensor.
pub(crate) fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors on the tape are f32")
}

/// Runs a layer on 1 to 4 tensors.
///
/// # Panics
/// On another number of inputs, which no layer here has.
pub(crate) fn apply(layer: Arc<dyn Differentiable>, inputs: &[&Tensor<1>], buffers: &Arc<Buffers>) -> Tensor<1> {
    let call = Call { layer, buffers: Arc::clone(buffers) };
    let d = |i: usize| inputs[i].clone().into_dispatch();
    Tensor::from_dispatch(match inputs.len() {
        1 => <Dispatch as LayerBackend>::layer1(d(0), call),
        2 => <Dispatch as LayerBackend>::layer2(d(0), d(1), call),
        3 => <Dispatch as LayerBackend>::layer3(d(0), d(1), d(2), call),
        4 => <Dispatch as LayerBackend>::layer4(d(0), d(1), d(2), d(3), call),
        n => unreachable!("a layer reads 1 to 4 tensors, not {n}"),
    })
}
