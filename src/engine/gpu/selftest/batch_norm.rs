//! Batch normalisation with ReLU, pooled or not, against
//! [`reference::batch_norm`](crate::engine::cpu::reference::batch_norm), `relu` and `max_pool` in f64.

use super::comparison::{
    Check, activations, coarse, distance, execute, execute_part, narrow, padded, read_activations, rounding, stored,
    unpadded, unwritten, unwritten_activations, values, wide, worst, write_activations,
};
use crate::engine::cpu::reference::{batch_norm as twin, max_pool, relu};
use crate::engine::gpu::layers::batch_norm;
use crate::engine::gpu::layers::chunks::pooled;
use crate::engine::gpu::plumbing::device::{Gpu, Slice};
use crate::engine::gpu::plumbing::step::StepUniform;
use crate::error::Result;
use crate::vgg::Shape;

pub fn checks(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    for (shape, samples, mean) in [
        (Shape::new(2, 2, 3), 1, 0.0),
        (Shape::new(5, 7, 6), 3, 0.5),
        (Shape::new(8, 6, 5), 2, -3.0),
        (Shape::new(9, 4, 68), 5, 0.1),
        (Shape::new(17, 16, 12), 33, 0.0),
    ] {
        for pool in [false, true] {
            Case { shape, samples, pool, mean }.check(gpu, tell)?;
        }
    }
    far_from_zero(gpu, tell)
}

#[derive(Clone, Copy)]
struct Case {
    shape: Shape,
    samples: usize,
    pool: bool,
    /// Of z.
    mean: f32,
}

/// What the layer keeps on the device.
struct Tensors {
    gamma: Slice,
    beta: Slice,
    running_mean: Slice,
    running_variance: Slice,
    saved: Slice,
    scratch: Slice,
}

impl Tensors {
    fn new(gpu: &Gpu, case: &Case, [gamma, beta, mean, variance]: [&[f32]; 4]) -> Result<Self> {
        let c = case.shape.channels;
        Ok(Self {
            gamma: gpu.upload("gamma", &padded(gamma, c))?,
            beta: gpu.upload("beta", &padded(beta, c))?,
            running_mean: gpu.upload("running mean", &padded(mean, c))?,
            running_variance: gpu.upload("running variance", &padded(variance, c))?,
            saved: unwritten(gpu, batch_norm::saved_statistics(c))?,
            scratch: unwritten(gpu, batch_norm::scratch(case.shape, case.samples, gpu.half()))?,
        })
    }
}

impl Case {
    fn output(&self) -> Shape {
        if self.pool { pooled(self.shape) } else { self.shape }
    }

    /// ReLU and pooling of the twin: the result, and the way back for its gradient.
    fn activate(&self, mut y: Vec<f64>) -> (Vec<f64>, impl Fn(&[f64]) -> Vec<f64>) {
        relu::forward(&mut y);
        let mut maxima = vec![0.0; y.len() / self.shape.elements() * self.output().elements()];
        let origins = if self.pool { max_pool::forward(self.shape, &y, &mut maxima) } else { Vec::new() };
        let (result, pool) = (if self.pool { maxima } else { y.clone() }, self.pool);
        let back = move |dy: &[f64]| {
            let mut d = dy.to_vec();
            if pool {
                d = vec![0.0; y.len()];
                max_pool::backward(&origins, dy, &mut d);
            }
            relu::backward(&y, &mut d);
            d
        };
        (result, back)
    }

    fn check(&self, gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
        let Self { shape, samples, pool, mean } = *self;
        let c = shape.channels;
        let count = samples * shape.elements();
        // Pooling must see windows whose maxima are several.
        let z = if pool { coarse(1, count) } else { values(1, count) };
        let z = stored(gpu, z.into_iter().map(|v| v + mean).collect());
        let dy: Vec<f32> = values(2, samples * self.output().elements()).into_iter().map(|v| v + 0.2).collect();
        let dy = stored(gpu, dy);
        let gamma: Vec<f32> = values(3, c).into_iter().map(|v| v + 0.5).collect();
        let beta = values(4, c);
        let (running_mean, running_variance) = (values(5, c), vec![1.5; c]);

        let mut moved = (wide(&running_mean), wide(&running_variance));
        let mut y = vec![0.0; z.len()];
        let (wide_z, wide_gamma, wide_beta) = (wide(&z), wide(&gamma), wide(&beta));
        let saved = twin::forward_train(&wide_z, &wide_gamma, &wide_beta, &mut moved.0, &mut moved.1, &mut y);
        let (y, back) = self.activate(y);
        let (mut dz, mut d_gamma, mut d_beta) = (vec![0.0; z.len()], vec![0.0; c], vec![0.0; c]);
        twin::backward(&wide_z, &wide_gamma, &saved, &back(&wide(&dy)), &mut dz, &mut d_gamma, &mut d_beta);

        let tensors = Tensors::new(gpu, self, [&gamma, &beta, &running_mean, &running_variance])?;
        let (on_device, result) =
            (activations(gpu, "z", &padded(&z, c))?, unwritten_activations(gpu, padded(&narrow(&y), c).len())?);
        let how = if pool { ", pooled" } else { "" };
        let sizes = format!("{}, mean {mean}", super::comparison::sizes(shape, samples));
        let mut report = |variant: &str, error, allowed| {
            let variant = format!("{variant}{how}");
            tell(Check { operation: "batch_norm", variant, sizes: sizes.clone(), error, allowed });
        };
        let allowed = rounding(gpu, 3e-6);

        let calls = tensors.forward(gpu, shape, pool, &on_device, &result)?;
        execute(gpu, &calls, samples, StepUniform::default())?;
        let read = |slice: &Slice| Ok::<_, crate::error::Error>(unpadded(&gpu.read::<f32>(slice)?, c));
        let read_back = |slice: &Slice| Ok::<_, crate::error::Error>(unpadded(&read_activations(gpu, slice)?, c));
        report("forward", distance(&read_back(&result)?, &stored(gpu, narrow(&y))), allowed);
        let errors = [
            distance(&read(&tensors.running_mean)?, &narrow(&moved.0)),
            distance(&read(&tensors.running_variance)?, &narrow(&moved.1)),
        ];
        report("running statistics", worst(&errors), 3e-6);

        let gradient = activations(gpu, "dy", &padded(&dy, c))?;
        let width = c.next_multiple_of(4);
        let ours = [unwritten(gpu, width)?, unwritten(gpu, width)?];
        let gradients = batch_norm::Gradients {
            z: &on_device,
            dy: &gradient,
            saved: &tensors.saved,
            d_gamma: &ours[0],
            d_beta: &ours[1],
            scratch: &tensors.scratch,
        };
        let calls = batch_norm::backward(gpu, "backward", shape, pool, &gradients)?;
        let rewrite = |slice: &Slice| write_activations(gpu, slice, &padded(&z, c));
        for accumulate in [0, 1] {
            rewrite(&on_device)?;
            let step =
                StepUniform { samples: samples as u32, batch: 99, first: 5, accumulate, ..StepUniform::default() };
            execute_part(gpu, &calls, step)?;
            let times = |v: &[f64]| narrow(&v.iter().map(|v| v * f64::from(accumulate + 1)).collect::<Vec<_>>());
            let errors = [distance(&read(&ours[0])?, &times(&d_gamma)), distance(&read(&ours[1])?, &times(&d_beta))];
            let added = if accumulate == 1 { ", added" } else { "" };
            report(&format!("backward, parameters{added}"), worst(&errors), 3e-6);
            let error = distance(&read_back(&on_device)?, &stored(gpu, narrow(&dz)));
            report(&format!("backward{added}"), error, allowed);
        }

        // Inference, with the running statistics as they were.
        let mut y = vec![0.0; z.len()];
        let (mean, variance) = (wide(&running_mean), wide(&running_variance));
        twin::forward_inference(&wide_z, &wide_gamma, &wide_beta, &mean, &variance, &mut y);
        let (y, _) = self.activate(y);
        let tensors = Tensors::new(gpu, self, [&gamma, &beta, &running_mean, &running_variance])?;
        rewrite(&on_device)?;
        let calls = [
            batch_norm::frozen(gpu, "frozen", shape, &tensors.borrowed())?,
            batch_norm::apply(gpu, "apply", shape, pool, &on_device, &tensors.saved, &result)?,
        ];
        execute(gpu, &calls, samples, StepUniform::default())?;
        report("inference", distance(&read_back(&result)?, &stored(gpu, narrow(&y))), allowed);
        Ok(())
    }
}

impl Tensors {
    fn borrowed(&self) -> batch_norm::Tensors<'_> {
        let Self { gamma, beta, running_mean, running_variance, saved, .. } = self;
        batch_norm::Tensors { gamma, beta, running_mean, running_variance, saved }
    }

    fn forward(
        &self,
        gpu: &Gpu,
        shape: Shape,
        pool: bool,
        z: &Slice,
        y: &Slice,
    ) -> Result<Vec<crate::engine::gpu::plumbing::dispatch::Dispatch>> {
        Ok(vec![
            batch_norm::moments(gpu, "moments", shape, z, &self.scratch)?,
            batch_norm::join(gpu, "statistics", shape, &self.borrowed(), &self.scratch)?,
            batch_norm::apply(gpu, "apply", shape, pool, z, &self.saved, y)?,
        ])
    }
}

/// Mean 100, deviation 1, many pixels: what cancels must not reach the variance.
fn far_from_zero(gpu: &Gpu, tell: &mut dyn FnMut(Check)) -> Result<()> {
    let case = Case { shape: Shape::new(64, 64, 4), samples: 40, pool: false, mean: 100.0 };
    let spread = 3.0f32.sqrt(); // of a uniform distribution with deviation 1
    let z: Vec<f32> = values(7, case.samples * case.shape.elements()).iter().map(|v| v * spread + 100.0).collect();
    let z = stored(gpu, z);
    let ones = [1.0; 4];
    let (mut mean, mut variance, mut y) = (vec![0.0; 4], vec![0.0; 4], vec![0.0; z.len()]);
    twin::forward_train(&wide(&z), &wide(&ones), &[0.0; 4], &mut mean, &mut variance, &mut y);
    let tensors = Tensors::new(gpu, &case, [&ones, &[0.0; 4], &[0.0; 4], &[0.0; 4]])?;
    let (on_device, result) = (activations(gpu, "z", &z)?, unwritten_activations(gpu, z.len())?);
    let calls = tensors.forward(gpu, case.shape, false, &on_device, &result)?;
    execute(gpu, &calls, case.samples, StepUniform::default())?;
    let sizes = "64 x 64 x 4 x 40, mean 100, deviation 1".to_owned();
    let mut report = |variant: &str, error, allowed| {
        tell(Check { operation: "batch_norm", variant: variant.into(), sizes: sizes.clone(), error, allowed });
    };
    report("mean", distance(&gpu.read::<f32>(&tensors.running_mean)?, &narrow(&mean)), 2e-7);
    report("variance", distance(&gpu.read::<f32>(&tensors.running_variance)?, &narrow(&variance)), 1e-5);
    Ok(())
}
