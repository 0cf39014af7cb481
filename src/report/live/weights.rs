//! Weights as the page has them: each tensor as it lies on the device, one after another, matrices in f16 where that was asked
//! for. Vectors (biases, batch normalisation) are few and stay f32.

use half::f16;
use serde::Serialize;

use crate::engine::gpu::listing;
use crate::engine::{Precision, State};
use crate::vgg::Plan;
use crate::vgg::plan::Role;

/// Where a tensor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// In bytes; a multiple of four.
    pub offset: usize,
    /// Whether its numbers are f16.
    pub half: bool,
}

/// All of them.
pub struct Packed {
    pub bytes: Vec<u8>,
    pub places: Vec<Place>,
    /// The weights that are left of the state's after rounding.
    pub state: State,
}

/// Packs `state`. A matrix with a number beyond what f16 has stays f32.
pub fn pack(plan: &Plan, state: &State, precision: Precision) -> Packed {
    let mut packed = Packed { bytes: Vec::new(), places: Vec::new(), state: state.clone() };
    for ((spec, values), left) in plan.tensors().iter().zip(&state.tensors).zip(&mut packed.state.tensors) {
        let fits = |v: &f32| v.abs() <= f16::MAX.to_f32();
        let half = precision == Precision::F16 && spec.role == Role::Weight && values.iter().all(fits);
        packed.places.push(Place { offset: packed.bytes.len(), half });
        let device = listing::pack(spec, values);
        if half {
            packed.bytes.extend(device.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
            left.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
        } else {
            packed.bytes.extend(device.iter().flat_map(|v| v.to_le_bytes()));
        }
        packed.bytes.resize(packed.bytes.len().next_multiple_of(4), 0);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::vgg::{Network, initialisation};

    #[test]
    fn matrices_are_rounded_and_vectors_and_what_f16_lacks_are_not() -> Result<()> {
        let plan = Network { width: 0.02, classes: 3, image_size: 32, ..Network::default() }.plan()?;
        let mut state = State::new(initialisation::initialise(&plan, 1));
        state.tensors[0][0] = 1e6; // of the first convolution
        let whole = pack(&plan, &state, Precision::F32);
        assert_eq!(whole.state, state);
        assert!(whole.places.iter().all(|place| !place.half));
        let packed = pack(&plan, &state, Precision::F16);
        let matrices = plan.tensors().iter().filter(|spec| spec.role == Role::Weight).count();
        assert_eq!(packed.places.iter().filter(|place| place.half).count(), matrices - 1);
        assert!(packed.bytes.len() < whole.bytes.len());
        for ((spec, after), before) in plan.tensors().iter().zip(&packed.state.tensors).zip(&state.tensors) {
            let largest = before.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            for (after, before) in after.iter().zip(before) {
                assert!((after - before).abs() <= largest / 2048.0, "{}: {after} and {before}", spec.name);
            }
        }
        Ok(())
    }
}
