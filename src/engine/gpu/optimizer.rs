//! The optimiser's update of all parameters; shader `optimizer.wgsl`, twin
//! [`reference::optimizer`](crate::engine::cpu::reference::optimizer).

use super::device::{Gpu, Slice, Step};
use super::dispatch::{Dispatch, spread};
use super::program::Access::{Read, Write};
use super::program::{Access, Source};
use crate::engine::Optimizer;
use crate::error::Result;

const OPTIMIZER: &str = include_str!("../../../shaders/optimizer.wgsl");
const PLAIN: &str = include_str!("../../../shaders/optimizer_plain.wgsl");
const ROUND: &str = include_str!("../../../shaders/optimizer_round.wgsl");
const SCALED: &str = include_str!("../../../shaders/optimizer_scaled.wgsl");

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Dims {
    count: u32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    momentum: f32,
    unused: u32,
}

/// Puts what step `t` (from 1) needs of the learning rate into `step`, combined in f64 as PyTorch does.
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub fn rates(optimizer: &Optimizer, learning_rate: f32, t: u64, step: &mut Step) {
    match *optimizer {
        Optimizer::Adam { beta1, beta2, .. } => {
            let t = t as f64;
            step.step_size = (f64::from(learning_rate) / (1.0 - beta1.powf(t))) as f32;
            step.root_correction = (1.0 - beta2.powf(t)).sqrt() as f32;
        }
        Optimizer::Sgd { .. } => step.step_size = learning_rate,
    }
}

/// Calls that update `parameters` from `gradients` with `moments` (as many as [`Optimizer::moments`] names), all of the
/// same length, a multiple of four; in as many parts as the adapter's largest binding asks for. With `scaled`, gradients
/// are those of a scaled loss, and what is done with them stands in the first of its two
/// ([`loss_scaling::decide`](super::loss_scaling::decide)); the second is the copy of the parameters that products read.
#[expect(clippy::cast_possible_truncation, reason = "rounded once; counts are below 2^32")]
pub fn update(
    gpu: &Gpu,
    optimizer: &Optimizer,
    parameters: &Slice,
    gradients: &Slice,
    moments: &[Slice],
    scaled: Option<[&Slice; 2]>,
) -> Result<Vec<Dispatch>> {
    let (entry, name, mut dims) = match *optimizer {
        Optimizer::Adam { beta1, beta2, epsilon, weight_decay } => {
            let dims = Dims {
                one_minus_beta1: (1.0 - beta1) as f32,
                beta2: beta2 as f32,
                one_minus_beta2: (1.0 - beta2) as f32,
                epsilon: epsilon as f32,
                weight_decay: weight_decay as f32,
                ..Dims::default()
            };
            ("adam", "optimizer adam", dims)
        }
        Optimizer::Sgd { momentum, weight_decay } => {
            let dims = Dims { momentum: momentum as f32, weight_decay: weight_decay as f32, ..Dims::default() };
            ("sgd", "optimizer sgd", dims)
        }
    };
    let (files, access): (Vec<&'static str>, &'static [Access]) = match (scaled, moments.len()) {
        (None, 2) => (vec![OPTIMIZER, PLAIN], &[Read, Write, Write, Write]),
        (None, _) => (vec![OPTIMIZER, PLAIN], &[Read, Write, Write]),
        (Some(_), 2) => (vec![OPTIMIZER, SCALED], &[Read, Write, Write, Write, Read, Write]),
        (Some(_), _) => (vec![OPTIMIZER, SCALED], &[Read, Write, Write, Read, Read, Write]),
    };
    let source = Source { name, files, constants: Vec::new(), entry, access };
    // Its binding is the fifth. Where there is no second moment it takes that place too, and is not read there.
    let scaling = scaled.map(|[scaling, _]| scaling);
    let twice = scaling.filter(|_| moments.len() < 2);
    parts(gpu, parameters.floats())
        .map(|(start, floats)| {
            dims.count = (floats / 4) as u32;
            let parts: Vec<Slice> =
                [gradients, parameters].into_iter().chain(moments).map(|s| s.part(start, floats)).collect();
            let rounded = scaled.map(|[_, rounded]| part_of_copy(gpu, rounded, start, floats));
            let parts: Vec<&Slice> = parts.iter().chain(twice).chain(scaling).chain(&rounded).collect();
            gpu.dispatch("update", &source, &dims, &parts, move |_| spread(floats.div_ceil(256), 1))
        })
        .collect()
}

/// (first, number) of the floats of each part of `total` that a shader can see at once; so aligned that the copy's are too.
fn parts(gpu: &Gpu, total: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
    let most = gpu.binding_floats() / 128 * 128;
    (0..total).step_by(most).map(move |start| (start, most.min(total - start)))
}

/// Of the copy of the parameters, what stands for `floats` of them from `start` on.
fn part_of_copy(gpu: &Gpu, copy: &Slice, start: usize, floats: usize) -> Slice {
    let words = |numbers| gpu.capabilities().words(numbers);
    copy.part(words(start), words(floats))
}

/// Makes the copy in f16 of `parameters` that products read, where no update has made it.
pub fn round(gpu: &Gpu, parameters: &Slice, rounded: &Slice) -> Result<Vec<Dispatch>> {
    let source = Source {
        name: "optimizer round",
        files: vec![ROUND],
        constants: Vec::new(),
        entry: "round_all",
        access: &[Read, Write],
    };
    parts(gpu, parameters.floats())
        .map(|(start, floats)| {
            let parts = [parameters.part(start, floats), part_of_copy(gpu, rounded, start, floats)];
            let dims = Dims { count: (floats / 4) as u32, ..Dims::default() };
            let grid = move |_| spread(floats.div_ceil(256), 1);
            gpu.dispatch("round", &source, &dims, &[&parts[0], &parts[1]], grid)
        })
        .collect()
}
