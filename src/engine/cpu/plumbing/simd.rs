//! Which vector instructions the engine uses, and functions compiled once for each of them.
//!
//! The choice is made when an engine is built and never changes within it, so that its bits do not either.

/// A set of vector instructions, from the least to the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// What the compiler's target guarantees.
    Portable,
    /// AVX2 and FMA: 8 floats at a time.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 floats at a time.
    Avx512,
}

impl InstructionSet {
    /// The best that this processor has.
    pub fn detect() -> Self {
        [Self::Avx512, Self::Avx2].into_iter().find(|set| set.available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let (avx2, avx512) = (
            std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma"),
            std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl"),
        );
        #[cfg(not(target_arch = "x86_64"))]
        let (avx2, avx512) = (false, false);
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2,
            Self::Avx512 => avx2 && avx512,
        }
    }

    /// "avx512", "avx2" or "portable".
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// Defines a function whose loops the compiler vectorises for each instruction set; the generated function takes
/// the set as its first argument and runs its version, or the portable one where the processor lacks it.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(set: $crate::engine::cpu::plumbing::simd::InstructionSet, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($argument: $type),*) {
                body($($argument),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($argument: $type),*) {
                body($($argument),*);
            }

            #[cfg(target_arch = "x86_64")]
            use $crate::engine::cpu::plumbing::simd::InstructionSet;
            match set {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `available` has just confirmed the instructions that this version was compiled for.
                InstructionSet::Avx512 if set.available() => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                InstructionSet::Avx2 if set.available() => unsafe { avx2($($argument),*) },
                _ => body($($argument),*),
            }
        }
    };
}
pub(crate) use vectorised;

#[cfg(test)]
mod tests {
    use super::*;

    vectorised! {
        fn double(values: &mut [f32]) {
            for v in values {
                *v *= 2.0;
            }
        }
    }

    #[test]
    fn every_set_computes_the_same() {
        for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
            let mut values: Vec<f32> = (0..37u8).map(f32::from).collect();
            double(set, &mut values);
            assert!(values.iter().zip(0..37u8).all(|(v, i)| *v == 2.0 * f32::from(i)), "{}", set.name());
        }
    }

    #[test]
    fn portable_is_always_there() {
        assert!(InstructionSet::Portable.available());
        assert!(InstructionSet::detect().available());
    }
}
