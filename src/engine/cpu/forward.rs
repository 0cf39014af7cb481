//! The forward pass: step after step, each over all micro-batches, so that batch normalisation can see the whole batch.

use std::mem::take;
use std::time::Instant;

use super::layers::activation::{self, Activation};
use super::layers::cross_entropy;
use super::layers::{average_pool, linear, local_response_normalisation, max_pool};
use super::layout::{Norm, Step, Work};
use super::network::{CpuNetwork, lap, statistics_of};
use super::plumbing::buffer::Buffer;
use super::products::shape::Workspace;
use super::samples::{Samples, elements};
use crate::engine::peers::Peers;
use crate::engine::random::DropoutMask;
use crate::engine::sample::Target;
use crate::engine::tree;
use crate::error::Result;

/// How a training passes.
#[derive(Clone, Copy)]
pub struct Training<'a> {
    /// Seed of the dropout masks.
    pub seed: u64,
    /// Steps done.
    pub done: u64,
    /// With whom statistics of the whole batch are taken; none where each micro-batch has its own.
    pub together: Option<&'a dyn Peers>,
}

impl CpuNetwork {
    /// Input to logits. In training, batch statistics and dropout are used; in inference and in frozen steps, running
    /// statistics and none.
    pub fn forward(&mut self, samples: &Samples, training: Option<Training<'_>>) -> Result<()> {
        let steps = take(&mut self.layout.steps);
        let done =
            steps.iter().enumerate().try_for_each(|(index, step)| self.forward_step(samples, index, step, training));
        self.layout.steps = steps;
        done
    }

    /// Inference of `n` samples up to the average pooling: what that is given, [n, height, width, channels].
    pub fn features(&mut self, n: usize) -> Result<&[f32]> {
        let steps = take(&mut self.layout.steps);
        let end = steps.iter().position(|s| matches!(s.work, Work::AveragePool { .. })).unwrap_or_default();
        let samples = Samples::all(n);
        let done = steps[..end]
            .iter()
            .enumerate()
            .try_for_each(|(index, step)| self.forward_step(&samples, index, step, None));
        let (slot, len) = (steps[end].x, n * steps[end].stage.input.elements());
        self.layout.steps = steps;
        done.map(|()| &self.slots[slot][..len])
    }

    fn forward_step(
        &mut self,
        samples: &Samples,
        index: usize,
        step: &Step,
        training: Option<Training<'_>>,
    ) -> Result<()> {
        let mut clock = Instant::now();
        let training = training.filter(|_| step.trained);
        let [input, output] = [step.stage.input.elements(), step.stage.output.elements()];
        let (inputs, outputs) = (samples.count * input, samples.count * output);
        let mut y = take(&mut self.slots[step.y]);
        let out = &mut y[..outputs];
        match &step.work {
            Work::Convolution { convolution, prepared, activation, norm } => {
                let apart = step.z != step.y;
                let mut other = if apart { take(&mut self.slots[step.z]) } else { Buffer::default() };
                let sample = activation.shape.elements();
                let (inner, mut outer) =
                    if apart { (&mut other[..samples.count * sample], Some(out)) } else { (out, None) };
                let (weight, bias) = (&self.parameters[step.weight.clone()], &self.parameters[step.bias.clone()]);
                let mut workspace =
                    Workspace { scratch: &self.scratch, shared: &mut self.shared, filters: &mut self.filters };
                for part in samples.ranges() {
                    let x = &self.slots[step.x][elements(&part, input)];
                    let z = &mut inner[elements(&part, sample)];
                    match prepared {
                        Some(prepared) if prepared.suits(part.len()) => {
                            prepared.forward(x, &self.prepared, bias, norm.is_none(), z, &mut workspace)
                        }
                        _ => convolution.forward(x, weight, bias, norm.is_none(), z, &mut workspace),
                    }
                }
                lap(&mut clock, &mut self.times.steps[index][0]);
                if let Some(norm) = norm {
                    self.prepare_norm(samples, norm, activation, inner, training)?;
                    let c = activation.shape.channels;
                    for (number, part) in samples.ranges().enumerate() {
                        // In inference all have the first's.
                        let start = norm.saved_statistics
                            + if training.is_some() { number * self.sizes.saved_statistics } else { 0 };
                        let (scale, shift) = self.saved_statistics[start..start + 2 * c].split_at(c);
                        let z = &mut inner[elements(&part, sample)];
                        match &mut outer {
                            Some(out) => activation.forward(z, scale, shift, &mut out[elements(&part, output)]),
                            None => activation.forward_in_place(z, scale, shift),
                        }
                    }
                } else if let Some(out) = outer {
                    activation.pool(inner, out);
                }
                if apart {
                    self.slots[step.z] = other;
                }
                lap(&mut clock, &mut self.times.steps[index][1]);
            }
            Work::LocalResponseNorm => {
                let x = &self.slots[step.x][..inputs];
                local_response_normalisation::forward(x, step.stage.input.channels, input, out);
            }
            Work::MaxPool => max_pool::forward(&self.slots[step.x][..inputs], step.stage.input, out),
            Work::AveragePool { size } => {
                average_pool::forward(&self.slots[step.x][..inputs], step.stage.input, *size, out)
            }
            Work::Linear { linear, relu, dropout, drop } => {
                let (weight, bias) = (&self.parameters[step.weight.clone()], &self.parameters[step.bias.clone()]);
                for part in samples.ranges() {
                    let x = &self.slots[step.x][elements(&part, input)];
                    linear.forward(x, weight, bias, &mut out[elements(&part, output)], &mut self.shared);
                }
                if *relu {
                    let mask = training
                        .filter(|_| *dropout > 0.0)
                        .map(|Training { seed, done, .. }| DropoutMask::new(seed, *drop, done, *dropout));
                    linear::activate(out, *dropout, mask.as_ref(), samples.first * output);
                }
            }
        }
        lap(&mut clock, &mut self.times.steps[index][0]);
        self.slots[step.y] = y;
        Ok(())
    }

    /// Scale and shift for a forward pass: of the running statistics, or of each micro-batch's own or the whole batch's.
    fn prepare_norm(
        &mut self,
        samples: &Samples,
        norm: &Norm,
        activation: &Activation,
        z: &[f32],
        training: Option<Training<'_>>,
    ) -> Result<()> {
        let (gamma, beta) = (&self.parameters[norm.gamma.clone()], &self.parameters[norm.beta.clone()]);
        let c = activation.shape.channels;
        let Some(training) = training else {
            let (mean, variance) = (&self.running[norm.mean.clone()], &self.running[norm.variance.clone()]);
            let saved = statistics_of(&mut self.saved_statistics, norm.saved_statistics, c);
            Activation::frozen(gamma, beta, mean, variance, saved.scale, saved.shift);
            return Ok(());
        };
        let (pixels, all) = (activation.shape.pixels(), self.sizes.saved_statistics / 2);
        let place =
            |number: usize| number * all + norm.saved_statistics / 2..number * all + norm.saved_statistics / 2 + 2 * c;
        for (number, part) in samples.ranges().enumerate() {
            let z = &z[elements(&part, activation.shape.elements())];
            activation.moments(z, &mut self.batch_moments[place(number)], &mut self.partials);
        }
        let whole = training.together.map(|peers| -> Result<Vec<f64>> {
            let mine: Vec<f64> =
                (0..samples.parts()).flat_map(|number| &self.batch_moments[place(number)]).copied().collect();
            let of_all = peers.all(&mine)?;
            let (mut whole, mut before) = (vec![0.0; 2 * c], 0.0);
            for (part, size) in of_all
                .iter()
                .flat_map(|of_one| of_one.chunks_exact(2 * c))
                .zip(tree::sizes(samples.batch, samples.micro_batch))
            {
                let count = (pixels * size) as f64;
                activation::join(&mut whole, before, part, count);
                before += count;
            }
            Ok(whole)
        });
        let whole = whole.transpose()?;
        for (number, part) in samples.ranges().enumerate() {
            let moments = &mut self.batch_moments[place(number)];
            let mut count = pixels * part.len();
            if let Some(whole) = &whole {
                moments.copy_from_slice(whole);
                count = pixels * samples.batch;
            }
            let mut saved = statistics_of(
                &mut self.saved_statistics,
                number * self.sizes.saved_statistics + norm.saved_statistics,
                c,
            );
            Activation::normalisation(moments, count as f64, gamma, beta, &mut saved);
        }
        Ok(())
    }

    /// Loss and hits of the last forward pass, a micro-batch each, and the logits' gradient. `targets` and the rows of `teaching`
    /// are those of the samples that are computed here.
    pub fn loss(&mut self, samples: &Samples, targets: &[Target], smoothing: f32, teaching: Option<(f32, &[f32])>) {
        let mut clock = Instant::now();
        let mut gradient = take(&mut self.slots[self.layout.d_logits]);
        let classes = self.layout.classes();
        self.outcomes.clear();
        for part in samples.ranges() {
            let rows = elements(&part, classes);
            let logits = &self.slots[self.layout.logits][rows.clone()];
            let teaching = teaching.map(|(weight, all)| (weight, &all[rows.clone()]));
            let gradient = &mut gradient[rows];
            let (targets, batch) = (&targets[part], samples.batch);
            self.outcomes.push(cross_entropy::outcome(logits, targets, batch, smoothing, teaching, gradient));
        }
        self.slots[self.layout.d_logits] = gradient;
        lap(&mut clock, &mut self.times.loss);
    }
}
