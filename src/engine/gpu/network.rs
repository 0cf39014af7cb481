//! A network on a device: its [`Buffers`], and the calls of each pass over them, made once.
//!
//! It trusts its callers about lengths; `engine` checks what comes from outside.

use std::collections::BTreeMap;

use super::buffers::{Buffers, Weights};
use super::chosen::{Chosen, PASSES, variant_key};
use super::layers::cross_entropy::Aim;
use super::layers::optimizer::Decided;
use super::layers::{average, cross_entropy, gradient_norm, loss_scaling, optimizer};
use super::layout;
use super::memory;
use super::plumbing::device::{Gpu, Slice};
use super::plumbing::dispatch::Dispatch;
use super::products::operands::Pass;
use super::record::Recorder;
use super::tuning::{self, Tuning};
use crate::engine::layout::{Extent, Layout, Place};
use crate::engine::{LossScaling, Optimizer, Settings, State, WeightSet};
use crate::error::Result;
use crate::vgg::Plan;

/// See the module.
pub struct GpuNetwork {
    layout: Layout,
    buffers: Buffers,
    forward: Vec<Dispatch>,
    inference: Vec<Dispatch>,
    /// The same with the averaged weights, and ahead of it what makes the copy of them that products read.
    inference_averaged: Vec<Dispatch>,
    round_averaged: Vec<Dispatch>,
    /// Loss, its gradient, and all others.
    backward: Vec<Dispatch>,
    /// Each step of the backward pass, with the number of its calls up to and with it.
    backward_ends: Vec<(usize, usize)>,
    update: Vec<Dispatch>,
    /// What makes the copy of parameters that products read, where no update did.
    round: Vec<Dispatch>,
    variants: BTreeMap<String, String>,
    samples: usize,
    classes: usize,
    /// Samples of the last training step; 0 before the first.
    trained: usize,
}

impl GpuNetwork {
    /// Allocates, tunes where that was asked for, and records all calls for up to `samples` samples at once.
    /// Errors: no memory, a shader that the driver rejects.
    pub fn new(
        gpu: &Gpu,
        plan: &Plan,
        layout: Layout,
        settings: &Settings,
        state: &State,
        samples: usize,
        metrics: &Slice,
    ) -> Result<Self> {
        let mut tuning = Tuning::open(gpu, settings.precise);
        let choice = tuning.offer(&layout, state, samples);
        let scratch = memory::scratch(&gpu.capabilities(), &layout, &choice.offered, samples);
        let buffers = Buffers::new(gpu, &layout, settings, samples, scratch, metrics)?;
        let chosen = tuning.settle(choice, &layout, &buffers, samples)?;
        tuning.save();
        let mut network = Self {
            forward: Vec::new(),
            inference: Vec::new(),
            inference_averaged: Vec::new(),
            round_averaged: Vec::new(),
            backward: Vec::new(),
            backward_ends: Vec::new(),
            update: Vec::new(),
            round: Vec::new(),
            variants: BTreeMap::new(),
            samples,
            classes: plan.network.classes,
            trained: 0,
            layout,
            buffers,
        };
        network.record(gpu, settings, &chosen)?;
        Ok(network)
    }

    /// Records all passes.
    fn record(&mut self, gpu: &Gpu, settings: &Settings, chosen: &[Chosen]) -> Result<()> {
        let Self { layout, buffers, variants, .. } = self;
        for (index, step) in layout.steps.iter().enumerate() {
            for (pass, variant) in PASSES.into_iter().zip(chosen[index].0) {
                if let Some(variant) = variant {
                    variants.insert(variant_key(step, pass), variant.name());
                }
            }
        }
        let samples = self.samples;
        let recorder = Recorder { gpu, layout, buffers, weights: &buffers.live, samples, chosen };
        if let Some(rounded) = &buffers.live.rounded {
            self.round = optimizer::round(gpu, &buffers.live.parameters, rounded)?;
        }
        for index in 0..layout.steps.len() {
            recorder.forward(index, false, &mut self.inference)?;
        }
        if let Some(weights) = &buffers.averaged {
            if let Some(rounded) = &weights.rounded {
                self.round_averaged = optimizer::round(gpu, &weights.parameters, rounded)?;
            }
            let recorder = Recorder { weights, ..recorder };
            for index in 0..layout.steps.len() {
                recorder.forward(index, false, &mut self.inference_averaged)?;
            }
        }
        let Some(optimizer) = &settings.optimizer else { return Ok(()) };
        for index in 0..layout.steps.len() {
            recorder.forward(index, true, &mut self.forward)?;
        }
        let logits = &buffers.logits(layout, self.samples);
        let d_logits = &buffers.slots[layout.d_logits];
        let aim = Aim { smoothing: settings.label_smoothing, taught: settings.taught };
        let tensors = cross_entropy::Tensors {
            logits,
            targets: &buffers.targets,
            rows: buffers.rows.as_ref().unwrap_or(&buffers.targets),
            d_logits: buffers.unscaled.as_ref().unwrap_or(d_logits),
            outcomes: &buffers.losses,
            metrics: &buffers.metrics,
        };
        self.backward.extend(cross_entropy::record(gpu, "loss", self.classes, aim, &tensors)?);
        if let (Some(scaling), Some(unscaled)) = (&buffers.decided, &buffers.unscaled) {
            let width = self.classes.next_multiple_of(4);
            self.backward.push(loss_scaling::scale(gpu, width, unscaled, d_logits, scaling)?);
        }
        for index in (0..layout.steps.len()).rev().take_while(|index| layout.steps[*index].trained) {
            recorder.backward(index, &mut self.backward)?;
            self.backward_ends.push((index, self.backward.len()));
        }
        self.update = update(gpu, layout, buffers, settings, optimizer)?;
        Ok(())
    }

    /// Gives its memory back, after which it computes nothing; the metrics are not its own.
    pub fn free(&self, gpu: &Gpu) {
        for slice in self.buffers.own() {
            slice.buffer.destroy();
            gpu.released(slice.bytes);
        }
    }

    /// Samples that are computed at once.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Chosen variants, by stage and pass.
    pub fn variants(&self) -> &BTreeMap<String, String> {
        &self.variants
    }

    /// Where targets go, for a whole batch.
    pub fn targets(&self) -> &Slice {
        &self.buffers.targets
    }

    /// Where what teachers say goes, for a whole batch.
    pub fn teaching(&self) -> Option<&Slice> {
        self.buffers.rows.as_ref()
    }

    /// Where picks go, for a whole batch.
    pub fn picks(&self) -> &Slice {
        &self.buffers.picks
    }

    /// Where the input goes, [samples, size, size, 4].
    pub fn input(&self) -> &Slice {
        &self.buffers.slots[self.layout.input]
    }

    /// Buffer `slot` of the layout.
    pub fn slot(&self, slot: usize) -> &Slice {
        &self.buffers.slots[slot]
    }

    /// Where parameters lie, or running statistics.
    pub fn tensors(&self, parameter: bool) -> &Slice {
        let Weights { parameters, running, .. } = &self.buffers.live;
        if parameter { parameters } else { running }
    }

    /// Calls of a training step on what is in the input: forward, backward, and the update where `last`.
    pub fn training(&self, last: bool) -> [&[Dispatch]; 3] {
        [&self.forward, &self.backward, if last { &self.update } else { &[] }]
    }

    /// The calls of a backward pass up to and with each of `steps`, in the order in which it comes to them, from the one before on.
    pub fn backward_to(&self, steps: impl Iterator<Item = usize>) -> Vec<&[Dispatch]> {
        let mut start = 0;
        let parts = steps.map(|step| {
            let end = self.backward_ends.iter().find(|(index, _)| *index == step).map_or(start, |(_, end)| *end);
            let part = &self.backward[start..end];
            start = end;
            part
        });
        parts.collect()
    }

    /// Calls from the input to the logits, with running statistics and without dropout.
    pub fn inference(&self, set: WeightSet) -> &[Dispatch] {
        match set {
            WeightSet::Live => &self.inference,
            WeightSet::Averaged => &self.inference_averaged,
        }
    }

    /// Calls that come ahead of inferences with a set of weights: those that make the copy that products read, where an
    /// update has not.
    pub fn before_inference(&self, set: WeightSet) -> &[Dispatch] {
        match set {
            WeightSet::Live => &[],
            WeightSet::Averaged => &self.round_averaged,
        }
    }

    /// All calls of a training step or of an inference, for measurements.
    pub fn calls(&self, training: bool) -> Vec<&Dispatch> {
        if training {
            self.forward.iter().chain(&self.backward).chain(&self.update).collect()
        } else {
            self.inference.iter().collect()
        }
    }

    /// Floating point operations of one sample of the product with the label `<stage> <pass>`, counted as a direct convolution.
    pub fn flops(&self, label: &str) -> Option<u64> {
        let step = self.layout.steps.iter().find(|s| label.starts_with(&format!("{} ", s.stage.name)))?;
        let convolution = step.convolution.as_ref()?;
        Pass::ALL.iter().any(|p| label == variant_key(step, *p)).then(|| 2 * tuning::macs(convolution))
    }

    /// Notes a training step over `n` samples.
    pub fn trained(&mut self, n: usize) {
        self.trained = n;
    }

    /// Logits of the last pass over `samples` samples on the device: rows that [`Self::rows`] takes apart.
    pub fn logits(&self, samples: usize) -> Slice {
        self.buffers.logits(&self.layout, samples)
    }

    /// Logits without what their rows are padded by.
    pub fn rows(&self, logits: &[f32]) -> impl Iterator<Item = f32> {
        let rows = logits.chunks_exact(self.classes.next_multiple_of(4));
        rows.flat_map(|row| &row[..self.classes]).copied()
    }

    /// Logits of the last training step; of its last micro-batch, where it had several.
    pub fn training_logits(&self, gpu: &Gpu) -> Result<Vec<f32>> {
        match self.trained {
            0 => Ok(Vec::new()),
            n => Ok(self.rows(&gpu.read::<f32>(&self.logits((n - 1) % self.samples + 1))?).collect()),
        }
    }

    /// What was laid out.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Gradients of all that is trained, in an engine that trains.
    pub fn all_gradients(&self) -> Option<&Slice> {
        self.buffers.gradients.as_ref()
    }

    /// Where metrics of steps are written.
    pub fn metrics(&self) -> &Slice {
        &self.buffers.metrics
    }

    /// Scale, shift, mean and inverse deviation that batch normalisation of `step` saved last, each of all channels.
    pub fn saved_statistics(&self, step: usize) -> Option<&Slice> {
        self.buffers.saved_statistics[step].as_ref()
    }

    /// Where each tensor lies, in the plan's order.
    pub fn places(&self) -> &[Place] {
        &self.layout.places
    }

    /// What a state is made of: parameters and running statistics, the averaged ones too where they are kept, loss scaling
    /// where there is any, and moments. Averages and moments if the state is not that `before` the first step.
    pub fn state(&self, before: bool) -> Vec<&Slice> {
        let Buffers { live, averaged, decided, moments, .. } = &self.buffers;
        let sets = std::iter::once(live).chain(averaged.iter().filter(|_| !before));
        let weights = sets.flat_map(|set| [&set.parameters, &set.running]);
        let scaling = decided.iter().filter(|_| self.scales_loss());
        weights.chain(scaling).chain(moments.iter().filter(|_| !before)).collect()
    }

    /// Whether it keeps averaged weights.
    pub fn keeps_average(&self) -> bool {
        self.buffers.averaged.is_some()
    }

    /// Gradients of the last training step; empty before the first.
    pub fn gradients(&self, gpu: &Gpu) -> Result<Vec<Vec<f32>>> {
        match &self.buffers.gradients {
            Some(gradients) if self.trained > 0 => {
                let values: Vec<f32> = gpu.read(gradients)?;
                let trained = self.layout.places.iter().filter(|p| p.trained);
                let mut parts: Vec<_> = trained.map(|p| layout::unpack(p, &values[p.range.clone()])).collect();
                if let Some(scaling) = self.buffers.decided.as_ref().filter(|_| self.scales_loss()) {
                    let (_, inverse) = loss_scaling::read(gpu, scaling)?;
                    parts.iter_mut().flatten().for_each(|g| *g *= inverse);
                }
                Ok(parts)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Whether gradients are those of a scaled loss.
    pub fn scales_loss(&self) -> bool {
        self.layout.format.half && self.buffers.decided.is_some()
    }

    /// Puts a state in whose lengths fit.
    pub fn load(&mut self, gpu: &Gpu, state: &State) -> Result<()> {
        let Buffers { live, averaged, moments, decided, .. } = &self.buffers;
        if let Some(decided) = decided {
            let unscaled = LossScaling { scale: 1.0, ..LossScaling::default() };
            let scaling = if self.scales_loss() { state.loss_scaling.unwrap_or_default() } else { unscaled };
            loss_scaling::write(gpu, decided, &scaling);
        }
        let put = |place: &Place, values: &[f32], to: &Slice| -> Result<()> {
            gpu.write(&to.part(place.range.start, place.range.len()), &layout::pack(place, values));
            // Submitted one by one, so that what wgpu keeps of them for the transfer stays small.
            gpu.wait(Some(gpu.submit([], 0, &[])))
        };
        let averages = if state.averages.is_empty() { &state.tensors } else { &state.averages };
        for (set, tensors) in
            std::iter::once((live, &state.tensors)).chain(averaged.as_ref().map(|set| (set, averages)))
        {
            for (place, values) in self.layout.places.iter().zip(tensors) {
                put(place, values, if place.parameter { &set.parameters } else { &set.running })?;
            }
        }
        let trained = || self.layout.places.iter().filter(|p| p.trained);
        for (index, moment) in moments.iter().enumerate() {
            match state.moments.get(index) {
                Some(values) => trained().zip(values).try_for_each(|(place, values)| put(place, values, moment))?,
                None => gpu.clear(moment), // before the first step, on the device: they are most of a state
            }
        }
        gpu.wait(Some(gpu.submit([self.round.as_slice()], 0, &[])))
    }
}

/// The calls of an update: what decides of it, the optimiser's, and those that the average follows with.
fn update(
    gpu: &Gpu,
    layout: &Layout,
    buffers: &Buffers,
    settings: &Settings,
    optimizer: &Optimizer,
) -> Result<Vec<Dispatch>> {
    let Some(gradients) = &buffers.gradients else { return Ok(Vec::new()) };
    let Buffers { live, averaged, moments, decided, squares, .. } = buffers;
    let scaling = decided.as_ref().filter(|_| layout.format.half);
    let more = &settings.update;
    let mut calls = Vec::new();
    if let Some(scaling) = scaling {
        calls = loss_scaling::decide(gpu, optimizer, LossScaling::INTERVAL, gradients, scaling)?;
    }
    if let (Some(most), Some(record), Some(sums)) = (more.clip_norm, decided, squares) {
        calls.extend(gradient_norm::record(gpu, most, gradients, record, sums)?);
    }
    let tensors = optimizer::Tensors { parameters: &live.parameters, gradients, moments };
    let decided = match (decided, &live.rounded) {
        (Some(scaling), Some(rounded)) => Decided::Scaled([scaling, rounded]),
        (Some(record), None) => Decided::Clipped(record),
        (None, _) => Decided::Plain,
    };
    for (range, decays) in &layout.updates {
        let rule = if *decays { *optimizer } else { optimizer.with_decay(0.0) };
        calls.extend(optimizer::update(gpu, &rule, range, &tensors, decided)?);
    }
    if let (Some(decay), Some(averaged)) = (more.ema, averaged) {
        let Extent { trained, moving, .. } = layout.extent; // the others are what they were
        for (live, averaged, floats) in
            [(&live.parameters, &averaged.parameters, trained), (&live.running, &averaged.running, moving)]
        {
            calls.extend(average::follow(gpu, decay, &live.part(0, floats), &averaged.part(0, floats), scaling)?);
        }
    }
    Ok(calls)
}
