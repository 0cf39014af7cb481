//! What an operation of the CPU engine has to do at least: floating point operations as a direct convolution, and bytes
//! of inputs, outputs and parameters, each once. Measures nothing.

use crate::vgg::{Layer, Operation, Plan, Shape};

/// Floating point operations of one image in inference (`training` false) or in a whole training step, in which the
/// first layer's input has no gradient.
pub fn of_image(plan: &Plan, training: bool) -> f64 {
    let whole = plan.macs() as f64;
    let first = plan.layers.first().map_or(0.0, |layer| layer.macs as f64);
    2.0 * if training { 3.0 * whole - first } else { whole }
}

/// Floating point operations and bytes of the operation `<layer> <pass>` over a batch; None where nothing is done, so
/// that a clock shows but the time between two readings: the first layer's input has no gradient, and a ReLU alone is
/// part of the convolution ahead of it.
pub fn of_operation(plan: &Plan, name: &str, batch: usize) -> Option<(Option<f64>, f64)> {
    let parameters = plan.parameters() as f64;
    if name == "update" {
        return Some((None, 7.0 * 4.0 * parameters)); // Adam reads four numbers a parameter and writes three
    }
    let other = Some((None, 0.0));
    let Some((layer, pass)) = name.split_once(' ') else { return other };
    let Some(at) = plan.layers.iter().position(|l| l.name == layer) else { return other };
    let layer = &plan.layers[at];
    let floats = |shape: Shape| (batch * shape.elements()) as f64;
    let (z, x) = (floats(layer.output), floats(layer.input));
    let fused = plan.layers[at + 1..].iter().take_while(|l| !l.is_weighted());
    let y = fused.clone().last().map_or(z, |l| floats(l.output));
    let passes_over = |l: &Layer| matches!(l.operation, Operation::BatchNorm2d | Operation::MaxPool2d);
    match pass {
        "input gradient" if at == 0 => None,
        "activation forward" => fused.clone().any(passes_over).then_some((None, 4.0 * (z + y))),
        "activation backward" => Some((None, 4.0 * (2.0 * z + y))),
        _ if layer.is_weighted() => {
            Some((Some(2.0 * (layer.macs as usize * batch) as f64), 4.0 * (x + z + layer.parameters as f64)))
        }
        "forward" => Some((None, 4.0 * (x + z))),
        _ => Some((None, 4.0 * (2.0 * x + z))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::Network;

    #[test]
    fn costs_by_hand() {
        let network = Network { depth: 11, classes: 10, image_size: 32, ..Network::default() };
        let plan = network.plan().expect("a plan");
        let of = |name: &str| of_operation(&plan, name, 5);
        // 3 to 64 channels at 32x32, 3x3: 27 * 64 multiply-adds a pixel.
        let (pixels, weights) = (5.0 * 32.0 * 32.0, 27.0 * 64.0);
        assert_eq!(
            of("features.0 forward"),
            Some((Some(2.0 * pixels * weights), 4.0 * (pixels * 67.0 + weights + 64.0)))
        );
        assert_eq!(of("features.0 weight gradient"), of("features.0 forward"));
        assert_eq!(of("features.0 input gradient"), None);
        assert_eq!(of("features.0 activation forward"), Some((None, 4.0 * 64.0 * (pixels + pixels / 4.0))));
        assert_eq!(of("features.0 activation backward"), Some((None, 4.0 * 64.0 * (2.0 * pixels + pixels / 4.0))));
        let linear = of("classifier.6 input gradient").expect("it is done");
        assert_eq!(linear, (Some(2.0 * 5.0 * 40960.0), 4.0 * (5.0 * (4096.0 + 10.0) + 40960.0 + 10.0)));
        assert_eq!(of("update"), Some((None, 28.0 * plan.parameters() as f64)));
        assert_eq!(of("loss"), Some((None, 0.0)));
        let first = plan.layers[0].macs as f64;
        assert_eq!(of_image(&plan, false), 2.0 * plan.macs() as f64);
        assert_eq!(of_image(&plan, true), 6.0 * plan.macs() as f64 - 2.0 * first);
    }

    #[test]
    fn a_relu_alone_is_part_of_its_convolution() {
        let plan = Network { depth: 11, batch_norm: false, ..Network::default() }.plan().expect("a plan");
        // features.0 and features.3 are pooled, features.6 is not.
        let idle = ["features.0", "features.3", "features.6"]
            .map(|layer| of_operation(&plan, &format!("{layer} activation forward"), 1).is_none());
        assert_eq!(idle, [false, false, true]);
    }
}
