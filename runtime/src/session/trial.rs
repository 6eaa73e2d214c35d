//! A trial at load: which form of a layer runs faster on this machine. Both give the same bytes.

use super::layout::Room;
use super::weights::Form;
use crate::format::Artifact;
use crate::kernels::conv::PART_OUTPUTS;
use crate::kernels::{AlignedBytes, Borrowed, Input, Kernel, run_alone};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Turns of each form. The first meets its pages for the first time, and it takes some until both lie in the shared cache as in a run.
const TURNS: usize = 8;

/// Turns where widened codes take [`LARGE`] bytes or more: those come from memory in every run.
const FEW_TURNS: usize = 3;

/// See [`FEW_TURNS`].
const LARGE: usize = 8 << 20;

/// Bytes that are read between turns, at most: in a network the other layers' weights pass through the caches before a layer runs again.
const BETWEEN: usize = 32 << 20;

/// Bytes of widened codes that a trial compares at most, whole parts of them: enough that they do not stay in the cache, and widened soon.
const MOST_BYTES: usize = 16 << 20;

/// Outputs of a layer that a trial compares, where widened codes of one take `output_bytes` bytes.
pub(super) fn outputs(output_bytes: usize) -> usize {
    let parts = MOST_BYTES / (PART_OUTPUTS * output_bytes).max(1);
    parts.max(1) * PART_OUTPUTS
}

/// What decides how fast a layer's forms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) bits: u8,
    pub(super) windows: usize,
    pub(super) depth: usize,
    pub(super) outputs: usize,
}

/// The trials of one plan.
#[derive(Default)]
pub(super) struct Trials {
    decided: Vec<(Shape, Form)>,
}

impl Trials {
    /// What an earlier trial of such a layer said.
    pub(super) fn decided(&self, shape: Shape) -> Option<Form> {
        self.decided.iter().find(|(decided, _)| *decided == shape).map(|(_, form)| *form)
    }

    /// The form whose kernel takes less time in its best turn, widened where it is a matter of noise.
    pub(super) fn faster(
        &mut self,
        shape: Shape,
        [packed, widened]: [&dyn Kernel; 2],
        artifact: &Artifact,
        room: Room,
    ) -> Form {
        let (mut codes, mut floats) = (AlignedBytes::zeroed(room.codes), vec![0.0; room.floats]);
        let mut memory = Borrowed::new(&mut codes, &mut floats, Input::Floats(&[]));
        let others = artifact.weights_section();
        let others = &others[..others.len().min(BETWEEN)];
        let mut best = [Duration::MAX; 2];
        let turns = if widened.weight_bytes() < LARGE { TURNS } else { FEW_TURNS };
        for _ in 0..turns {
            for (best, kernel) in best.iter_mut().zip([packed, widened]) {
                black_box(others.iter().step_by(64).fold(0u8, |sum, byte| sum ^ byte));
                let start = Instant::now();
                run_alone(kernel, &mut memory);
                *best = start.elapsed().min(*best);
            }
        }
        // Noise is a few hundredths. Widened codes are at worst as slow as those of 8 bits.
        let form = if best[0] * 103 / 100 < best[1] { Form::InPlace } else { Form::Widened };
        self.decided.push((shape, form));
        form
    }
}
