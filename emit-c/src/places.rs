//! Where values lie while the C runs.

use releqc_runtime::program::{FloatId, Program, TensorId};

/// Where a float slot lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// In the caller's input, from this value on.
    Input(usize),
    /// In the caller's output.
    Output(usize),
    /// In a static buffer.
    Kept(usize),
}

/// Places of tensors and slots.
pub(crate) struct Places<'a> {
    program: &'a Program,
    slots: Vec<Slot>,
    /// Floats of the static buffer.
    pub(crate) kept_floats: usize,
}

/// An output that is written at the end, because its slot is somewhere else.
pub(crate) struct Copy {
    /// Where the values are.
    pub(crate) from: String,
    /// Where they go.
    pub(crate) to: String,
    /// How many.
    pub(crate) len: usize,
    /// Whether they are inputs, which may be anything.
    pub(crate) of_input: bool,
}

impl<'a> Places<'a> {
    /// Slots of outputs are written where the caller wants them; only what no caller sees is kept.
    pub(crate) fn new(program: &'a Program) -> Self {
        let mut slots: Vec<Option<Slot>> = vec![None; program.floats.len()];
        for (slot, range) in program.input_ranges() {
            slots[slot.0 as usize] = Some(Slot::Input(range.start));
        }
        for (start, slot) in outputs(program) {
            slots[slot.0 as usize].get_or_insert(Slot::Output(start));
        }
        let mut kept_floats = 0;
        let place = |(slot, of): (Option<Slot>, &releqc_runtime::program::FloatSlot)| {
            slot.unwrap_or_else(|| {
                let start = kept_floats;
                kept_floats += of.len as usize;
                Slot::Kept(start)
            })
        };
        let slots = slots.into_iter().zip(&program.floats).map(place).collect();
        Places { program, slots, kept_floats }
    }

    /// The first code of a tensor.
    pub(crate) fn tensor(&self, id: TensorId) -> String {
        format!("arena + {}", self.program.tensor(id).arena_offset)
    }

    /// The first value of a slot.
    pub(crate) fn slot(&self, id: FloatId) -> String {
        match self.slots[id.0 as usize] {
            Slot::Input(start) => format!("input + {start}"),
            Slot::Output(start) => format!("output + {start}"),
            Slot::Kept(start) => format!("kept + {start}"),
        }
    }

    /// Whether a slot is the caller's input.
    pub(crate) fn is_input(&self, id: FloatId) -> bool {
        matches!(self.slots[id.0 as usize], Slot::Input(_))
    }

    /// The outputs that no operator writes in place.
    pub(crate) fn copies(&self) -> Vec<Copy> {
        let elsewhere =
            outputs(self.program).filter(|(start, slot)| self.slots[slot.0 as usize] != Slot::Output(*start));
        elsewhere
            .map(|(start, slot)| Copy {
                from: self.slot(slot),
                to: format!("output + {start}"),
                len: self.program.float_len(slot),
                of_input: self.is_input(slot),
            })
            .collect()
    }
}

/// First value and slot of each output.
fn outputs(program: &Program) -> impl Iterator<Item = (usize, FloatId)> + '_ {
    program.outputs.iter().scan(0, |end, (port, slot)| {
        let start = *end;
        *end += port.len();
        Some((start, *slot))
    })
}
