//! Pools over windows, over the whole image, and means over its axes.

use super::build::{Builder, Value};
use super::error::{Problem, invalid, unsupported};
use super::linear::windowed_shape;
use super::source::Step;
use super::window::{Fitted, WindowAttributes};
use crate::ir::{NodeId, Op, Padding, Shape, Window};

impl Builder<'_> {
    pub(super) fn max_pool(&mut self, step: &Step, attributes: &WindowAttributes) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let fitted = self.fit_pool(step, input, attributes, Padding::default())?;
        self.emit(step, Op::MaxPool(fitted.window), vec![input])
    }

    pub(super) fn average_pool(
        &mut self,
        step: &Step,
        attributes: &WindowAttributes,
        include: bool,
    ) -> Result<Value, Problem> {
        let input = self.padded_activation(step, 0)?;
        let own = self.fit_pool(step, input.node, attributes, input.padding)?;
        let outside = input.padding != Padding::default();
        if outside && !include && own.window.padding != input.padding {
            return Err(unsupported(
                "AveragePool with padding of its own after a Pad node; one of the two is supported",
            ));
        }
        let include = (include || outside) && own.window.padding != Padding::default();
        if own.enlarged && include {
            return Err(unsupported("AveragePool with ceil_mode and padding that counts; one of the two is supported"));
        }
        self.emit(step, Op::AveragePool { window: own.window, count_include_pad: include }, vec![input.node])
    }

    fn fit_pool(
        &self,
        step: &Step,
        input: NodeId,
        attributes: &WindowAttributes,
        more: Padding,
    ) -> Result<Fitted, Problem> {
        let [channels, height, width] = self.shape_of(input).chw();
        let spatial = self.result_dims(step)?.len().saturating_sub(2);
        let kernel = attributes.kernel.as_deref().unwrap_or_default();
        let fitted = attributes.fit(kernel, spatial, [height, width], more)?;
        if !fitted.window.every_position_sees_image(height, width) {
            return Err(invalid(format!("pool window {}; no position may lie in the padding alone", fitted.window)));
        }
        self.expect_shape(step, &windowed_shape(channels, fitted.window.output(height, width))?)?;
        Ok(fitted)
    }

    pub(super) fn global_pool(&mut self, step: &Step, max: bool) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let window = whole_image(self.shape_of(input));
        let op = if max { Op::MaxPool(window) } else { Op::AveragePool { window, count_include_pad: false } };
        self.emit(step, op, vec![input])
    }

    pub(super) fn reduce_mean(&mut self, step: &Step, axes: Option<&[i64]>, keep: bool) -> Result<Value, Problem> {
        let input = self.activation(step, 0)?;
        let rank = self.fact(step.input(0).unwrap_or_default()).map_or(0, |fact| fact.dims.len());
        let from_input = self.constant(step, 1)?.map(|axes| axes.data.iter().map(|&a| a as i64).collect::<Vec<i64>>());
        let axes = axes.map(<[i64]>::to_vec).or(from_input).unwrap_or_default();
        let signed = i64::try_from(rank).unwrap_or(0);
        let mut normal: Vec<i64> = axes.iter().map(|&a| if a < 0 { a + signed } else { a }).collect();
        normal.sort_unstable();
        if rank < 3 || normal != (2..signed).collect::<Vec<i64>>() {
            return Err(unsupported(format!(
                "ReduceMean over axes {axes:?} of {rank}; height and width are supported"
            )));
        }
        let [channels, ..] = self.shape_of(input).chw();
        let op = Op::AveragePool { window: whole_image(self.shape_of(input)), count_include_pad: false };
        let pooled = Shape::image(channels, 1, 1);
        if keep { self.emit(step, op, vec![input]) } else { self.emit_reshaped(step, op, vec![input], pooled) }
    }
}

fn whole_image(shape: &Shape) -> Window {
    let [_, height, width] = shape.chw();
    Window { kernel: [height, width], stride: [1, 1], dilation: [1, 1], padding: Padding::default() }
}
