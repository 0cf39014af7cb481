//! The optimiser's update of parameters; shader `optimizer.wgsl`, twin
//! [`reference::optimizer`](crate::engine::cpu::reference::optimizer).

use crate::engine::gpu::plumbing::source::shader;
use std::ops::Range;

use super::loss_scaling::RECORD;
use crate::engine::Optimizer;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::dispatch::{Dispatch, spread};
use crate::engine::gpu::plumbing::source::Access::{Read, Write};
use crate::engine::gpu::plumbing::source::{Access, Constant, Source};
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;

const OPTIMIZER: &str = shader!("layers/optimizer");
const CLIPPED: &str = shader!("layers/optimizer_clipped");
const HOST: &str = shader!("layers/optimizer_host");
const PLAIN: &str = shader!("layers/optimizer_plain");
const ROUND: &str = shader!("layers/optimizer_round");
const SCALED: &str = shader!("layers/optimizer_scaled");

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

/// Puts what update `t` (from 1) needs of the learning rate into `step`, combined in f64 as PyTorch does.
#[expect(clippy::cast_possible_truncation, reason = "rounded once")]
pub fn rates(optimizer: &Optimizer, learning_rate: f32, t: u64, step: &mut StepUniform) {
    step.learning_rate = learning_rate;
    match *optimizer {
        Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. } => {
            let t = t as f64;
            step.step_size = (f64::from(learning_rate) / (1.0 - beta1.powf(t))) as f32;
            step.root_correction = (1.0 - beta2.powf(t)).sqrt() as f32;
        }
        Optimizer::Sgd { .. } => step.step_size = learning_rate,
    }
}

/// What parameters are updated from, all of the same length.
pub struct Tensors<'a> {
    /// To be updated.
    pub parameters: &'a Slice,
    /// As the backward pass left them.
    pub gradients: &'a Slice,
    /// As many as [`Optimizer::moments`] names.
    pub moments: &'a [Slice],
}

/// Where an update finds what the device itself has decided of it.
#[derive(Clone, Copy)]
pub enum Decided<'a> {
    /// Nothing.
    Plain,
    /// What gradients are multiplied by, in a record ([`gradient_norm::record`](super::gradient_norm::record)).
    Clipped(&'a Slice),
    /// That gradients are those of a scaled loss, and what is to be done with them, in a record
    /// ([`loss_scaling::decide`](super::loss_scaling::decide)); and the copy of the parameters that products read.
    Scaled([&'a Slice; 2]),
}

/// Calls that update a range of the parameters that begins at a multiple of 128 and has a multiple of four of them; in as
/// many parts as the adapter's largest binding asks for.
#[expect(clippy::cast_possible_truncation, reason = "rounded once; counts are below 2^32")]
pub fn update(
    gpu: &Gpu,
    optimizer: &Optimizer,
    range: &Range<usize>,
    tensors: &Tensors<'_>,
    decided: Decided<'_>,
) -> Result<Vec<Dispatch>> {
    let Tensors { parameters, gradients, moments } = *tensors;
    let (entry, name, mut dims) = match *optimizer {
        Optimizer::Adam { beta1, beta2, epsilon, weight_decay }
        | Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } => {
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
        Optimizer::Sgd { momentum, weight_decay, .. } => {
            let dims = Dims { momentum: momentum as f32, weight_decay: weight_decay as f32, ..Dims::default() };
            ("sgd", "optimizer sgd", dims)
        }
    };
    let (tail, access): (&[&'static str], &'static [Access]) = match (decided, moments.len()) {
        (Decided::Plain, 2) => (&[HOST, PLAIN], &[Read, Write, Write, Write]),
        (Decided::Plain, _) => (&[HOST, PLAIN], &[Read, Write, Write]),
        (Decided::Clipped(_), 2) => (&[RECORD, HOST, CLIPPED], &[Read, Write, Write, Write, Read]),
        (Decided::Clipped(_), _) => (&[RECORD, HOST, CLIPPED], &[Read, Write, Write, Read, Read]),
        (Decided::Scaled(_), 2) => (&[RECORD, SCALED], &[Read, Write, Write, Write, Read, Write]),
        (Decided::Scaled(_), _) => (&[RECORD, SCALED], &[Read, Write, Write, Read, Read, Write]),
    };
    let constants = vec![
        ("DECOUPLED", Constant::Bool(matches!(optimizer, Optimizer::AdamW { .. }))),
        ("NESTEROV", Constant::Bool(matches!(optimizer, Optimizer::Sgd { nesterov: true, .. }))),
    ];
    let source = Source { name, files: [&[OPTIMIZER], tail].concat(), constants, entry, access };
    let (record, rounded) = match decided {
        Decided::Plain => (None, None),
        Decided::Clipped(record) => (Some(record), None),
        Decided::Scaled([record, rounded]) => (Some(record), Some(rounded)),
    };
    // Its binding is the fifth. Where there is no second moment it takes that place too, and is not read there.
    let twice = record.filter(|_| moments.len() < 2);
    parts(gpu, range)
        .map(|(start, floats)| {
            dims.count = (floats / 4) as u32;
            let parts: Vec<Slice> =
                [gradients, parameters].into_iter().chain(moments).map(|s| s.part(start, floats)).collect();
            let rounded = rounded.map(|rounded| part_of_copy(gpu, rounded, start, floats));
            let parts: Vec<&Slice> = parts.iter().chain(twice).chain(record).chain(&rounded).collect();
            gpu.dispatch("update", &source, &dims, &parts, move |_| spread(floats.div_ceil(256), 1))
        })
        .collect()
}

/// (first, number) of the floats of each part of `range` that a shader can see at once; so aligned that the copy's are too.
pub(in crate::engine::gpu) fn parts(gpu: &Gpu, range: &Range<usize>) -> impl Iterator<Item = (usize, usize)> + use<> {
    let most = gpu.binding_floats() / 128 * 128;
    let end = range.end;
    range.clone().step_by(most).map(move |start| (start, most.min(end - start)))
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
    parts(gpu, &(0..parameters.floats()))
        .map(|(start, floats)| {
            let parts = [parameters.part(start, floats), part_of_copy(gpu, rounded, start, floats)];
            let dims = Dims { count: (floats / 4) as u32, ..Dims::default() };
            let grid = move |_| spread(floats.div_ceil(256), 1);
            gpu.dispatch("round", &source, &dims, &[&parts[0], &parts[1]], grid)
        })
        .collect()
}
