//! The plan of one network: every layer with its name, shapes, parameters, multiply-accumulates and memory.
//!
//! A plan is static and computes nothing. Engines execute it, `describe` and the report print it.
//! Layer names count as torchvision's `vgg*` modules do: `features.N`, `avgpool`, `classifier.N`.

use serde::Serialize;

use super::network::{Head, Network};
use super::operation::Operation;
use super::table::{Configuration, HIDDEN};
use crate::error::{Error, Result};

/// Height, width and channels of one sample's activation, NHWC without the N. Linear layers have height = width = 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, or features of a linear layer.
    pub channels: usize,
}

impl Shape {
    /// A shape.
    pub const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }
    /// Rows times columns.
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }
    /// Numbers in one sample's activation.
    pub const fn elements(&self) -> usize {
        self.pixels() * self.channels
    }
}

/// One layer of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// torchvision's module name, e.g. `features.0`; the prefix of its parameters' names.
    pub name: String,
    /// What it computes.
    pub operation: Operation,
    /// One sample's input.
    pub input: Shape,
    /// One sample's output.
    pub output: Shape,
    /// Trainable numbers.
    pub parameters: usize,
    /// Multiply-accumulates of one sample's forward pass (convolutions and linear layers).
    pub macs: u64,
}

impl Network {
    /// Lays the network out. Errors name the setting and what is allowed.
    pub fn plan(&self) -> Result<Plan> {
        let configuration = self.configuration()?;
        if !(self.width.is_finite() && self.width > 0.0 && self.width <= 16.0) {
            return Err(Error::usage(format!("width {} is not above 0 and at most 16", self.width)));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::usage(format!("dropout {} is not at least 0 and below 1", self.dropout)));
        }
        if self.dropout > 0.0 && self.head != Head::Classic {
            return Err(Error::usage(format!(
                "dropout {} goes after the two hidden linear layers, which only the classic head has",
                self.dropout
            ))
            .with_help("leave --dropout out, or choose --head classic"));
        }
        if !Self::IMAGE_SIZES.contains(&self.image_size) {
            return Err(Error::usage(format!(
                "image size {} is not from 32 to 4096 pixels: four 2x2 poolings and a 2x2 average need 32",
                self.image_size
            )));
        }
        if !(1..=1_000_000).contains(&self.classes) {
            return Err(Error::usage(format!("{} classes: from 1 to 1,000,000 are possible", self.classes)));
        }
        Ok(Plan { layers: Builder::new(self).build(configuration), network: self.clone(), frozen: 0 })
    }
}

/// A network laid out layer by layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// What it was made from.
    pub network: Network,
    /// The layers in forward order.
    pub layers: Vec<Layer>,
    /// How many of the first layers no training changes ([`Plan::freeze`]).
    pub frozen: usize,
}

impl Plan {
    /// One sample's input: image_size x image_size x 3.
    pub fn input(&self) -> Shape {
        Shape::new(self.network.image_size, self.network.image_size, 3)
    }

    /// All trainable numbers.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.parameters).sum()
    }

    /// Multiply-accumulates of one sample's forward pass.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.macs).sum()
    }

    /// Parameters and buffers with torchvision's names, shapes and order of `state_dict()`.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let frozen = |index: usize, spec| TensorSpec { frozen: index < self.frozen, ..spec };
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(index, layer)| layer.tensors().into_iter().map(move |spec| frozen(index, spec))).collect()
    }
}

/// What a named tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Convolution [O,I,H,W] or linear [out,in] weight.
    Weight,
    /// Bias of a convolution or linear layer.
    Bias,
    /// Batch normalisation's gamma.
    Scale,
    /// Batch normalisation's beta.
    Shift,
    /// A buffer: not trained.
    RunningMean,
    /// A buffer: not trained.
    RunningVariance,
}

impl Role {
    /// Whether an optimiser updates it, where it is not frozen.
    pub fn trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// Name, shape and role of a parameter or buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorSpec {
    /// torchvision's name, e.g. `features.0.weight`.
    pub name: String,
    /// torchvision's shape.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
    /// Whether it is one of a layer that no training changes; of a layer alone, which does not know, false.
    pub frozen: bool,
}

impl TensorSpec {
    /// Numbers in it.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the optimiser updates it.
    pub fn trained(&self) -> bool {
        self.role.trained() && !self.frozen
    }
}

impl Layer {
    /// Whether it is a convolution or a linear layer.
    pub fn is_weighted(&self) -> bool {
        matches!(self.operation, Operation::Conv2d { .. } | Operation::Linear)
    }

    /// Its parameters and buffers in `state_dict()` order (`num_batches_tracked`, an integer, is left to weight files).
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let spec = |suffix: &str, shape: &[usize], role| TensorSpec {
            name: format!("{}.{suffix}", self.name),
            shape: shape.to_vec(),
            role,
            frozen: false,
        };
        let (i, o) = (self.input.channels, self.output.channels);
        match self.operation {
            Operation::Conv2d { kernel } => {
                vec![spec("weight", &[o, i, kernel, kernel], Role::Weight), spec("bias", &[o], Role::Bias)]
            }
            Operation::BatchNorm2d => vec![
                spec("weight", &[o], Role::Scale),
                spec("bias", &[o], Role::Shift),
                spec("running_mean", &[o], Role::RunningMean),
                spec("running_var", &[o], Role::RunningVariance),
            ],
            Operation::Linear => {
                vec![spec("weight", &[o, self.input.elements()], Role::Weight), spec("bias", &[o], Role::Bias)]
            }
            _ => Vec::new(),
        }
    }
}

/// Walks down the column and keeps the running shape and torchvision's index.
struct Builder<'a> {
    network: &'a Network,
    layers: Vec<Layer>,
    shape: Shape,
    section: &'static str,
    index: usize,
}

impl<'a> Builder<'a> {
    fn new(network: &'a Network) -> Self {
        let shape = Shape::new(network.image_size, network.image_size, 3);
        Self { network, layers: Vec::new(), shape, section: "features", index: 0 }
    }

    fn build(mut self, configuration: &Configuration) -> Vec<Layer> {
        for (stage, convolutions) in configuration.stages.iter().enumerate() {
            for convolution in *convolutions {
                let channels = self.network.scaled(convolution.channels);
                let same_size = Shape { channels, ..self.shape };
                self.push(Operation::Conv2d { kernel: convolution.kernel }, same_size);
                if self.network.batch_norm {
                    self.push(Operation::BatchNorm2d, self.shape);
                }
                self.push(Operation::Relu, self.shape);
                if configuration.lrn && self.layers.iter().all(|l| l.operation != Operation::LocalResponseNorm) {
                    self.push(Operation::LocalResponseNorm, self.shape);
                }
            }
            if stage < 4 {
                // The replaced project leaves out the fifth pooling: 64x64 images arrive here as 4x4 maps.
                self.push(
                    Operation::MaxPool2d,
                    Shape { height: self.shape.height / 2, width: self.shape.width / 2, ..self.shape },
                );
            }
        }
        self.section = "avgpool";
        let size = self.network.head.averages();
        self.push(Operation::AdaptiveAvgPool2d { size }, Shape { height: size, width: size, ..self.shape });
        self.section = "classifier";
        self.index = 0;
        let hidden = Shape::new(1, 1, self.network.scaled(HIDDEN));
        let dropout = Operation::Dropout { probability: self.network.dropout };
        let layers = if self.network.head == Head::Classic { 2 } else { 0 };
        for _ in 0..layers {
            self.push(Operation::Linear, hidden);
            self.push(Operation::Relu, hidden);
            self.push(dropout, hidden);
        }
        self.push(Operation::Linear, Shape::new(1, 1, self.network.classes));
        self.layers
    }

    fn push(&mut self, operation: Operation, output: Shape) {
        let input = self.shape;
        let name = match self.section {
            "avgpool" => "avgpool".to_owned(),
            section => format!("{section}.{}", self.index),
        };
        self.index += 1;
        let macs = match operation {
            Operation::Conv2d { kernel } => output.elements() * input.channels * kernel * kernel,
            Operation::Linear => input.elements() * output.channels,
            _ => 0,
        };
        let mut layer = Layer { name, operation, input, output, parameters: 0, macs: macs as u64 };
        layer.parameters = layer.tensors().iter().filter(|t| t.role.trained()).map(TensorSpec::elements).sum();
        self.layers.push(layer);
        self.shape = output;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(depth: usize) -> Network {
        Network { depth, ..Network::default() }
    }

    #[test]
    fn parameters_at_200_classes() -> Result<()> {
        // PyTorch's count for the same networks (vgg11_bn with 2048-4096-4096-200 and so on).
        for (depth, conv1x1, expected) in [
            (11, false, 35_219_400),
            (13, false, 35_404_296),
            (16, false, 40_716_552),
            (16, true, 35_997_960),
            (19, false, 46_028_808),
        ] {
            let plan = Network { conv1x1, ..network(depth) }.plan()?;
            assert_eq!(plan.parameters(), expected, "depth {depth} conv1x1 {conv1x1}");
        }
        Ok(())
    }

    #[test]
    fn a_head_is_three_layers_or_one() -> Result<()> {
        // The classifier of VGG-11 at 200 classes: 2048 to 4096 to 4096 to 200, and 2048 or 512 to 200, each with biases.
        let parameters =
            |head| Network { head, ..network(11) }.plan().map(|plan| (plan.layers.len(), plan.parameters()));
        let (layers, classic) = parameters(Head::Classic)?;
        let hidden = 2048 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 200;
        assert_eq!(parameters(Head::Linear)?, (layers - 6, classic - hidden + 2048 * 200));
        assert_eq!(parameters(Head::Average)?, (layers - 6, classic - hidden + 512 * 200));
        let plan = Network { head: Head::Average, image_size: 100, ..network(16) }.plan()?;
        let names: Vec<_> = plan.tensors().into_iter().rev().take(2).map(|t| t.name).collect();
        assert_eq!(names, ["classifier.0.bias", "classifier.0.weight"]);
        Ok(())
    }

    #[test]
    fn names_follow_torchvision() -> Result<()> {
        let plan = network(11).plan()?;
        let names: Vec<_> = plan.tensors().into_iter().map(|t| t.name).collect();
        assert!(names.contains(&"features.26.running_mean".to_owned()));
        assert!(names.contains(&"classifier.6.bias".to_owned()));
        let plain = Network { batch_norm: false, ..network(16) }.plan()?;
        assert_eq!(plain.tensors()[2].name, "features.2.weight");
        Ok(())
    }

    #[test]
    fn odd_sizes_follow_floor_pooling() -> Result<()> {
        let plan = Network { image_size: 75, ..network(11) }.plan()?;
        let heights: Vec<_> =
            plan.layers.iter().filter(|l| l.operation == Operation::MaxPool2d).map(|l| l.output.height).collect();
        assert_eq!(heights, [37, 18, 9, 4]);
        Ok(())
    }

    #[test]
    fn impossible_combinations_say_so() {
        for (network, part) in [
            (Network { conv1x1: true, ..network(11) }, "depth 16"),
            (Network { lrn: true, ..network(13) }, "depth 11"),
            (Network { depth: 12, ..Network::default() }, "11, 13, 16, 19"),
            (Network { image_size: 31, ..Network::default() }, "32"),
            (Network { width: 0.0, ..Network::default() }, "width"),
            (Network { dropout: 1.0, ..Network::default() }, "dropout"),
            (Network { dropout: 0.5, head: Head::Average, ..Network::default() }, "classic head"),
        ] {
            let error = network.plan().expect_err("must be refused");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
