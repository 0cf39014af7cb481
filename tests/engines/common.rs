//! What tests of several engines share.

use vggkit::engine::State;
use vggkit::vgg::{Network, Plan, initialisation};

/// VGG-11 for ten classes that trains in moments.
pub fn narrow() -> Network {
    Network { width: 0.125, classes: 10, image_size: 32, ..Network::default() }
}

/// First weights with signal in every layer: N(0, 0.01) leaves none in narrow linear layers.
pub fn first_state(plan: &Plan) -> State {
    let mut tensors = initialisation::initialise(plan, 2);
    for (spec, values) in plan.tensors().iter().zip(&mut tensors) {
        if spec.shape.len() == 2 {
            let factor = 100.0 * (2.0 / spec.shape[1] as f32).sqrt();
            values.iter_mut().for_each(|v| *v *= factor);
        }
    }
    State::new(tensors)
}

/// ||a - b|| / ||b||.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut b.iter().map(|v| f64::from(*v))).max(1e-30)
}
