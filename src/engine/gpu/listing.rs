//! An inference as data: buffers, shaders and calls in order, for whoever runs them without this engine, as a browser does by
//! WebGPU. They are those that the engine would submit on a device with the limits that every browser grants.
//!
//! It computes nothing and needs no GPU: the calls are recorded on an adapter that is not there.

use std::sync::Arc;

use serde::Serialize;
use wgpu::DeviceType;

use super::Options;
use super::chosen::variant_key;
use super::layout;
use super::metrics::Metrics;
use super::network::GpuNetwork;
use super::plumbing::adapter;
use super::plumbing::capabilities::Capabilities;
use super::plumbing::device::{Gpu, Slice};
use super::plumbing::dispatch::Dispatch;
use super::plumbing::source::{Access, Program};
use super::plumbing::step::StepUniform;
use super::products::operands::Pass;
use super::products::variant::{Variant, candidates};
use crate::engine::layout::{Place, Step};
use crate::engine::stages::Work;
use crate::engine::{Settings, State, WeightSet};
use crate::error::{Error, Kind, Result};
use crate::vgg::plan::TensorSpec;
use crate::vgg::{Plan, Shape};

/// Bytes `offset .. offset + bytes` of a buffer of [`Listing::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Its index.
    pub buffer: usize,
    /// First byte.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
}

/// WGSL text that is compiled as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shader {
    /// The operation.
    pub name: &'static str,
    /// The entry point that is used of it.
    pub entry: &'static str,
    /// The storage buffers from binding 2 on: whether each is written. 0 and 1 are uniforms: the call's own, and the step's.
    pub writes: Vec<bool>,
    /// WGSL.
    pub text: String,
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// Layer and operation.
    pub label: String,
    /// Index in [`Listing::shaders`].
    pub shader: usize,
    /// The uniform of binding 0, as little-endian words.
    pub dims: Vec<u32>,
    /// The storage buffers.
    pub storages: Vec<Range>,
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
}

/// Activations that are asked for besides the logits: they are there after some calls, and later ones may overwrite them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Where; channels last, padded to four.
    pub range: Range,
    /// Calls after which they are there.
    pub after: usize,
    /// Rows, columns and channels.
    pub shape: Shape,
}

/// A tensor of [`Plan::tensors`] on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tensor {
    /// torchvision's name.
    pub name: String,
    /// Where.
    pub range: Range,
    /// Columns of a matrix that lies there by rows, one for each of its inputs: its outputs, padded to four.
    pub columns: usize,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Bytes of each buffer; all are zero at first.
    pub buffers: Vec<u64>,
    /// Programs.
    pub shaders: Vec<Shader>,
    /// In order.
    pub calls: Vec<Call>,
    /// The uniform of binding 1 of all calls, as little-endian words.
    pub step: Vec<u32>,
    /// Where the normalised image goes, f32 [size, size, 4], the fourth channel 0.
    pub input: Range,
    /// Where the logits are afterwards, padded to four.
    pub logits: Range,
    /// Of the last convolution, after its ReLU.
    pub features: Features,
    /// Where weights go before the first inference.
    pub tensors: Vec<Tensor>,
}

/// The calls with which one image at a time goes through `plan`. Errors: a network whose weights or activations are larger
/// than what every browser binds.
pub fn of(plan: &Plan, settings: &Settings) -> Result<Listing> {
    let settings = Settings { batch_size: 1, optimizer: None, ..settings.clone() };
    let adapter = adapter::imagined(wgpu::Features::empty(), wgpu::Limits::default(), 4, DeviceType::Other)?;
    let mut state = State::new(Vec::new());
    prefer_small_tiles(plan, &settings, &adapter.capabilities(), &mut state)?;
    let gpu = Gpu::open_found(adapter, &Options::default())?;
    let layout = layout::of(plan, &settings, gpu.half())?;
    let network = GpuNetwork::new(&gpu, plan, layout.clone(), &settings, &state, 1, &Metrics::new(&gpu)?.slots);
    let network = network.map_err(too_large)?;
    let mut known = Buffers::default();
    let mut shaders: Vec<Arc<Program>> = Vec::new();
    let dispatches = network.inference(WeightSet::Live);
    let mut calls = Vec::with_capacity(dispatches.len());
    for dispatch in dispatches {
        let Dispatch { label, program, dims, storages, .. } = dispatch;
        let shader = shaders.iter().position(|known| Arc::ptr_eq(known, program)).unwrap_or_else(|| {
            shaders.push(Arc::clone(program));
            shaders.len() - 1
        });
        let storages = storages.iter().map(|slice| known.range(slice)).collect();
        let (label, dims) = (label.clone(), bytemuck::pod_collect_to_vec(dims));
        calls.push(Call { label, shader, dims, storages, groups: dispatch.groups(1) });
    }
    let pooling = |step: &&Step| matches!(step.stage.work, Work::AveragePool { .. });
    let headless = || Error::new(Kind::Engine, "the network has no average pooling");
    let pooled = layout.steps.iter().find(pooling).ok_or_else(headless)?;
    let pooled_by = |call: &Call| call.label.starts_with(&format!("{} ", pooled.stage.name));
    let tensors = plan.tensors().into_iter().zip(network.places()).map(|(tensor, place)| {
        let whole = known.range(network.tensors(place.parameter));
        let range = part(whole, place);
        Tensor { name: tensor.name, range, columns: layout::columns(place) }
    });
    let tensors = tensors.collect();
    let step = StepUniform { samples: 1, batch: 1, ..StepUniform::default() };
    Ok(Listing {
        features: Features {
            range: known.range(&network.slot(pooled.x).part(0, layout.format.words(pooled.stage.input))),
            after: calls.iter().position(pooled_by).ok_or_else(headless)?,
            shape: pooled.stage.input,
        },
        input: known.range(&network.input().part(0, layout.format.words(plan.input()))),
        logits: known.range(&network.logits(1)),
        tensors,
        step: bytemuck::pod_collect_to_vec(bytemuck::bytes_of(&step)),
        shaders: shaders.iter().map(|program| shader(program)).collect(),
        calls,
        buffers: known.bytes,
    })
}

/// What the device says is advice for a card.
fn too_large(error: Error) -> Error {
    Error::new(
        Kind::Engine,
        "the network is larger than what every browser grants: 256 MiB of weights, 128 MiB a layer",
    )
    .with_source(error)
    .with_help("choose a smaller --width, or --head linear or average, whose weights are fewer")
}

fn shader(program: &Program) -> Shader {
    let writes = program.access.iter().map(|access| *access == Access::Write).collect();
    Shader { name: program.name, entry: program.entry, writes, text: program.text.clone() }
}

fn part(whole: Range, place: &Place) -> Range {
    let bytes = |floats: usize| floats as u64 * 4;
    Range { offset: whole.offset + bytes(place.range.start), bytes: bytes(place.range.len()), ..whole }
}

/// `values` of a tensor as they lie in its range.
pub fn pack(tensor: &TensorSpec, values: &[f32]) -> Vec<f32> {
    layout::pack(&Place::of(tensor, 0, &layout::format(false)), values)
}

/// One image has few rows, so that small tiles keep more of a device busy.
fn prefer_small_tiles(plan: &Plan, settings: &Settings, capabilities: &Capabilities, state: &mut State) -> Result<()> {
    for step in layout::of(plan, settings, false)?.steps {
        let Some(convolution) = &step.convolution else { continue };
        let of_them = candidates(capabilities, convolution, Pass::Forward, settings.precise).into_iter();
        let smallest = of_them.filter_map(|variant| match variant {
            Variant::Tiled { rows, columns, slices } => Some((rows * columns, std::cmp::Reverse(slices), variant)),
            _ => None,
        });
        if let Some((.., variant)) = smallest.min_by_key(|(area, slices, _)| (*area, *slices)) {
            state.variants.insert(variant_key(&step, Pass::Forward), variant.name());
        }
    }
    Ok(())
}

/// Buffers in the order in which they are met.
#[derive(Default)]
struct Buffers {
    known: Vec<wgpu::Buffer>,
    bytes: Vec<u64>,
}

impl Buffers {
    fn range(&mut self, slice: &Slice) -> Range {
        let buffer = self.known.iter().position(|known| *known == slice.buffer).unwrap_or_else(|| {
            self.known.push(slice.buffer.clone());
            self.bytes.push(slice.buffer.size());
            self.known.len() - 1
        });
        Range { buffer, offset: slice.offset, bytes: slice.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::Network as Chosen;

    fn listed(width: f64) -> Result<Listing> {
        let settings = Settings { precise: true, ..Settings::inference(7, 1) };
        of(&Chosen { width, ..Chosen::default() }.plan()?, &settings)
    }

    #[test]
    fn every_range_lies_in_its_buffer_and_what_no_browser_grants_is_said() -> Result<()> {
        let listing = listed(0.1)?;
        let of_calls = listing.calls.iter().flat_map(|call| &call.storages);
        let tensors = listing.tensors.iter().map(|tensor| &tensor.range);
        for range in of_calls.chain(tensors).chain([&listing.input, &listing.logits, &listing.features.range]) {
            assert!(range.offset + range.bytes <= listing.buffers[range.buffer], "{range:?}");
            assert!(range.offset.is_multiple_of(256) && range.bytes > 0, "{range:?}");
        }
        for call in &listing.calls {
            assert_eq!(call.storages.len(), listing.shaders[call.shader].writes.len(), "{}", call.label);
            assert!(call.groups.iter().all(|n| (1..=65_535).contains(n)), "{}: {:?}", call.label, call.groups);
        }
        let error = listed(4.0).expect_err("4 x the width");
        assert!(error.to_string().contains("every browser grants") && error.help().is_some(), "{error}");
        Ok(())
    }
}
