//! The probe of AMX: the CPU, the operating system's state, the kernel's permission, and known answers.
#![allow(unsafe_code, reason = "reads a control register and asks the kernel")]

use super::Avx512Vnni;
use crate::kernels::amx::{hardware::Hardware, self_test};
use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

/// Proof of AMX int8 tiles that this process may use, and of what [`Avx512Vnni`] proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amx(());

impl Amx {
    /// The proof, where all of this holds; the kernel is asked, and the tiles tried, once a process:
    /// CPUID has AMX-TILE and AMX-INT8; the operating system saves tiles; the Linux kernel permits this process to use them; products
    /// of tiles equal those of the emulation.
    pub(crate) fn probe() -> Option<Self> {
        static FOUND: OnceLock<Option<Amx>> = OnceLock::new();
        *FOUND.get_or_init(|| {
            Avx512Vnni::probe()?;
            if !(cpu_has_tiles() && system_saves_tiles() && kernel_permits_tiles()) {
                return None;
            }
            let amx = Amx(());
            self_test::agrees_with_emulation(&mut Hardware(amx)).then_some(amx)
        })
    }

    /// A token without proof, for a test that traps the instructions of tiles and emulates them.
    #[cfg(test)]
    pub(crate) fn for_trapped_instructions() -> Self {
        Amx(())
    }
}

/// CPUID leaf 7: EDX bit 24 is AMX-TILE, bit 25 AMX-INT8.
fn cpu_has_tiles() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
}

/// XCR0: bit 17 is the configuration of tiles, bit 18 their data.
fn system_saves_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const CONFIG_AND_DATA: u32 = 1 << 17 | 1 << 18;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let xcr0: u32;
    // SAFETY: OSXSAVE says that `xgetbv` may be executed; it reads register 0, which exists, and touches no memory.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _, options(nomem, nostack, preserves_flags)) };
    xcr0 & CONFIG_AND_DATA == CONFIG_AND_DATA
}

/// Asks Linux for permission to use the data of tiles: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`. It holds for all
/// threads of the process; kernels before 5.16 do not know the call and refuse.
fn kernel_permits_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call takes two integers and touches no memory of the process; it clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn no_token_without_every_part_of_the_proof() {
        let every = cpu_has_tiles() && system_saves_tiles();
        if Amx::probe().is_some() {
            assert!(every && kernel_permits_tiles() && Isa::Avx512Vnni.is_available());
        }
        if !every {
            assert!(Amx::probe().is_none());
            let refusal = Isa::Amx.require().unwrap_err().to_string();
            assert!(refusal.contains("amx") && refusal.contains("scalar"), "{refusal}");
        }
    }

    /// The answers of this machine's CPU and kernel, against what Linux says of them.
    #[test]
    fn the_probe_agrees_with_the_flags_of_linux() {
        let Ok(info) = std::fs::read_to_string("/proc/cpuinfo") else { return };
        let flags: Vec<&str> = info.lines().find(|line| line.starts_with("flags")).unwrap_or("").split(' ').collect();
        let listed = flags.contains(&"amx_tile") && flags.contains(&"amx_int8");
        assert_eq!(cpu_has_tiles() && system_saves_tiles(), listed);
    }

    #[test]
    fn a_kernel_without_tiles_refuses() {
        if !system_saves_tiles() {
            assert!(!kernel_permits_tiles());
        }
    }
}
