//! Loops that the compiler vectorizes: one source, compiled for every instruction set.

/// Defines `fn $name(available) -> $kind`, which yields `$body` compiled for an instruction set. `$body` must be `#[inline(always)]`.
macro_rules! compiled {
    ($(#[$doc:meta])* $vis:vis fn $name:ident: $kind:ident($($arg:ident: $ty:ty),* $(,)?) = $body:path) => {
        /// The loop compiled for one instruction set; may be called where that was proved available.
        $vis type $kind = unsafe fn($($ty),*);

        $(#[$doc])*
        $vis fn $name(available: $crate::isa::Available) -> $kind {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $ty),*) {
                    $body($($arg),*);
                }

                #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $ty),*) {
                    $body($($arg),*);
                }

                use $crate::isa::Isa;
                match available.isa() {
                    Isa::Scalar => {}
                    Isa::Avx2 | Isa::Avx2Vnni => return avx2,
                    Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => return avx512,
                }
            }
            let _ = available;
            fn portable($($arg: $ty),*) {
                $body($($arg),*);
            }
            portable
        }
    };
}

pub(crate) use compiled;
