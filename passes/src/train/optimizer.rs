//! Updates of the parameters.

use super::network::{Parameter, Role};
use super::recipe::{Optimizer, Recipe};

/// The moving averages of every parameter.
pub(crate) struct Updates {
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    step: i32,
}

/// Smallest step relative to where it started; a step must stay positive.
const SMALLEST_STEP: f32 = 0.05;

/// Norm, per value, that a parameter counts with at least: biases start at 0.
const LEAST_NORM: f32 = 1e-3;

/// The factor that brings a gradient to at most `largest` times the norm of its parameter.
fn clip(values: &[f32], gradient: &[f32], largest: f32) -> f32 {
    let norm = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let least = f64::from(LEAST_NORM) * (values.len() as f64).sqrt();
    let largest = f64::from(largest) * norm(values).max(least);
    let seen = norm(gradient);
    if seen > largest { (largest / seen) as f32 } else { 1.0 }
}

impl Updates {
    pub(crate) fn new(parameters: &[Parameter], recipe: &Recipe) -> Self {
        let zeros = || parameters.iter().map(|p| vec![0.0; p.values.len()]).collect::<Vec<_>>();
        let second = match recipe.optimizer {
            Optimizer::Adam => zeros(),
            // The steps at the start, as the floor of later ones.
            Optimizer::Sgd { .. } => Vec::new(),
        };
        Updates { first: zeros(), second, step: 0 }
    }

    /// Moves every parameter that has a gradient.
    pub(crate) fn apply(
        &mut self,
        parameters: &mut [Parameter],
        start: &[Parameter],
        gradients: &[Option<Vec<f32>>],
        recipe: &Recipe,
        learning_rate: f32,
    ) {
        self.step += 1;
        for (i, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
            let Some(gradient) = gradient else { continue };
            // One batch that overflows must not cost the run.
            if gradient.iter().any(|g| !g.is_finite()) {
                continue;
            }
            let decay = if parameter.role == Role::Weight { recipe.weight_decay } else { 0.0 };
            let first = &mut self.first[i];
            let clip = clip(&parameter.values, gradient, recipe.largest_gradient);
            match recipe.optimizer {
                Optimizer::Sgd { momentum } => {
                    for ((w, v), g) in parameter.values.iter_mut().zip(first).zip(gradient) {
                        let g = clip * g + decay * *w;
                        *v = momentum * *v + g;
                        *w -= learning_rate * (g + momentum * *v);
                    }
                }
                Optimizer::Adam => {
                    let correction = [1.0 - 0.9f32.powi(self.step), 1.0 - 0.999f32.powi(self.step)];
                    let second = &mut self.second[i];
                    for (((w, m), v), g) in parameter.values.iter_mut().zip(first).zip(second).zip(gradient) {
                        let g = clip * g;
                        *m = 0.9 * *m + 0.1 * g;
                        *v = 0.999 * *v + 0.001 * g * g;
                        let update = *m / correction[0] / ((*v / correction[1]).sqrt() + 1e-8);
                        *w -= learning_rate * (update + decay * *w);
                    }
                }
            }
            if matches!(parameter.role, Role::WeightStep | Role::ActivationStep) {
                for (step, start) in parameter.values.iter_mut().zip(&start[i].values) {
                    *step = step.max(SMALLEST_STEP * start);
                }
            }
        }
    }
}
