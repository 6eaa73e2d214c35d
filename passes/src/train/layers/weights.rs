//! Rounding of weights to few codes during training.

use super::super::buffers::Buffers;
use super::super::kernels::simd::{Isa, vectorized};
use super::super::tape::{Differentiable, Gradient};
use super::step_gradient_scale;

/// How weights become codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightRounding {
    /// `rne(w / step)` with the gradient of LSQ for weight and step.
    Steps,
    /// `rne(max_code * tanh(w) / max |tanh|)` (DoReFa-Net, Zhou et al. 2016, with a zero level).
    Tanh,
}

/// `y = code * step[c]`: inputs w, `[row][channel]`, and the steps, one a channel.
#[derive(Debug)]
pub(crate) struct RoundWeights {
    pub(crate) isa: Isa,
    /// Largest code, 1 at 2 bits.
    pub(crate) max_code: f32,
    pub(crate) rounding: WeightRounding,
}

impl RoundWeights {
    /// The code of every weight, in the order of `w`.
    pub(crate) fn codes(&self, w: &[f32], steps: &[f32]) -> Vec<i8> {
        let tanh = self.tanh_factor(w);
        let channels = steps.len();
        let code = |(i, &w): (usize, &f32)| {
            let t = match self.rounding {
                WeightRounding::Steps => w / steps[i % channels],
                WeightRounding::Tanh => w.tanh() * tanh,
            };
            t.clamp(-self.max_code, self.max_code).round_ties_even() as i8
        };
        w.iter().enumerate().map(code).collect()
    }

    /// `max_code / max |tanh(w)|`.
    fn tanh_factor(&self, w: &[f32]) -> f32 {
        match self.rounding {
            WeightRounding::Steps => 0.0,
            WeightRounding::Tanh => {
                let largest = w.iter().fold(0.0f32, |m, w| m.max(w.abs())).tanh();
                self.max_code / largest.max(f32::MIN_POSITIVE)
            }
        }
    }
}

impl Differentiable for RoundWeights {
    fn forward(&self, inputs: &[&[f32]], _: &Buffers) -> Vec<f32> {
        let (w, steps) = (inputs[0], inputs[1]);
        match self.rounding {
            WeightRounding::Steps => {
                let mut y = vec![0.0; w.len()];
                round(self.isa, w, steps, self.max_code, &mut y);
                y
            }
            WeightRounding::Tanh => {
                let codes = self.codes(w, steps);
                codes.iter().enumerate().map(|(i, &c)| f32::from(c) * steps[i % steps.len()]).collect()
            }
        }
    }

    fn backward(&self, inputs: &[&[f32]], _: &[f32], dy: &[f32], _: &[bool], _: &Buffers) -> Vec<Option<Gradient>> {
        let (w, steps) = (inputs[0], inputs[1]);
        let mut dw = vec![0.0; w.len()];
        let mut dsteps = vec![0.0; steps.len()];
        match self.rounding {
            WeightRounding::Steps => {
                round_backward(self.isa, w, dy, steps, self.max_code, &mut dw, &mut dsteps);
                let scale = step_gradient_scale(w.len() / steps.len(), self.max_code);
                dsteps.iter_mut().for_each(|d| *d *= scale);
            }
            WeightRounding::Tanh => {
                let factor = self.tanh_factor(w);
                for (i, (dw, &w)) in dw.iter_mut().zip(w).enumerate() {
                    let tanh = w.tanh();
                    *dw = dy[i] * steps[i % steps.len()] * factor * (1.0 - tanh * tanh);
                }
            }
        }
        vec![Some(Gradient::Values(dw)), Some(Gradient::Values(dsteps))]
    }
}

vectorized! {
    fn round(w: &[f32], steps: &[f32], max_code: f32, y: &mut [f32]) {
        let n = steps.len();
        for (w, y) in w.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
            for i in 0..n {
                let t = w[i] / steps[i];
                let t = if t > max_code { max_code } else { t };
                let t = if t < -max_code { -max_code } else { t };
                y[i] = t.round_ties_even() * steps[i];
            }
        }
    }
}

vectorized! {
    /// `dw = dy` inside the codes' range, 0 outside; `dsteps += dy * (code - w / step)` inside, `dy * code` outside.
    fn round_backward(w: &[f32], dy: &[f32], steps: &[f32], max_code: f32, dw: &mut [f32], dsteps: &mut [f32]) {
        let n = steps.len();
        let dsteps = &mut dsteps[..n];
        for ((w, dy), dw) in w.chunks_exact(n).zip(dy.chunks_exact(n)).zip(dw.chunks_exact_mut(n)) {
            for i in 0..n {
                let t = w[i] / steps[i];
                let limited = if t > max_code { max_code } else { t };
                let limited = if limited < -max_code { -max_code } else { limited };
                let code = limited.round_ties_even();
                let inside = limited == t;
                dw[i] = if inside { dy[i] } else { 0.0 };
                dsteps[i] += dy[i] * (code - if inside { t } else { 0.0 });
            }
        }
    }
}
