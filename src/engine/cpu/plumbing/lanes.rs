//! A register of f32 lanes of each instruction set, so that a kernel is written once.
//!
//! Kernels are `#[inline(always)]` functions over [`Lanes`]; `kernel!` compiles them for each set.

/// A few floats that are computed with at once.
pub trait Lanes: Copy {
    /// How many.
    const COUNT: usize;
    /// All lanes `v`.
    fn splat(v: f32) -> Self;
    /// # Safety
    /// `COUNT` floats from `from` on can be read.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `COUNT` floats from `to` on can be written.
    unsafe fn store(self, to: *mut f32);
    /// Lane by lane.
    fn add(self, other: Self) -> Self;
    /// Lane by lane.
    fn sub(self, other: Self) -> Self;
    /// Lane by lane.
    fn mul(self, other: Self) -> Self;
    /// self * a + b, rounded once where the processor can.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// max(self, 0), where a NaN stays one.
    fn relu(self) -> Self;
}

impl Lanes for f32 {
    const COUNT: usize = 1;
    #[inline(always)]
    fn splat(v: f32) -> Self {
        v
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to = self }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self * a + b
    }
    #[inline(always)]
    fn relu(self) -> Self {
        crate::engine::cpu::layers::activation_kernels::relu(self)
    }
}

/// Four lanes that any compiler target vectorises.
impl Lanes for [f32; 4] {
    const COUNT: usize = 4;
    #[inline(always)]
    fn splat(v: f32) -> Self {
        [v; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] - other[i])
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] * other[i])
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] * a[i] + b[i])
    }
    #[inline(always)]
    fn relu(self) -> Self {
        self.map(crate::engine::cpu::layers::activation_kernels::relu)
    }
}

/// Implements [`Lanes`] for an x86 register type.
#[cfg(target_arch = "x86_64")]
macro_rules! x86_lanes {
    ($type:ident, $count:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident,
     $mul_add:ident, $max:ident, $zero:ident) => {
        // The intrinsics are only reached from kernels that `kernel!` compiled for a set that has them and that
        // `InstructionSet::available` has confirmed; that is why the unsafe blocks below hold.
        impl Lanes for std::arch::x86_64::$type {
            const COUNT: usize = $count;
            #[inline(always)]
            fn splat(v: f32) -> Self {
                // SAFETY: see above.
                unsafe { std::arch::x86_64::$splat(v) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: see above, and the caller's promise.
                unsafe { std::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: see above, and the caller's promise.
                unsafe { std::arch::x86_64::$store(to, self) }
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: see above.
                unsafe { std::arch::x86_64::$add(self, other) }
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: see above.
                unsafe { std::arch::x86_64::$sub(self, other) }
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: see above.
                unsafe { std::arch::x86_64::$mul(self, other) }
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                // SAFETY: see above.
                unsafe { std::arch::x86_64::$mul_add(self, a, b) }
            }
            #[inline(always)]
            fn relu(self) -> Self {
                // The second operand is what max returns where one is a NaN.
                // SAFETY: see above.
                unsafe { std::arch::x86_64::$max(std::arch::x86_64::$zero(), self) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86_lanes!(
    __m256,
    8,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    _mm256_max_ps,
    _mm256_setzero_ps
);
#[cfg(target_arch = "x86_64")]
x86_lanes!(
    __m512,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_max_ps,
    _mm512_setzero_ps
);

/// Defines an unsafe function from a body that is generic over [`Lanes`] and the constant `ROWS`, the rows of a
/// register block: it takes the instruction set first and runs the body with that set's registers.
macro_rules! kernel {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident<$lanes:ident>($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(set: $crate::engine::cpu::plumbing::simd::InstructionSet, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            unsafe fn body<$lanes: $crate::engine::cpu::plumbing::lanes::Lanes>($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($argument: $type),*) {
                // SAFETY: the caller's promise.
                unsafe { body::<std::arch::x86_64::__m512>($($argument),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($argument: $type),*) {
                // SAFETY: the caller's promise.
                unsafe { body::<std::arch::x86_64::__m256>($($argument),*) }
            }

            #[cfg(target_arch = "x86_64")]
            use $crate::engine::cpu::plumbing::simd::InstructionSet;
            match set {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `available` has just confirmed the instructions; the rest is the caller's promise.
                InstructionSet::Avx512 if set.available() => unsafe { avx512($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                InstructionSet::Avx2 if set.available() => unsafe { avx2($($argument),*) },
                // SAFETY: the caller's promise.
                _ => unsafe { body::<[f32; 4]>($($argument),*) },
            }
        }
    };
}
pub(crate) use kernel;
