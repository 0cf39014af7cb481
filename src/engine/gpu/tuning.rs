//! Which variant of a convolution is fastest on this adapter for this shape: measured once, then kept by the store under
//! the adapter, its driver and this version.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::chosen::{Chosen, passes, variant_key};
use super::plumbing::device::Gpu;
use super::plumbing::step::StepUniform;
use super::products::convolution::record;
use super::products::operands::{Convolution, Operands, Pass};
use super::products::variant::{Variant, candidates};
use super::record::Recorder;
use crate::engine::State;
use crate::engine::layout::Layout;
use crate::error::Result;

/// Choices made so far on one adapter: shape -> variant.
pub struct Tuning<'a> {
    gpu: &'a Gpu,
    precise: bool,
    chosen: BTreeMap<String, String>,
    changed: bool,
}

/// Of each stage of a network: what is chosen already, and what each of its passes may be computed by.
pub(super) struct Choice {
    chosen: Vec<Chosen>,
    pub(super) offered: Vec<[Vec<Variant>; 3]>,
}

/// Multiply-accumulates of one sample.
pub fn macs(convolution: &Convolution) -> u64 {
    let Convolution { kernel, height, width, inputs, outputs } = *convolution;
    (kernel * kernel * height * width * inputs * outputs) as u64
}

impl<'a> Tuning<'a> {
    /// What is known of `gpu`.
    pub fn open(gpu: &'a Gpu, precise: bool) -> Self {
        let loaded = gpu.options.store.as_ref().and_then(|store| store.load(&name(gpu)));
        let chosen = loaded.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { gpu, precise, chosen, changed: false }
    }

    /// All choices, by shape.
    pub fn choices(&self) -> &BTreeMap<String, String> {
        &self.chosen
    }

    /// What a choice is kept under: everything that its speed depends on besides the adapter, and whether all variants were
    /// candidates.
    pub fn key(&self, convolution: &Convolution, pass: Pass, samples: usize) -> String {
        let Convolution { kernel, height, width, inputs, outputs } = convolution;
        let precise = if self.precise { " precise" } else { "" };
        format!("{} {kernel}x{kernel} {height}x{width} {inputs}>{outputs} n{samples}{precise}", pass.name())
    }

    /// The choice for a shape, if it was made before and is among `candidates`.
    pub fn known(&self, key: &str, candidates: &[Variant]) -> Option<Variant> {
        let variant = Variant::parse(self.chosen.get(key)?)?;
        candidates.contains(&variant).then_some(variant)
    }

    /// What is chosen ahead of any measurement: what `state` says, else what was measured before, else, on a device that does not
    /// tune, what comes first.
    pub(super) fn offer(&self, layout: &Layout, state: &State, samples: usize) -> Choice {
        let mut chosen = vec![Chosen::default(); layout.steps.len()];
        let mut offered = vec![<[Vec<Variant>; 3]>::default(); layout.steps.len()];
        for (index, step) in layout.steps.iter().enumerate() {
            let Some(convolution) = &step.convolution else { continue };
            for (at, pass) in passes(step) {
                let possible = candidates(&self.gpu.capabilities(), convolution, pass, self.precise);
                let before = state.variants.get(&variant_key(step, pass)).and_then(|name| Variant::parse(name));
                let before = before.filter(|v| possible.contains(v));
                let known = || self.known(&self.key(convolution, pass, samples), &possible);
                let first = || if self.gpu.options.tune { None } else { possible.first().copied() };
                chosen[index].0[at] = before.or_else(known).or_else(first);
                offered[index][at] = chosen[index].0[at].map_or(possible, |v| vec![v]);
            }
        }
        Choice { chosen, offered }
    }

    /// Measures what `choice` leaves open, in order, on `buffers`, whose contents are lost. What one stage has learnt is known to
    /// the next of its shape.
    pub(super) fn settle(
        &mut self,
        choice: Choice,
        layout: &Layout,
        buffers: &Buffers,
        samples: usize,
    ) -> Result<Vec<Chosen>> {
        let Choice { mut chosen, offered } = choice;
        for (index, step) in layout.steps.iter().enumerate() {
            let Some(convolution) = &step.convolution else { continue };
            for (at, pass) in passes(step).filter(|(at, _)| chosen[index].0[*at].is_none()).collect::<Vec<_>>() {
                let possible = &offered[index][at];
                let mut variant = self.known(&self.key(convolution, pass, samples), possible);
                if variant.is_none() {
                    let (gpu, weights) = (self.gpu, &buffers.live);
                    let recorder = Recorder { gpu, layout, buffers, weights, samples, chosen: &chosen };
                    let ranges = recorder.ranges(step);
                    if let Some(operands) = recorder.operands(step, pass, &ranges) {
                        variant = self.choose(convolution, pass, samples, possible, &operands)?;
                    }
                }
                chosen[index].0[at] = variant;
            }
        }
        Ok(chosen)
    }

    /// Measures `candidates` on the buffers of `operands`, whose contents are lost, and remembers the fastest.
    pub fn choose(
        &mut self,
        convolution: &Convolution,
        pass: Pass,
        samples: usize,
        candidates: &[Variant],
        operands: &Operands<'_>,
    ) -> Result<Option<Variant>> {
        let mut best: Option<(Duration, Variant)> = None;
        for variant in candidates {
            let time = measure(self.gpu, convolution, pass, *variant, samples, operands)?;
            if best.is_none_or(|(fastest, _)| time < fastest) {
                best = Some((time, *variant));
            }
        }
        if let Some((_, variant)) = best {
            self.chosen.insert(self.key(convolution, pass, samples), variant.name());
            self.changed = true;
        }
        Ok(best.map(|(_, variant)| variant))
    }

    /// Keeps what was learnt.
    pub fn save(&self) {
        if let (true, Some(store)) = (self.changed, &self.gpu.options.store)
            && let Ok(bytes) = serde_json::to_vec_pretty(&self.chosen)
        {
            store.save(&name(self.gpu), &bytes);
        }
    }
}

/// Forgets all choices for `gpu`.
pub fn forget(gpu: &Gpu) {
    if let Some(store) = &gpu.options.store {
        store.save(&name(gpu), b"{}");
    }
}

/// The file's name: adapter, driver, version and a precision that is not f32, in characters that every file system takes.
fn name(gpu: &Gpu) -> String {
    let info = &gpu.found.info;
    let precision = if gpu.matrices.is_some() { " f16" } else { "" };
    let text = format!("variants {} {} {}{precision}", info.name, info.driver_info, env!("CARGO_PKG_VERSION"));
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    format!("{plain}.json")
}

/// Seconds of one call, the best of three measurements; of fewer samples where the whole would take long.
pub fn measure(
    gpu: &Gpu,
    convolution: &Convolution,
    pass: Pass,
    variant: Variant,
    samples: usize,
    operands: &Operands<'_>,
) -> Result<Duration> {
    let most: u64 = if gpu.software() { 250_000_000 } else { 100_000_000_000 };
    let some = usize::try_from(most / macs(convolution).max(1)).unwrap_or(1).clamp(1, samples);
    let calls = record(gpu, "measurement", convolution, pass, variant, samples, operands)?;
    gpu.write_step(StepUniform { samples: some as u32, batch: some as u32, ..StepUniform::default() });
    let run = |repeats: u32| -> Result<Duration> {
        gpu.wait(None)?;
        let started = Instant::now();
        let submission = gpu.submit((0..repeats).map(|_| calls.as_slice()), some, &[]);
        gpu.wait(Some(submission))?;
        Ok(started.elapsed() / repeats)
    };
    run(1)?; // compiles, and touches the buffers for the first time
    let once = run(1)?;
    let repeats = if once < Duration::from_millis(2) { 10 } else { 1 };
    Ok(once.min(run(repeats)?).min(run(repeats)?))
}
