//! Vector registers behind one interface, and the proof that the processor has them.
//!
//! A kernel is written once, generic over [`Simd`], and compiled for each instruction set by [`Isa::run`]. The value of
//! an implementing type is the proof that its instructions exist: only [`Isa::detect`] makes one.
#![allow(unsafe_code, reason = "vector intrinsics and unchecked loads of float kernels")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A set of vector instructions over f32; holding a value proves that the processor has them.
pub(crate) trait Simd: Copy + Send + Sync {
    /// One register.
    type Register: Copy;
    /// Values in a register.
    const LANES: usize;

    /// All lanes equal to `x`.
    fn splat(self, x: f32) -> Self::Register;
    /// `a * b + c`; fused where the instruction set can.
    fn fma(self, a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register;
    /// `a * b`, rounded.
    fn mul(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// `a + b`.
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// # Safety
    /// `LANES` values are readable at `from`.
    unsafe fn load(self, from: *const f32) -> Self::Register;
    /// The first `count <= LANES` values, the other lanes 0.
    /// # Safety
    /// `count` values are readable at `from`.
    unsafe fn load_first(self, from: *const f32, count: usize) -> Self::Register;
    /// # Safety
    /// `LANES` values are writable at `to`.
    unsafe fn store(self, to: *mut f32, value: Self::Register);
    /// Writes the first `count <= LANES` lanes.
    /// # Safety
    /// `count` values are writable at `to`.
    unsafe fn store_first(self, to: *mut f32, value: Self::Register, count: usize);
}

/// Work that [`Isa::run`] compiles for every instruction set; `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// Performs the work with the given instructions.
    fn run<S: Simd>(self, simd: S);
}

/// A function over slices whose plain loops are compiled once for every instruction set; its first argument is the [`Isa`].
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident$(<const $flag:ident: bool>)?($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments, reason = "calls the copy whose instructions the token proves")]
        $vis fn $name$(<const $flag: bool>)?(isa: $crate::simd::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body$(<const $flag: bool>)?($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512$(<const $flag: bool>)?($($arg: $ty),*) { body$(::<$flag>)?($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2$(<const $flag: bool>)?($($arg: $ty),*) { body$(::<$flag>)?($($arg),*) }
            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the token proves the features the function is compiled for.
                $crate::simd::Isa::Avx512(_) => unsafe { avx512$(::<$flag>)?($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the token proves the features the function is compiled for.
                $crate::simd::Isa::Avx2(_) => unsafe { avx2$(::<$flag>)?($($arg),*) },
                _ => body$(::<$flag>)?($($arg),*),
            }
        }
    };
}
pub(crate) use vectorized;

/// Proof of AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

/// Proof of AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

/// Eight lanes in plain Rust.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// The instruction set that float kernels use.
#[derive(Clone, Copy, Debug)]
pub enum Isa {
    /// 16 lanes.
    Avx512(Avx512),
    /// 8 lanes.
    Avx2(Avx2),
    /// Whatever the compiler's base target offers.
    Portable(Portable),
}

/// Place of the chosen instruction set in [`Isa::available`].
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Makes the process compute with the instruction set of this name, see [`Isa::name`], in place of the widest. Sums of floats depend on it; to be
/// set while nothing is computed.
///
/// # Errors
/// Where this processor has none of this name; the text says what it has.
pub fn use_isa(name: &str) -> Result<(), String> {
    let available = Isa::available();
    let Some(place) = available.iter().position(|isa| isa.name() == name) else {
        let names: Vec<&str> = available.iter().map(Isa::name).collect();
        return Err(format!("{name}: this processor has {}", names.join(", ")));
    };
    CHOSEN.store(place, Ordering::SeqCst);
    Ok(())
}

impl Isa {
    /// The instruction set of this processor that is used: the widest, or what [`use_isa`] has chosen.
    pub fn detect() -> Isa {
        static FOUND: OnceLock<Vec<Isa>> = OnceLock::new();
        let found = FOUND.get_or_init(Isa::available);
        found[CHOSEN.load(Ordering::Relaxed)]
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(&self) -> &'static str {
        match self {
            Isa::Avx512(_) => "avx512",
            Isa::Avx2(_) => "avx2",
            Isa::Portable(_) => "portable",
        }
    }

    /// Every instruction set of this processor, the widest first.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                found.push(Isa::Avx512(Avx512(())));
            }
            if avx2 {
                found.push(Isa::Avx2(Avx2(())));
            }
        }
        found.push(Isa::Portable(Portable));
        found
    }

    /// Runs `kernel` compiled for this instruction set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the features the function is compiled for.
            Isa::Avx512(token) => unsafe { x86::run_avx512(token, kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the features the function is compiled for.
            Isa::Avx2(token) => unsafe { x86::run_avx2(token, kernel) },
            Isa::Portable(token) => kernel.run(token),
            #[cfg(not(target_arch = "x86_64"))]
            _ => kernel.run(Portable),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Avx2, Avx512, Kernel, Simd};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) unsafe fn run_avx512<K: Kernel>(token: Avx512, kernel: K) {
        kernel.run(token);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn run_avx2<K: Kernel>(token: Avx2, kernel: K) {
        kernel.run(token);
    }

    impl Simd for Avx512 {
        type Register = __m512;
        const LANES: usize = 16;

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            // SAFETY: the token proves AVX-512.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the token proves AVX-512.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn mul(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the token proves AVX-512.
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            // SAFETY: the token proves AVX-512.
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> __m512 {
            // SAFETY: the token proves AVX-512; the caller vouches for the address.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(self, from: *const f32, count: usize) -> __m512 {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm512_maskz_loadu_ps(lanes(count), from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, value: __m512) {
            // SAFETY: the token proves AVX-512; the caller vouches for the address.
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, value: __m512, count: usize) {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm512_mask_storeu_ps(to, lanes(count), value) }
        }
    }

    #[inline(always)]
    fn lanes(count: usize) -> __mmask16 {
        (0xFFFF_u32 >> (16 - count.min(16))) as __mmask16
    }

    /// A vector whose first `count` lanes are all ones.
    #[inline(always)]
    fn mask(_: Avx2, count: usize) -> __m256i {
        const BITS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: the token proves AVX2; eight values stand at any start 0..=8 of the sixteen.
        unsafe { _mm256_loadu_si256(BITS.as_ptr().add(8 - count.min(8)).cast()) }
    }

    impl Simd for Avx2 {
        type Register = __m256;
        const LANES: usize = 8;

        #[inline(always)]
        fn splat(self, x: f32) -> __m256 {
            // SAFETY: the token proves AVX2.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the token proves FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: the token proves AVX2.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: the token proves AVX2.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn load(self, from: *const f32) -> __m256 {
            // SAFETY: the token proves AVX2; the caller vouches for the address.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(self, from: *const f32, count: usize) -> __m256 {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm256_maskload_ps(from, mask(self, count)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32, value: __m256) {
            // SAFETY: the token proves AVX2; the caller vouches for the address.
            unsafe { _mm256_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, value: __m256, count: usize) {
            // SAFETY: as above; masked lanes are not accessed.
            unsafe { _mm256_maskstore_ps(to, mask(self, count), value) }
        }
    }
}

impl Simd for Portable {
    type Register = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    fn fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 8] {
        // SAFETY: the caller vouches for eight values.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, count: usize) -> [f32; 8] {
        // SAFETY: only lanes below `count` are read, which the caller vouches for.
        std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, value: [f32; 8]) {
        // SAFETY: the caller vouches for eight values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, value: [f32; 8], count: usize) {
        for (i, v) in value.into_iter().enumerate().take(count) {
            // SAFETY: only lanes below `count` are written, which the caller vouches for.
            unsafe { *to.add(i) = v };
        }
    }
}
