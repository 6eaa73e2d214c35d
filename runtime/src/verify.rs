//! What every executor relies on: checked once when an artifact is loaded, whoever wrote it.
//!
//! Fields alone are checked by the table ([`crate::ops`]); here is what binds several: places, extents, quantization, the ranges of strides
//! and tables, and the work of all operators together.

mod arena;
mod codes;
mod floats;
mod sections;
mod strided;
pub(crate) mod work;

use crate::FormatError;
use crate::error::quoted;
use crate::ops::Operand;
use crate::ops::field::{Check, require};
use crate::program::{FloatId, Op, Port, Program, Tensor, TensorId};
use sections::Sections;

pub use work::{MAX_WORK, steps};

/// Largest extent of any axis, kernel, stride or dilation; most values of an input or output.
pub const MAX_EXTENT: u32 = 1 << 24;

/// Most extents of an input or output.
pub const MAX_DIMS: usize = 8;

/// Multipliers are normal numbers in this range, so that a caller's flush-to-zero mode cannot change a code or a logit.
pub const MULTIPLIER_RANGE: std::ops::RangeInclusive<f32> = 9.094_947e-13..=1_048_576.0; // 2^-40, 2^20

/// Largest magnitude of an affine addend, in steps.
pub const MAX_ADDEND: f32 = 1_048_576.0;

/// Checks a decoded program against the sections it points into.
///
/// # Errors
/// The first violation, with the operator and what is required.
pub fn program(program: &Program, constants: &[u8], weights: &[u8]) -> Result<(), FormatError> {
    let mut checker = Checker {
        program,
        sections: Sections::new(constants, weights),
        written: vec![None; program.tensors.len()],
        last_read: vec![0; program.tensors.len()],
        float_written: vec![false; program.floats.len()],
        work: 0,
    };
    checker.tensors()?;
    checker.inputs()?;
    for (at, op) in program.ops.iter().enumerate() {
        let name = || match op {
            Op::Conv(conv) => format!("operator {at} ({} {})", op.label(), quoted(&conv.name)),
            _ => format!("operator {at} ({})", op.label()),
        };
        checker.op(at, op).map_err(|what| FormatError::malformed(name(), what))?;
    }
    checker.outputs()?;
    checker.all_written()?;
    arena::check(program, &checker.written, &checker.last_read)
}

struct Checker<'a> {
    program: &'a Program,
    sections: Sections<'a>,
    /// The operator that wrote each tensor.
    written: Vec<Option<usize>>,
    /// The last operator that reads each tensor.
    last_read: Vec<usize>,
    float_written: Vec<bool>,
    /// Elementary steps of the operators so far.
    work: u64,
}

impl Checker<'_> {
    fn inputs(&mut self) -> Result<(), FormatError> {
        let program = self.program;
        if program.inputs.is_empty() {
            return Err(FormatError::malformed("plan section", "no input; at least one is required"));
        }
        let mut values = 0u64;
        for (input, slot) in &program.inputs {
            values += port(input)? as u64;
            let defined = self.define_floats(*slot).and_then(|()| self.same_len(input, *slot));
            defined.map_err(|what| FormatError::malformed(format!("input {}", quoted(&input.name)), what))?;
        }
        let what = || format!("{values} values of all inputs; at most {MAX_EXTENT} are allowed");
        if values > MAX_EXTENT.into() { Err(FormatError::malformed("plan section", what())) } else { Ok(()) }
    }

    fn outputs(&self) -> Result<(), FormatError> {
        let program = self.program;
        if program.outputs.is_empty() {
            return Err(FormatError::malformed("plan section", "no output; at least one is required"));
        }
        for (output, slot) in &program.outputs {
            port(output)?;
            let held = self.floats_are_written(*slot).and_then(|()| self.same_len(output, *slot));
            held.map_err(|what| FormatError::malformed(format!("output {}", quoted(&output.name)), what))?;
        }
        Ok(())
    }

    fn tensors(&self) -> Result<(), FormatError> {
        for (i, t) in self.program.tensors.iter().enumerate() {
            let extents = [t.height, t.width, t.channels];
            let bytes = extents.iter().try_fold(1u32, |len, &e| len.checked_mul(e)).unwrap_or(0);
            let fits = t.arena_offset.checked_add(bytes).is_some_and(|end| end <= self.program.arena_bytes);
            let error = |what: String| Err(FormatError::malformed(format!("tensor {i} ({})", quoted(&t.name)), what));
            if bytes == 0 || extents.iter().any(|&e| e > MAX_EXTENT) {
                return error(format!("extents {extents:?} are out of range"));
            }
            if !fits {
                return error(format!(
                    "{bytes} bytes at {} leave the arena of {}",
                    t.arena_offset, self.program.arena_bytes
                ));
            }
            if !(t.scale.is_normal() && t.scale > 0.0) {
                return error(format!("scale {}; a positive normal number is required", t.scale));
            }
        }
        Ok(())
    }

    fn all_written(&self) -> Result<(), FormatError> {
        if let Some(i) = self.written.iter().position(Option::is_none) {
            let name = quoted(&self.program.tensors[i].name);
            return Err(FormatError::malformed(format!("tensor {i} ({name})"), "is never written"));
        }
        if let Some(i) = self.float_written.iter().position(|&written| !written) {
            return Err(FormatError::malformed(format!("float slot {i}"), "is never written"));
        }
        Ok(())
    }

    fn op(&mut self, at: usize, op: &Op) -> Check {
        op.check_fields()?;
        let mut found = Ok(());
        op.operands(&mut |operand| {
            if found.is_ok() {
                found = self.operand(at, operand);
            }
        });
        found?;
        self.codes(op)?;
        self.floats(op)?;
        self.sections.claim(self.program, op)?;
        self.work = self.work.saturating_add(work::of_operator(self.program, op));
        require(self.work <= MAX_WORK, || {
            format!("{} steps of this operator and those before; at most 2^42 are allowed", self.work)
        })
    }

    /// What is read exists and was written before; what is written exists and was not.
    fn operand(&mut self, at: usize, operand: Operand) -> Check {
        match operand {
            Operand::Reads(id) => {
                self.tensor(id)?;
                let written = self.written[id.0 as usize].is_some();
                require(written, || format!("tensor {} is read before it is written", id.0))?;
                self.last_read[id.0 as usize] = at;
            }
            Operand::Writes(id) => {
                self.tensor(id)?;
                let first = self.written[id.0 as usize].replace(at).is_none();
                require(first, || format!("tensor {} is written twice", id.0))?;
                self.last_read[id.0 as usize] = at;
            }
            Operand::ReadsFloats(id) => self.floats_are_written(id)?,
            Operand::WritesFloats(id) => self.define_floats(id)?,
        }
        Ok(())
    }

    fn tensor(&self, id: TensorId) -> Check<&Tensor> {
        self.program.tensors.get(id.0 as usize).ok_or_else(|| format!("tensor {} does not exist", id.0))
    }

    fn floats_are_written(&self, id: FloatId) -> Check {
        let written = self.float_written.get(id.0 as usize).copied();
        let written = written.ok_or_else(|| format!("float slot {} does not exist", id.0))?;
        require(written, || format!("float slot {} is read before it is written", id.0))
    }

    fn define_floats(&mut self, id: FloatId) -> Check {
        let written = self.float_written.get_mut(id.0 as usize);
        let written = written.ok_or_else(|| format!("float slot {} does not exist", id.0))?;
        require(!std::mem::replace(written, true), || format!("float slot {} is written twice", id.0))?;
        require(self.program.float_len(id) > 0, || format!("float slot {} holds nothing", id.0))
    }

    fn same_len(&self, port: &Port, id: FloatId) -> Check {
        let (len, slot) = (port.len(), self.program.float_len(id));
        require(slot == len, || format!("{len} values stated, float slot {} holds {slot}", id.0))
    }
}

/// Checks the extents of a port; yields the number of values.
fn port(port: &Port) -> Result<u32, FormatError> {
    let len = port.dims.iter().try_fold(1u32, |len, &d| len.checked_mul(d)).unwrap_or(0);
    if port.dims.len() > MAX_DIMS || len == 0 || len > MAX_EXTENT {
        let shown = &port.dims[..port.dims.len().min(MAX_DIMS)];
        let what = format!(
            "{} extents, {shown:?}; at most {MAX_DIMS} extents of 1..={MAX_EXTENT} values in all are required",
            port.dims.len()
        );
        return Err(FormatError::malformed(format!("port {}", quoted(&port.name)), what));
    }
    Ok(len)
}
