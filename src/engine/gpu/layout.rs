//! What is the GPU's own in the static layout of a plan: channels padded to a multiple of four, in f32 or f16, and how tensors lie
//! on the device. Needs none.

use crate::engine::Settings;
use crate::engine::layout::{Format, Layout, Place};
use crate::error::{Error, Kind, Result};
use crate::vgg::Plan;

/// Lays `plan` out, for one sample, with activations in f16 where `half`. Errors: an order of layers that no engine knows.
pub fn of(plan: &Plan, settings: &Settings, half: bool) -> Result<Layout> {
    Layout::new(plan, settings, format(half))
}

/// The alignment is one that all adapters accept, of a copy in f16 too. Logits can be asked for after a step.
pub const fn format(half: bool) -> Format {
    Format { alignment: 128, padding: 4, half, samples: 1, in_place: false, keeps_logits: true }
}

/// The largest number of samples whose buffers are no larger than `floats` four-byte numbers each. Errors: not even one.
pub fn most_samples(layout: &Layout, floats: usize) -> Result<usize> {
    let largest = layout.slots.iter().copied().max().unwrap_or(1).max(1);
    match floats / largest {
        0 => Err(Error::new(
            Kind::Engine,
            format!("one sample's activations ({} MiB) are beyond what this adapter can bind", largest >> 18),
        )
        .with_help("choose smaller images (-i) or a smaller --width, or train with --engine cpu")),
        samples => Ok(samples),
    }
}

/// Outputs on the device: the length of a row.
pub fn columns(place: &Place) -> usize {
    place.shape.first().map_or(0, |outputs| outputs.next_multiple_of(4))
}

/// Index on the device, from the range's start, of each number in torchvision's order: [taps][inputs][outputs], inputs and outputs
/// padded to four. A weight of one input still has four rows: the activations that it meets are padded.
fn indices(place: &Place) -> impl Iterator<Item = usize> {
    let ([outputs, inputs, taps], rows) = match *place.shape.as_slice() {
        [outputs, inputs, ref taps @ ..] => ([outputs, inputs, taps.iter().product()], inputs.next_multiple_of(4)),
        _ => ([place.elements(), 1, 1], 1),
    };
    let columns = columns(place);
    (0..outputs)
        .flat_map(move |o| (0..inputs).flat_map(move |i| (0..taps).map(move |tap| (tap * rows + i) * columns + o)))
}

/// A tensor in torchvision's layout. `device` holds its range.
pub fn unpack(place: &Place, device: &[f32]) -> Vec<f32> {
    indices(place).map(|i| device[i]).collect()
}

/// The other way round; padding is zero.
pub fn pack(place: &Place, values: &[f32]) -> Vec<f32> {
    let mut device = vec![0.0; place.range.len()];
    indices(place).zip(values).for_each(|(i, v)| device[i] = *v);
    device
}
