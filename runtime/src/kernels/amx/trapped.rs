//! A tile unit for the compiled instructions on a machine that has none.
//!
//! The CPU refuses each of them with a signal; the handler decodes the bytes, lets the emulation do the work on the registers and addresses that
//! they name, and goes on behind them. So a test covers the very code that runs on the hardware: operand order, register numbers,
//! addresses, strides. The decoder is written from the opcode tables of Intel's manual, not from what the assembler gives.
//!
//! ```text
//! c4 | ~R ~X ~B mmmmm | W ~vvvv L pp | opcode | mod reg rm | scale index base | displacement       mmmmm = 2, W = L = 0
//!
//! ldtilecfg    49, pp 0, memory, reg 0          tdpbusd      5e, pp 1, C = reg, A = rm, B = vvvv
//! tilerelease  49, pp 0, mod reg rm = c0        tileloadd    4b, pp 3, register = reg, address = base, stride = index
//!                                               tilestored   4b, pp 2, likewise
//! ```
#![allow(unsafe_code, reason = "a signal handler")]

use super::emulated::Emulated;
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::Once;

const SIGILL: c_int = 4;
const SA_SIGINFO: c_int = 4;

/// `struct sigaction` of x86-64 Linux.
#[repr(C)]
struct SigAction {
    handler: usize,
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

/// The first fields of `ucontext_t` of x86-64 Linux.
#[repr(C)]
struct Context {
    flags: u64,
    link: usize,
    stack: [u64; 3],
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
    registers: [usize; 17],
}

/// Place in [`Context::registers`] of the register that an instruction names by a number.
const PLACES: [usize; 16] = [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7];
const RIP: usize = 16;

unsafe extern "C" {
    fn sigaction(signal: c_int, action: *const SigAction, old: *mut SigAction) -> c_int;
}

thread_local! {
    /// The unit of this thread while it has one, and how many instructions it was asked for.
    static UNIT: RefCell<Option<(Emulated, usize)>> = const { RefCell::new(None) };
}

/// Runs `work` with a tile unit; the number of instructions that the emulation did: 0 where the hardware did them.
pub(crate) fn with_tile_unit(work: impl FnOnce()) -> usize {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| install(answer as *const () as usize, SA_SIGINFO));
    UNIT.set(Some((Emulated::new(), 0)));
    work();
    UNIT.take().map_or(0, |(_, count)| count)
}

fn install(handler: usize, flags: c_int) {
    let action = SigAction { handler, mask: [0; 16], flags, restorer: 0 };
    // SAFETY: `action` has the layout of the C library; the handler has the signature that its flags promise.
    let result = unsafe { sigaction(SIGILL, &raw const action, std::ptr::null_mut()) };
    assert_eq!(result, 0, "sigaction");
}

/// The handler. What it cannot answer meets the default action when the instruction is tried again.
extern "C" fn answer(_: c_int, _: *mut c_void, context: *mut c_void) {
    // SAFETY: the kernel passes a `ucontext_t` that may be changed, and the instruction pointer points to the refused instruction, of at
    // most 15 bytes; a page behind it that cannot be read would have to begin within the longest of ours, 10 bytes.
    let (context, bytes) = unsafe {
        let context = &mut *context.cast::<Context>();
        let bytes = *(context.registers[RIP] as *const [u8; 10]);
        (context, bytes)
    };
    let registers = context.registers;
    let done = UNIT.with_borrow_mut(|unit| {
        let ((unit, count), (instruction, len)) = unit.as_mut().zip(decode(&bytes, &registers))?;
        *count += 1;
        perform(unit, instruction);
        Some(len)
    });
    match done {
        Some(len) => context.registers[RIP] += len,
        None => install(0, 0),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    Configure { from: usize },
    Release,
    Load { tile: usize, from: usize, stride: usize },
    Store { tile: usize, to: usize, stride: usize },
    Dot { c: usize, a: usize, b: usize },
}

fn perform(unit: &mut Emulated, instruction: Instruction) {
    // SAFETY: the addresses are those of the instruction, which would read and write the same bytes.
    unsafe {
        match instruction {
            Instruction::Configure { from } => unit.ldtilecfg(&*(from as *const [u8; 64])),
            Instruction::Release => unit.tilerelease(),
            Instruction::Load { tile, from, stride } => unit.tileloadd(tile, from as *const u8, stride),
            Instruction::Store { tile, to, stride } => unit.tilestored(tile, to as *mut u8, stride),
            Instruction::Dot { c, a, b } => unit.tdpbusd(c, a, b),
        }
    }
}

/// The instruction at the front of `bytes` and its length.
fn decode(bytes: &[u8; 10], registers: &[usize; 17]) -> Option<(Instruction, usize)> {
    let [0xc4, extensions, third, opcode, mod_rm, ..] = *bytes else { return None };
    let (w, l, pp) = (third >> 7, third >> 2 & 1, third & 3);
    if extensions & 31 != 2 || w != 0 || l != 0 || extensions & 0x80 == 0 {
        return None;
    }
    let vvvv = usize::from(!third >> 3 & 15);
    let (mode, reg, rm) = (mod_rm >> 6, usize::from(mod_rm >> 3 & 7), usize::from(mod_rm & 7));
    if (opcode, pp, mode) == (0x5e, 1, 3) {
        return (vvvv < 8 && extensions & 0x20 != 0).then_some((Instruction::Dot { c: reg, a: rm, b: vvvv }, 5));
    }
    if vvvv != 0 {
        return None;
    }
    if (opcode, pp, mod_rm) == (0x49, 0, 0xc0) {
        return Some((Instruction::Release, 5));
    }
    let (address, stride, len) = memory(bytes, registers)?;
    let instruction = match (opcode, pp) {
        (0x49, 0) if reg == 0 && stride.is_none() => Instruction::Configure { from: address },
        (0x4b, 3) => Instruction::Load { tile: reg, from: address, stride: stride? },
        (0x4b, 2) => Instruction::Store { tile: reg, to: address, stride: stride? },
        _ => return None,
    };
    Some((instruction, len))
}

/// Address without its index, the index times its scale where there is one, and the length of the instruction.
fn memory(bytes: &[u8; 10], registers: &[usize; 17]) -> Option<(usize, Option<usize>, usize)> {
    let (extensions, mod_rm) = (bytes[1], bytes[4]);
    let named = |number: u8, inverted: u8| {
        let high = if extensions & inverted == 0 { 8 } else { 0 };
        registers[PLACES[usize::from(number) + high]]
    };
    let (mode, rm) = (mod_rm >> 6, mod_rm & 7);
    let (base, index, at) = if rm == 4 {
        let (scale, index, base) = (bytes[5] >> 6, bytes[5] >> 3 & 7, bytes[5] & 7);
        if mode == 0 && base == 5 {
            return None;
        }
        let is_index = index != 4 || extensions & 0x40 == 0;
        (named(base, 0x20), is_index.then(|| named(index, 0x40) << scale), 6)
    } else {
        (named(rm, 0x20), None, 5)
    };
    let (displacement, len) = match mode {
        0 if rm == 5 => return None,
        0 => (0, at),
        1 => (isize::from(bytes[at].cast_signed()), at + 1),
        2 => {
            let word = i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            (word as isize, at + 4)
        }
        _ => return None,
    };
    Some((base.wrapping_add_signed(displacement), index, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Amx;
    use crate::kernels::amx::hardware::Hardware;
    use crate::kernels::amx::self_test;

    /// Bytes that two other assemblers give, GNU's and LLVM's.
    #[test]
    fn known_encodings_decode() {
        // Register number n holds 1000 n, rip nothing.
        let mut registers = [0; 17];
        (0..16).for_each(|number| registers[PLACES[number]] = 1000 * number);
        let check = |bytes: &[u8], expected| {
            let mut padded = [0x90; 10];
            padded[..bytes.len()].copy_from_slice(bytes);
            assert_eq!(decode(&padded, &registers), expected, "{bytes:02x?}");
        };
        use Instruction::*;
        // ldtilecfg [rdi], [rsp + 64], [r13]
        check(&[0xc4, 0xe2, 0x78, 0x49, 0x07], Some((Configure { from: 7000 }, 5)));
        check(&[0xc4, 0xe2, 0x78, 0x49, 0x44, 0x24, 0x40], Some((Configure { from: 4064 }, 7)));
        check(&[0xc4, 0xc2, 0x78, 0x49, 0x45, 0x00], Some((Configure { from: 13000 }, 6)));
        check(&[0xc4, 0xe2, 0x78, 0x49, 0xc0], Some((Release, 5)));
        // tileloadd tmm3, [rdi + rax]; tmm5, [r9 + r10 * 2 + 0x12345678]; tmm7, [rsp + r12 - 1]
        check(&[0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x07], Some((Load { tile: 3, from: 7000, stride: 0 }, 6)));
        check(
            &[0xc4, 0x82, 0x7b, 0x4b, 0xac, 0x51, 0x78, 0x56, 0x34, 0x12],
            Some((Load { tile: 5, from: 9000 + 0x1234_5678, stride: 20_000 }, 10)),
        );
        check(&[0xc4, 0xa2, 0x7b, 0x4b, 0x7c, 0x24, 0xff], Some((Load { tile: 7, from: 3999, stride: 12_000 }, 7)));
        // tilestored [rdi + rcx], tmm1
        check(&[0xc4, 0xe2, 0x7a, 0x4b, 0x0c, 0x0f], Some((Store { tile: 1, to: 7000, stride: 1000 }, 6)));
        // tdpbusd tmm0, tmm4, tmm6; tmm3, tmm5, tmm7
        check(&[0xc4, 0xe2, 0x49, 0x5e, 0xc4], Some((Dot { c: 0, a: 4, b: 6 }, 5)));
        check(&[0xc4, 0xe2, 0x41, 0x5e, 0xdd], Some((Dot { c: 3, a: 5, b: 7 }, 5)));
        // tdpbssd, tdpbsud, tdpbuud tmm0, tmm4, tmm6; tileloaddt1 tmm3, [rdi + rax]; sttilecfg [rdi]; ud2
        check(&[0xc4, 0xe2, 0x4b, 0x5e, 0xc4], None);
        check(&[0xc4, 0xe2, 0x4a, 0x5e, 0xc4], None);
        check(&[0xc4, 0xe2, 0x48, 0x5e, 0xc4], None);
        check(&[0xc4, 0xe2, 0x79, 0x4b, 0x1c, 0x07], None);
        check(&[0xc4, 0xe2, 0x79, 0x49, 0x07], None);
        check(&[0x0f, 0x0b], None);
    }

    #[test]
    fn the_instructions_give_known_answers() {
        let count = with_tile_unit(|| {
            let mut tiles = Hardware(Amx::for_trapped_instructions());
            assert!(self_test::agrees_with_emulation(&mut tiles));
        });
        // Four blocks of 26 instructions, unless this machine has a tile unit.
        assert!(count == 4 * 26 || Amx::probe().is_some(), "{count} instructions");
    }
}
