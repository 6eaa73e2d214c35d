//! Tokens: which instruction of one queue waits for which of another.
//!
//! A queue executes in order, so an instruction needs at most one token of a queue: that of the last instruction it depends on. Needs
//! are met in rising order, so the n-th token taken is the n-th given.

use crate::accel::table::Instruction;
use std::ops::Range;

/// Instructions under construction, with the uses of the buffers so far.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) instructions: Vec<Instruction>,
    /// The last instruction of the load and the store queue that the execute queue has waited for, and the last of the
    /// execute queue that each of them has waited for.
    execute_after_load: Option<usize>,
    execute_after_store: Option<usize>,
    load_after_execute: Option<usize>,
    store_after_execute: Option<usize>,
    weights: Uses,
    activations: Uses,
}

/// Who used which bytes, in order. What is forgotten counts as a use of all bytes.
#[derive(Default)]
struct Uses {
    kept: Vec<(Range<u32>, usize)>,
    forgotten: Option<usize>,
}

impl Uses {
    /// Uses kept: no more tiles than these are in flight.
    const KEPT: usize = 8;

    fn last(&self, range: &Range<u32>) -> Option<usize> {
        let overlaps = |other: &Range<u32>| other.start < range.end && range.start < other.end;
        self.kept.iter().filter(|(other, _)| overlaps(other)).map(|(_, at)| *at).max().max(self.forgotten)
    }

    fn push(&mut self, range: Range<u32>, at: usize) {
        self.kept.retain(|(other, _)| !(range.start <= other.start && other.end <= range.end));
        if self.kept.len() == Self::KEPT {
            self.forgotten = Some(self.kept.remove(0).1).max(self.forgotten);
        }
        self.kept.push((range, at));
    }
}

/// Whether a need is later than what has been waited for.
fn is_new(need: Option<usize>, met: &mut Option<usize>) -> Option<usize> {
    let need = need.filter(|need| met.is_none_or(|met| *need > met))?;
    *met = Some(need);
    Some(need)
}

impl Stream {
    pub(super) fn push(&mut self, instruction: Instruction) {
        self.instructions.push(instruction);
    }

    /// Appends a load of weights into `bytes`, after the last use of them.
    pub(super) fn load_weights(&mut self, mut load: Instruction, bytes: &Range<u32>) -> usize {
        let need = is_new(self.weights.last(bytes), &mut self.load_after_execute);
        if let (Some(user), Instruction::LoadWeights { wait_execute, .. }) = (need, &mut load) {
            *wait_execute = true;
            self.signal(user, Queue::Load);
        }
        self.push(load);
        self.instructions.len() - 1
    }

    /// Appends a load of activations into `bytes`, after the last use of them.
    pub(super) fn load_activations(&mut self, mut load: Instruction, bytes: &Range<u32>) -> usize {
        let need = is_new(self.activations.last(bytes), &mut self.load_after_execute);
        if let (Some(user), Instruction::LoadActivations { wait_execute, .. }) = (need, &mut load) {
            *wait_execute = true;
            self.signal(user, Queue::Load);
        }
        self.push(load);
        self.instructions.len() - 1
    }

    /// Appends an execution after a load and after a store; it uses `weights` and `input`.
    pub(super) fn execute(
        &mut self,
        mut execute: Instruction,
        [load, store]: [Option<usize>; 2],
        weights: Range<u32>,
        input: Option<Range<u32>>,
    ) -> usize {
        let load = is_new(load, &mut self.execute_after_load);
        let store = is_new(store, &mut self.execute_after_store);
        if let Instruction::Execute { wait_load, wait_store, .. }
        | Instruction::ExecuteHost { wait_load, wait_store, .. } = &mut execute
        {
            (*wait_load, *wait_store) = (load.is_some(), store.is_some());
        }
        load.into_iter().chain(store).for_each(|at| self.signal(at, Queue::Execute));
        let at = self.instructions.len();
        self.push(execute);
        self.weights.push(weights, at);
        if let Some(input) = input {
            self.activations.push(input, at);
        }
        at
    }

    /// Appends a store after an execution.
    pub(super) fn store(&mut self, mut store: Instruction, after: usize) -> usize {
        let need = is_new(Some(after), &mut self.store_after_execute);
        if let (Some(user), Instruction::Store { wait_execute, .. }) = (need, &mut store) {
            *wait_execute = true;
            self.signal(user, Queue::Store);
        }
        self.push(store);
        self.instructions.len() - 1
    }

    fn signal(&mut self, at: usize, to: Queue) {
        match &mut self.instructions[at] {
            Instruction::LoadWeights { signal_execute, .. }
            | Instruction::LoadActivations { signal_execute, .. }
            | Instruction::Store { signal_execute, .. } => *signal_execute = true,
            Instruction::Execute { signal_load, signal_store, .. }
            | Instruction::ExecuteHost { signal_load, signal_store, .. } => {
                if to == Queue::Load {
                    *signal_load = true;
                } else {
                    *signal_store = true;
                }
            }
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Queue {
    Load,
    Execute,
    Store,
}
