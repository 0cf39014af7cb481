//! The backward pass: gradients of all that is trained, each step over all micro-batches, summed as the tree says.
//!
//! Peers are given a bucket as soon as it is whole; the pass goes on meanwhile.

use std::mem::take;
use std::time::Instant;

use super::layers::{average_pool, linear, local_response_normalisation, max_pool};
use super::layout::{Norm, Step, Work};
use super::network::{CpuNetwork, lap, statistics_of};
use super::products::shape::Workspace;
use super::samples::{Samples, elements};
use crate::engine::peers::{Peers, Together};
use crate::error::Result;

impl CpuNetwork {
    /// The gradients of all that is trained, after [`Self::loss`]. With peers they are on their way when it returns.
    pub fn backward(&mut self, samples: &Samples, together: Option<&Together>) -> Result<()> {
        let steps = take(&mut self.layout.steps);
        let mut done = Ok(());
        for (index, step) in steps.iter().enumerate().rev().take_while(|(_, step)| step.trained) {
            done = self.backward_step(samples, index, step, together);
            if let (Ok(()), Some(Together { peers, .. })) = (&done, together) {
                done = self.send(samples, index, peers.as_ref());
            }
            if done.is_err() {
                break;
            }
        }
        self.layout.steps = steps;
        self.trained_once = true;
        done
    }

    fn backward_step(
        &mut self,
        samples: &Samples,
        index: usize,
        step: &Step,
        together: Option<&Together>,
    ) -> Result<()> {
        let mut clock = Instant::now();
        let [input, output] = [step.stage.input.elements(), step.stage.output.elements()];
        let peers = together.map(|together| together.peers.as_ref() as &dyn Peers);
        match &step.work {
            Work::Convolution { convolution, activation, norm, .. } => {
                let mut dz = take(&mut self.slots[step.z]);
                let (sample, c) = (activation.shape.elements(), activation.shape.channels);
                let mut pixels = activation.shape.pixels() * samples.batch;
                if let Some(norm) = norm {
                    self.norm_sums(samples, step, norm, &mut dz, together)?;
                }
                for (number, part) in samples.ranges().enumerate() {
                    let gradient = &mut dz[elements(&part, sample)];
                    let dy = &self.slots[step.dy][elements(&part, output)];
                    if let Some(norm) = norm {
                        let saved = statistics_of(
                            &mut self.saved_statistics,
                            number * self.sizes.saved_statistics + norm.saved_statistics,
                            c,
                        );
                        let [own, whole] = [2 * number, 2 * number + 1].map(|at| &self.sums[at * 2 * c..][..2 * c]);
                        let [d_gamma, d_beta] = self.gradients.pair(&norm.gamma, &norm.beta);
                        for channel in 0..c {
                            d_beta[channel] = own[channel] as f32;
                            d_gamma[channel] = own[c + channel] as f32;
                        }
                        if !together.is_some_and(|together| together.sync_batch_norm) {
                            pixels = activation.shape.pixels() * part.len();
                        }
                        let gamma = &self.parameters[norm.gamma.clone()];
                        activation.backward(gradient, dy, gamma, &saved, (whole, pixels as f64), &mut self.factors);
                    } else {
                        activation.backward_plain(gradient, dy);
                        activation.bias_gradient(gradient, self.gradients.of(&step.bias), &mut self.partials);
                    }
                    lap(&mut clock, &mut self.times.steps[index][2]);
                    let x = &self.slots[step.x][elements(&part, input)];
                    let mut workspace =
                        Workspace { scratch: &self.scratch, shared: &mut self.shared, filters: &mut self.filters };
                    convolution.weight_gradient(x, gradient, self.gradients.of(&step.weight), &mut workspace);
                    self.gradients.took(samples, number, &step.parameters(), peers);
                    lap(&mut clock, &mut self.times.steps[index][3]);
                }
                // After all weight gradients: it may lie where x or dy did.
                if let Some(slot) = step.dx {
                    let mut dx = take(&mut self.slots[slot]);
                    let weight = &self.parameters[step.weight.clone()];
                    let mut workspace =
                        Workspace { scratch: &self.scratch, shared: &mut self.shared, filters: &mut self.filters };
                    for part in samples.ranges() {
                        let gradient = &dz[elements(&part, sample)];
                        convolution.input_gradient(gradient, weight, &mut dx[elements(&part, input)], &mut workspace);
                    }
                    self.slots[slot] = dx;
                }
                self.slots[step.z] = dz;
            }
            Work::Linear { linear, relu, dropout, .. } => {
                let mut dy = take(&mut self.slots[step.dy]);
                if *relu {
                    let outputs = samples.count * output;
                    linear::activate_gradient(&self.slots[step.y][..outputs], &mut dy[..outputs], *dropout);
                }
                for (number, part) in samples.ranges().enumerate() {
                    let [dw, db] = self.gradients.pair(&step.weight, &step.bias);
                    let x = &self.slots[step.x][elements(&part, input)];
                    linear.weight_gradient(x, &dy[elements(&part, output)], dw, db);
                    self.gradients.took(samples, number, &step.parameters(), peers);
                }
                lap(&mut clock, &mut self.times.steps[index][3]);
                if let Some(slot) = step.dx {
                    let weight = &self.parameters[step.weight.clone()];
                    for part in samples.ranges() {
                        let dx = &mut self.slots[slot][elements(&part, input)];
                        linear.input_gradient(&dy[elements(&part, output)], weight, dx, &mut self.shared);
                    }
                }
                self.slots[step.dy] = dy;
            }
            other => self.backward_plain(samples.count, step, other),
        }
        lap(&mut clock, &mut self.times.steps[index][4]);
        Ok(())
    }

    /// What batch normalisation's gradients need of all pixels, for each micro-batch twice: of its own, and of all that were
    /// normalised together.
    fn norm_sums(
        &mut self,
        samples: &Samples,
        step: &Step,
        norm: &Norm,
        z: &mut [f32],
        together: Option<&Together>,
    ) -> Result<()> {
        let Work::Convolution { activation, .. } = &step.work else { return Ok(()) };
        let (sample, c) = (activation.shape.elements(), activation.shape.channels);
        let place = |number: usize, whole: usize| (2 * number + whole) * 2 * c..(2 * number + whole + 1) * 2 * c;
        for (number, part) in samples.ranges().enumerate() {
            let saved = statistics_of(
                &mut self.saved_statistics,
                number * self.sizes.saved_statistics + norm.saved_statistics,
                c,
            );
            let dy = &self.slots[step.dy][elements(&part, step.stage.output.elements())];
            let sums = &mut self.sums[place(number, 0)];
            activation.gradient_sums(&mut z[elements(&part, sample)], dy, &saved, sums, &mut self.partials);
            self.sums.copy_within(place(number, 0), place(number, 1).start);
        }
        if let Some(Together { peers, sync_batch_norm: true }) = together {
            let own = (0..samples.parts()).flat_map(|number| &self.sums[place(number, 0)]);
            let of_all = peers.all(&own.copied().collect::<Vec<f64>>())?;
            let mut whole = vec![0.0; 2 * c];
            for part in of_all.iter().flat_map(|of_one| of_one.chunks_exact(2 * c)) {
                whole.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            }
            (0..samples.parts()).for_each(|number| self.sums[place(number, 1)].copy_from_slice(&whole));
        }
        Ok(())
    }

    /// Backward pass of steps without parameters.
    fn backward_plain(&mut self, n: usize, step: &Step, work: &Work) {
        let Some(slot) = step.dx else { return };
        let (inputs, outputs) = (n * step.stage.input.elements(), n * step.stage.output.elements());
        let mut buffer = take(&mut self.slots[slot]);
        let (dx, dy) = (&mut buffer[..inputs], &self.slots[step.dy][..outputs]);
        match work {
            Work::LocalResponseNorm => {
                let x = &self.slots[step.x][..inputs];
                let (c, sample) = (step.stage.input.channels, step.stage.input.elements());
                local_response_normalisation::backward(x, dy, c, sample, dx, &self.scratch);
            }
            Work::MaxPool => max_pool::backward(&self.slots[step.x][..inputs], dy, step.stage.input, dx),
            Work::AveragePool { size } => average_pool::backward(dy, step.stage.input, *size, dx),
            Work::Convolution { .. } | Work::Linear { .. } => {}
        }
        self.slots[slot] = buffer;
    }
}
