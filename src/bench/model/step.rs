//! What a training step on one device consists of, layer by layer: of a measurement with all its operations, or of its seconds
//! alone, which are then shared out by multiply-adds. Measures nothing.

use std::path::Path;

use crate::bench::{Measured, Operation};
use crate::error::{Error, Result};
use crate::vgg::{Network, Plan};

/// A convolution or linear layer with what follows it, in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerStep {
    /// Numbers of its gradient that travel when it is there.
    pub weights: usize,
    /// Seconds of the forward pass.
    pub forward: f64,
    /// Seconds of the backward pass until its gradients are there.
    pub weight_gradient: f64,
    /// Seconds of the backward pass after that.
    pub input_gradient: f64,
}

impl LayerStep {
    /// Bytes of its gradients, in f32.
    pub fn gradient_bytes(&self) -> f64 {
        4.0 * self.weights as f64
    }
}

/// A training step on one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// In the order of the forward pass.
    pub layers: Vec<LayerStep>,
    /// Numbers of gradients that every layer adds to, biases and those of normalisations, which travel at the end.
    pub small: usize,
    /// Seconds of the update.
    pub update: f64,
    /// Whether each bucket is updated as soon as it is summed, or all of them when all are.
    pub update_by_bucket: bool,
}

impl Step {
    /// Of `seconds`, of which each layer's forward pass, weight gradient and input gradient have as many as they have
    /// multiply-adds; the first layer's input has no gradient. `layers`: multiply-adds of a forward pass and numbers of its gradient.
    pub fn estimated(layers: &[(f64, usize)], seconds: f64) -> Self {
        let whole =
            3.0 * layers.iter().map(|(macs, _)| macs).sum::<f64>() - layers.first().map_or(0.0, |(macs, _)| *macs);
        let layers = layers.iter().enumerate().map(|(index, &(macs, weights))| {
            let pass = seconds * macs / whole;
            let input_gradient = if index == 0 { 0.0 } else { pass };
            LayerStep { weights, forward: pass, weight_gradient: pass, input_gradient }
        });
        Self { layers: layers.collect(), small: 0, update: 0.0, update_by_bucket: false }
    }

    /// A plan's step of so many `seconds`, shared out by multiply-adds.
    pub fn of_plan(plan: &Plan, seconds: f64) -> Self {
        let (weights, small) = numbers(plan);
        let macs = plan.layers.iter().filter(|layer| layer.is_weighted()).map(|layer| layer.macs as f64);
        Self { small, ..Self::estimated(&macs.zip(weights).collect::<Vec<_>>(), seconds) }
    }

    /// The step that `measured` has the operations of, scaled to its images per second: reading clocks takes time too. `engine` is
    /// the one it was measured with. Errors: it has no operations, or those of another network; `path` is where it stands.
    pub fn measured(measured: &Measured, batch_size: usize, engine: &str, path: &Path) -> Result<Self> {
        let plan = measured.network.plan()?;
        let title = plan.network.title();
        let whole: f64 = measured.operations.iter().map(|operation| operation.seconds).sum();
        if !(whole > 0.0 && measured.images_per_s > 0.0) {
            return Err(Error::data(path, format!("has no times of the operations of {title}"))
                .with_help("measure it without --no-layers"));
        }
        let scale = batch_size as f64 / measured.images_per_s / whole;
        let (weights, small) = numbers(&plan);
        let layers = weights.into_iter().map(|weights| LayerStep { weights, ..LayerStep::default() });
        let mut step = Self { layers: layers.collect(), small, update: 0.0, update_by_bucket: engine == "cpu" };
        for Operation { name, seconds, .. } in &measured.operations {
            let place = step.place(&plan, name);
            let place = place
                .ok_or_else(|| Error::data(path, format!("has an operation that {title} does not have: {name}")))?;
            *place += scale * seconds;
        }
        Ok(step)
    }

    /// Where the seconds of an operation count, as `vggkit bench` names them; None for one of a layer that `plan` does not have.
    fn place(&mut self, plan: &Plan, operation: &str) -> Option<&mut f64> {
        let (layer, pass) = operation.split_once(' ').unwrap_or((operation, ""));
        match operation {
            "update" | "overflow" => return Some(&mut self.update),
            // What stands between the passes or ahead of them delays the forward pass's end.
            _ if pass.is_empty() || operation == "loss scale" => {
                return self.layers.last_mut().map(|last| &mut last.forward);
            }
            _ => {}
        }
        let at = plan.layers.iter().position(|l| l.name == layer)?;
        // What has no weights is part of the layer ahead of it, whose gradient waits for it.
        let weighted = plan.layers[..=at].iter().filter(|layer| layer.is_weighted()).count();
        let own = plan.layers[at].is_weighted();
        let layer = self.layers.get_mut(weighted.checked_sub(1)?)?;
        Some(match pass {
            "input gradient" if own => &mut layer.input_gradient,
            _ if pass.contains("gradient") || pass.contains("backward") => &mut layer.weight_gradient,
            _ => &mut layer.forward,
        })
    }

    /// The same step with the head of `network`, which is as deep, in place of the classic one: its linear layer takes what
    /// the last of the classic ones takes, which is more than it needs, and the update what its parameters are of all. Errors:
    /// `network` has no plan.
    pub fn with_head_of(&self, network: &Network) -> Result<Self> {
        let (weights, small) = numbers(&network.plan()?);
        let mut layers = self.layers.clone();
        if layers.len() > weights.len() {
            layers.drain(weights.len() - 1..layers.len() - 1);
        }
        layers.iter_mut().zip(weights).for_each(|(layer, weights)| layer.weights = weights);
        let step = Self { layers, small, ..*self };
        Ok(Self { update: self.update * step.gradient_bytes() / self.gradient_bytes(), ..step })
    }

    /// Seconds of all of it.
    pub fn seconds(&self) -> f64 {
        let seconds = |layer: &LayerStep| layer.forward + layer.weight_gradient + layer.input_gradient;
        self.layers.iter().map(seconds).sum::<f64>() + self.update
    }

    /// Bytes of the gradients that travel at the end, in f32.
    pub fn small_bytes(&self) -> f64 {
        4.0 * self.small as f64
    }

    /// Bytes of all gradients, in f32.
    pub fn gradient_bytes(&self) -> f64 {
        self.layers.iter().map(LayerStep::gradient_bytes).sum::<f64>() + self.small_bytes()
    }
}

/// The weights of each convolution and linear layer, and all other trained numbers together.
fn numbers(plan: &Plan) -> (Vec<usize>, usize) {
    let weighted = plan.layers.iter().filter(|layer| layer.is_weighted());
    let weights: Vec<usize> =
        weighted.filter_map(|layer| layer.tensors().into_iter().next()).map(|weight| weight.elements()).collect();
    let small = plan.parameters() - weights.iter().sum::<usize>();
    (weights, small)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vgg::Head;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs()
    }

    /// VGG-11 with the named operations, at 10 images a second.
    fn measured(operations: &[(&str, f64)]) -> Measured {
        let operation = |(name, seconds): &(&str, f64)| {
            json!({ "name": name, "variant": null, "seconds": seconds, "share_of_step": 0.0, "flops": null,
                    "share_of_flops": null, "bytes_per_s": 0.0, "share_of_bytes": null })
        };
        let operations: Vec<_> = operations.iter().map(operation).collect();
        serde_json::from_value(json!({
            "network": Network::default(), "micro_batch": 20, "memory_bytes": 0, "seconds_to_first_step": 0.0,
            "images_per_s": 10.0, "rounds": [10.0], "flops": 0.0, "share_of_limit": null, "operations": operations,
            "pytorch": [], "earlier": null,
        }))
        .expect("a measurement")
    }

    #[test]
    fn operations_count_where_they_are_waited_for() -> Result<()> {
        let path = Path::new("before.json");
        // 1 s by the clocks, 2 s by the rate of 20 images.
        let measured = measured(&[
            ("gather", 0.02),
            ("features.0 forward", 0.1),
            ("features.0 activation", 0.05),
            ("classifier.6 forward", 0.03),
            ("loss", 0.01),
            ("loss scale", 0.01),
            ("classifier.6 weight gradient", 0.08),
            ("classifier.6 input gradient", 0.07),
            ("avgpool activation gradient", 0.04),
            ("features.25 activation backward", 0.09),
            ("features.25 weight gradient", 0.1),
            ("features.25 input gradient", 0.2),
            ("overflow", 0.05),
            ("update", 0.15),
        ]);
        let step = Step::measured(&measured, 20, "cpu", path)?;
        let [first, .., last_convolution, _, _, last] = &step.layers[..] else { panic!("11 layers") };
        assert!(step.layers.len() == 11 && close(step.seconds(), 2.0) && close(step.update, 0.4));
        assert!(close(first.forward, 0.3) && first.input_gradient == 0.0);
        assert!(close(last.forward, 0.14) && close(last.weight_gradient, 0.16) && close(last.input_gradient, 0.14));
        assert!(close(last_convolution.weight_gradient, 0.46) && close(last_convolution.input_gradient, 0.4));
        let plan = Network::default().plan()?;
        assert_eq!(step.layers.iter().map(|layer| layer.weights).sum::<usize>() + step.small, plan.parameters());
        assert_eq!(first.weights, 27 * 64);
        // Biases, scales and shifts of 2752 channels, biases of the linear layers.
        assert_eq!(step.small, 3 * (64 + 128 + 2 * 256 + 4 * 512) + 2 * 4096 + 200);
        assert!(step.update_by_bucket && !Step::measured(&measured, 20, "gpu", path)?.update_by_bucket);
        Ok(())
    }

    #[test]
    fn another_head_keeps_the_convolutions_and_the_last_layer() -> Result<()> {
        let classic = Step::measured(
            &measured(&[
                ("features.0 forward", 0.5),
                ("classifier.3 forward", 0.2),
                ("classifier.6 forward", 0.1),
                ("update", 0.2),
            ]),
            10,
            "gpu",
            Path::new("before.json"),
        )?;
        let network = Network { head: Head::Average, ..Network::default() };
        let average = classic.with_head_of(&network)?;
        let parameters = network.plan()?.parameters();
        assert_eq!(average.gradient_bytes(), 4.0 * parameters as f64);
        assert!(close(average.layers[0].forward, 0.5) && close(average.layers[8].forward, 0.1));
        assert_eq!((average.layers.len(), average.layers[8].weights), (9, 512 * 200));
        assert!(close(average.update, 0.2 * average.gradient_bytes() / classic.gradient_bytes()));
        assert_eq!(classic.with_head_of(&Network::default())?, classic);
        Ok(())
    }

    #[test]
    fn what_is_no_training_of_the_network_is_refused() {
        let refused = |operations: &[(&str, f64)]| {
            Step::measured(&measured(operations), 10, "gpu", Path::new("before.json")).expect_err("refused").to_string()
        };
        assert!(refused(&[]).contains("before.json: has no times of the operations of VGG-11"), "{}", refused(&[]));
        let unknown = refused(&[("features.99 forward", 1.0)]);
        assert!(unknown.contains("features.99 forward"), "{unknown}");
    }

    #[test]
    fn seconds_alone_are_shared_out_by_multiply_adds() -> Result<()> {
        let plan = Network { depth: 16, ..Network::default() }.plan()?;
        let step = Step::of_plan(&plan, 3.0);
        assert!(close(step.seconds(), 3.0) && close(step.gradient_bytes(), 4.0 * plan.parameters() as f64));
        let (first, second) = (&step.layers[0], &step.layers[1]);
        // features.3 has 64 inputs where features.0 has 3.
        assert!(first.input_gradient == 0.0 && close(second.forward / first.forward, 64.0 / 3.0));
        assert!(close(second.forward, second.weight_gradient) && close(second.forward, second.input_gradient));
        Ok(())
    }
}
