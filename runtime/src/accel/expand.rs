//! Loops: a program's line of instructions, unrolled.
//!
//! The fetch unit does this; the queues see no loops. `LOOP` repeats the `length` instructions that follow it; the time
//! `i` (from 0) adds `i` times its steps to `first_output`, `channel` and `dram` of the body's instructions.

use super::error::AccelError;
use super::program::instruction_error;
use super::table::Instruction;

/// Bound on the instructions of an unrolled program.
pub(super) const MAX_STEPS: usize = 1 << 17;

/// What one time adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) outputs: u32,
    pub(super) channels: u32,
    pub(super) load: u32,
    pub(super) store: u32,
}

/// The instruction after `times` times; `None` where a field leaves its range.
pub(super) fn grown(instruction: &Instruction, growth: &Growth, times: u32) -> Option<Instruction> {
    let add =
        |value: &mut u32, step: u32| step.checked_mul(times).and_then(|n| value.checked_add(n)).map(|n| *value = n);
    let mut grown = *instruction;
    match &mut grown {
        Instruction::LoadWeights { first_output, .. } | Instruction::ExecuteHost { first_output, .. } => {
            add(first_output, growth.outputs)?;
        }
        Instruction::Execute { first_output, channel, .. } => {
            add(first_output, growth.outputs)?;
            add(channel, growth.channels)?;
        }
        Instruction::LoadActivations { dram, .. } => add(dram, growth.load)?,
        Instruction::Store { dram, .. } => add(dram, growth.store)?,
        _ => {}
    }
    Some(grown)
}

/// Whether an instruction may stand in a loop.
pub(super) fn is_repeatable(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::SetInput { .. }
            | Instruction::SetOutput { .. }
            | Instruction::SetPadding { .. }
            | Instruction::LoadWeights { .. }
            | Instruction::LoadActivations { .. }
            | Instruction::Execute { .. }
            | Instruction::ExecuteHost { .. }
            | Instruction::Store { .. }
    )
}

/// The unrolled instructions, each with its index in `body`.
///
/// # Errors
/// A loop in a loop, one that leaves the program or holds what it may not, a field that grows out of its range, or more than
/// [`MAX_STEPS`] instructions.
pub(super) fn expand(body: &[Instruction]) -> Result<Vec<(usize, Instruction)>, AccelError> {
    let mut unrolled = Vec::with_capacity(body.len());
    let mut at = 0;
    while let Some(instruction) = body.get(at) {
        let refused = |what: String| instruction_error(at, instruction, what);
        let Instruction::Loop { times, length, outputs, channels, load, store } = *instruction else {
            unrolled.push((at, *instruction));
            at += 1;
            continue;
        };
        let growth = Growth { outputs, channels, load, store };
        let (first, length) = (at + 1, usize::from(length));
        let repeated = body.get(first..first + length).filter(|body| !body.is_empty() && times > 0);
        let repeated = repeated.ok_or_else(|| refused("a body inside the program and one time are required".into()))?;
        if let Some(other) = repeated.iter().find(|other| !is_repeatable(other)) {
            return Err(refused(format!("{} must not stand in a loop", other.definition().mnemonic)));
        }
        if unrolled.len() + length * usize::from(times) > MAX_STEPS {
            return Err(refused(format!("more than {MAX_STEPS} instructions when unrolled")));
        }
        for time in 0..times {
            for (i, instruction) in repeated.iter().enumerate() {
                let next = grown(instruction, &growth, time.into());
                unrolled.push((first + i, next.ok_or_else(|| refused("a field grows out of its range".into()))?));
            }
        }
        at = first + length;
    }
    Ok(unrolled)
}
