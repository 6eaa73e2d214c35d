//! Weights that swing between two codes are held at the one that they favour (Nagel et al. 2022, arXiv 2203.11086, algorithm 1).
//!
//! A gradient that is passed straight through rounding pushes a weight whose best value lies between two codes over the border and back, at
//! every rate. What the others learn then follows a code that is another one at the end.

use super::layers::{RoundWeights, WeightRounding};
use super::network::{Network, Parameter};
use super::recording::Rounding;
use std::sync::Arc;

/// The weights of a run.
#[derive(Debug)]
pub(crate) struct Oscillations {
    momentum: f32,
    layers: Vec<Watched>,
}

/// The weights of a layer.
#[derive(Debug)]
struct Watched {
    weight: usize,
    steps: usize,
    rounding: Arc<RoundWeights>,
    /// One entry a weight, as all that follow.
    codes: Vec<i8>,
    /// Where the last change of the code went, -1 or 1, 0 before the first.
    directions: Vec<i8>,
    /// Moving average of the turns an update.
    turns: Vec<f32>,
    /// Moving average of the code.
    means: Vec<f32>,
    /// Whether the code is held, which `codes` then has.
    held: Vec<bool>,
}

impl Oscillations {
    /// Watches the layers whose codes follow from their steps.
    pub(crate) fn new(network: &Network, parameters: &[Parameter], rounding: &Rounding, momentum: f32) -> Self {
        let watched = network.layers().filter_map(|(_, layer)| {
            let (round, steps) = (&rounding.weights[layer.index], rounding.weight_steps[layer.index]);
            if round.rounding != WeightRounding::Steps {
                return None;
            }
            let codes = round.codes(&parameters[layer.weight].values, &parameters[steps].values);
            Some(Watched {
                weight: layer.weight,
                steps,
                rounding: Arc::clone(round),
                directions: vec![0; codes.len()],
                turns: vec![0.0; codes.len()],
                means: codes.iter().map(|&code| f32::from(code)).collect(),
                held: vec![false; codes.len()],
                codes,
            })
        });
        Oscillations { momentum, layers: watched.collect() }
    }

    /// Looks at the codes after an update; weights that turned more often than `borne` times an update are held from now on.
    pub(crate) fn after_update(&mut self, parameters: &mut [Parameter], borne: f32) {
        for layer in &mut self.layers {
            let steps = parameters[layer.steps].values.clone();
            layer.after_update(&mut parameters[layer.weight].values, &steps, self.momentum, borne);
        }
    }

    /// Weights that are held.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.held).filter(|&&held| held).count()
    }
}

impl Watched {
    fn after_update(&mut self, weights: &mut [f32], steps: &[f32], momentum: f32, borne: f32) {
        let new = self.rounding.codes(weights, steps);
        for (i, weight) in weights.iter_mut().enumerate() {
            let step = steps[i % steps.len()];
            if !self.held[i] {
                // No difference: that of two codes need not be one.
                let change = new[i].cmp(&self.codes[i]) as i8;
                let turned = change != 0 && change == -self.directions[i];
                if change != 0 {
                    self.directions[i] = change;
                }
                self.codes[i] = new[i];
                self.turns[i] += momentum * (f32::from(u8::from(turned)) - self.turns[i]);
                self.means[i] += momentum * (f32::from(new[i]) - self.means[i]);
                if self.turns[i] <= borne {
                    continue;
                }
                self.held[i] = true;
                self.codes[i] = self.means[i].round_ties_even() as i8;
            }
            *weight = f32::from(self.codes[i]) * step;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::kernels::simd::Isa;
    use crate::train::network::Role;

    /// One layer of two weights with a step of 1.
    fn watched() -> (Oscillations, Vec<Parameter>) {
        let rounding = RoundWeights { isa: Isa::detect(), max_code: 3.0, rounding: WeightRounding::Steps };
        let layer = Watched {
            weight: 0,
            steps: 1,
            rounding: Arc::new(rounding),
            codes: vec![1, 1],
            directions: vec![0; 2],
            turns: vec![0.0; 2],
            means: vec![1.0; 2],
            held: vec![false; 2],
        };
        let parameter = |values: &[f32], role| Parameter { values: values.to_vec(), role };
        let parameters = vec![parameter(&[1.0, 1.0], Role::Weight), parameter(&[1.0, 1.0], Role::WeightStep)];
        (Oscillations { momentum: 0.1, layers: vec![layer] }, parameters)
    }

    #[test]
    fn a_weight_that_swings_is_held_and_one_that_moves_on_is_not() {
        let (mut watched, mut parameters) = watched();
        for update in 0..60 {
            // The first spends two of three updates at 2, the second goes from 1 to 3.
            let moving = 1.0 + 0.03 * update as f32;
            parameters[0].values = vec![if update % 3 == 0 { 1.4 } else { 1.6 }, moving];
            watched.after_update(&mut parameters, 0.6);
        }
        assert_eq!(watched.held(), 1);
        assert_eq!(parameters[0].values[0], 2.0, "held in the middle of the code that it favours");
        assert!(parameters[0].values[1] > 2.5);
        // Its code stays when the step changes.
        parameters[1].values[0] = 0.5;
        watched.after_update(&mut parameters, 0.6);
        assert_eq!(parameters[0].values[0], 1.0);
    }

    #[test]
    fn nothing_is_held_where_turns_are_borne() {
        let (mut watched, mut parameters) = watched();
        for update in 0..20 {
            parameters[0].values = vec![if update % 2 == 0 { 1.4 } else { 1.6 }, 1.0];
            watched.after_update(&mut parameters, 1.0);
        }
        assert_eq!(watched.held(), 0);
    }
}
