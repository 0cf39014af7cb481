//! Every reference operation with its gradients against PyTorch in float64, at awkward sizes, and the optimisers with
//! weight decay. `make_golden.py` made `operations.safetensors`
//! and `updates.safetensors`.

use std::path::Path;
use std::sync::Arc;

use super::tensors::{Tensors, distance};
use vggkit::engine::cpu::reference::{
    average, average_pool, batch_norm, convolution, cross_entropy, gather, gradient_norm, local_response_normalisation,
    max_pool, optimizer,
};
use vggkit::engine::sample::Target;
use vggkit::engine::{Images, Normalisation, Optimizer, Pick, Update};
use vggkit::vgg::Shape;

const TOLERANCE: f64 = 1e-13;

/// The tensors of one operation.
struct Golden(Tensors, &'static str);

impl Golden {
    fn new(operation: &'static str) -> Self {
        Self::of("operations", operation)
    }

    fn of(file: &str, operation: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/golden");
        Self(Tensors::read(&folder.join(file).with_extension("safetensors")), operation)
    }

    fn get(&self, what: &str) -> Vec<f64> {
        self.0.f64(&format!("{}.{what}", self.1))
    }

    /// Height, width and channels of x [n, height, width, channels].
    fn shape(&self) -> Shape {
        let shape = self.0.shape(&format!("{}.x", self.1));
        Shape::new(shape[1], shape[2], shape[3])
    }

    /// Space for a result, filled so that what is not written shows.
    fn room(&self, what: &str) -> Vec<f64> {
        vec![f64::NAN; self.get(what).len()]
    }

    fn check(&self, what: &str, ours: &[f64]) {
        let distance = distance(ours, &self.get(what));
        assert!(distance < TOLERANCE, "{} {what}: {distance:.2e}", self.1);
    }
}

#[test]
fn convolution_3x3_and_1x1() {
    for (name, kernel) in [("convolution3", 3), ("convolution1", 1)] {
        let golden = Golden::new(name);
        let Shape { height, width, channels } = golden.shape();
        let (x, weight, bias, r) = (golden.get("x"), golden.get("weight"), golden.get("bias"), golden.get("r"));
        let sizes = convolution::Sizes {
            batch: x.len() / golden.shape().elements(),
            height,
            width,
            inputs: channels,
            outputs: bias.len(),
            kernel,
        };
        let mut y = golden.room("y");
        convolution::forward(sizes, &x, &weight, &bias, &mut y);
        golden.check("y", &y);
        let mut dx = golden.room("x");
        convolution::backward_input(sizes, &weight, &r, &mut dx);
        golden.check("dx", &dx);
        let (mut dweight, mut dbias) = (golden.room("weight"), golden.room("bias"));
        convolution::backward_weight(sizes, &x, &r, &mut dweight, &mut dbias);
        golden.check("dweight", &dweight);
        golden.check("dbias", &dbias);
    }
}

#[test]
fn batch_norm_in_training_and_inference() {
    let golden = Golden::new("batch_norm");
    let (x, scale, shift) = (golden.get("x"), golden.get("weight"), golden.get("bias"));
    let (mut mean, mut variance, mut y) = (golden.get("mean"), golden.get("variance"), golden.room("y"));
    let saved = batch_norm::forward_train(&x, &scale, &shift, &mut mean, &mut variance, &mut y);
    golden.check("y", &y);
    golden.check("mean_after", &mean);
    golden.check("variance_after", &variance);
    let (mut dx, mut dscale, mut dshift) = (golden.room("x"), golden.room("weight"), golden.room("bias"));
    batch_norm::backward(&x, &scale, &saved, &golden.get("r"), &mut dx, &mut dscale, &mut dshift);
    golden.check("dx", &dx);
    golden.check("dweight", &dscale);
    golden.check("dbias", &dshift);
    batch_norm::forward_inference(&x, &scale, &shift, &mean, &variance, &mut y);
    golden.check("inference", &y);
}

#[test]
fn max_pool_with_ties_and_an_odd_row() {
    let golden = Golden::new("max_pool");
    let (mut y, mut dx) = (golden.room("y"), golden.room("x"));
    let origins = max_pool::forward(golden.shape(), &golden.get("x"), &mut y);
    golden.check("y", &y);
    max_pool::backward(&origins, &golden.get("r"), &mut dx);
    golden.check("dx", &dx);
}

#[test]
fn average_pool_flattens_channel_first() {
    let golden = Golden::new("average_pool");
    let (mut y, mut dx) = (golden.room("y"), golden.room("x"));
    average_pool::forward(golden.shape(), 2, &golden.get("x"), &mut y);
    golden.check("y", &y);
    average_pool::backward(golden.shape(), 2, &golden.get("r"), &mut dx);
    golden.check("dx", &dx);
}

#[test]
fn local_response_normalisation_has_the_papers_constants() {
    let golden = Golden::new("local_response_normalisation");
    let (mut y, mut dx, x) = (golden.room("y"), golden.room("x"), golden.get("x"));
    let channels = golden.shape().channels;
    local_response_normalisation::forward(channels, &x, &mut y);
    golden.check("y", &y);
    local_response_normalisation::backward(channels, &x, &golden.get("r"), &mut dx);
    golden.check("dx", &dx);
}

#[test]
fn cross_entropy_with_and_without_label_smoothing() {
    let labels: Vec<u32> = Golden::new("cross_entropy").0.labels("cross_entropy.labels");
    for (name, smoothing) in [("cross_entropy0", 0.0), ("cross_entropy10", 0.1)] {
        let golden = Golden::new(name);
        let mut gradient = golden.room("logits");
        let loss =
            cross_entropy::forward_backward(&golden.get("logits"), &Target::each(&labels), smoothing, &mut gradient);
        golden.check("loss", &[loss]);
        golden.check("gradient", &gradient);
    }
}

#[test]
fn optimisers_with_weight_decay() {
    let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    let adamw = Optimizer::AdamW { beta1: 0.8, beta2: 0.95, epsilon: 1e-6, weight_decay: 0.5 };
    for (file, name, rule, learning_rate) in [
        ("operations", "adam", adam, 0.01),
        ("updates", "adamw", Optimizer::adamw(), 0.01),
        ("updates", "adamw_strong", adamw, 0.1),
        ("operations", "sgd", Optimizer::sgd(0.9, 0.1), 0.1),
        ("operations", "sgd_plain", Optimizer::sgd(0.0, 0.1), 0.1),
        ("updates", "sgd_nesterov", Optimizer::Sgd { momentum: 0.9, weight_decay: 0.1, nesterov: true }, 0.1),
    ] {
        let golden = Golden::of(file, name);
        let mut parameter = golden.get("before");
        let mut moments = vec![vec![0.0; parameter.len()]; rule.moments().len()];
        for step in 0..4 {
            let gradient = golden.get(&format!("gradient{step}"));
            let mut slices: Vec<_> = moments.iter_mut().map(Vec::as_mut_slice).collect();
            optimizer::update(&rule, learning_rate, step + 1, &mut parameter, &gradient, &mut slices);
            golden.check(&format!("after{step}"), &parameter);
        }
    }
}

#[test]
fn gradients_are_clipped_together() {
    for (name, most) in [("clip", 0.5), ("clip_not", 50.0)] {
        let golden = Golden::of("updates", name);
        let gradients = [golden.get("gradient0"), golden.get("gradient1")];
        let norm = gradient_norm::norm(&gradients);
        golden.check("norm", &[norm]);
        let factor = gradient_norm::factor(norm, most);
        assert_eq!(factor < 1.0, name == "clip");
        for (index, gradient) in gradients.iter().enumerate() {
            golden.check(&format!("clipped{index}"), &gradient.iter().map(|g| factor * g).collect::<Vec<_>>());
        }
    }
}

#[test]
fn an_average_follows() {
    let golden = Golden::of("updates", "average");
    let mut averaged = golden.get("before");
    for step in 0..4 {
        average::follow(&mut averaged, &golden.get(&format!("live{step}")), Update::average_share(0.9, step + 1));
        golden.check(&format!("after{step}"), &averaged);
    }
}

#[test]
fn resizing_is_antialiased_bilinear() {
    let golden = Golden::new("resize");
    let pixels: Vec<u8> = golden.get("image").iter().map(|v| *v as u8).collect();
    let images = Images { pixels: Arc::new(pixels), count: 1, height: 7, width: 5, labels: Arc::new([]) };
    let plain = Normalisation { mean: [0.0; 3], std: [1.0; 3] };
    for size in [3, 7, 11] {
        let ours: Vec<f64> = gather::gather(&images, &[Pick::default()], size, &plain);
        let ours: Vec<f64> = ours.iter().map(|v| v * 255.0).collect();
        golden.check(&format!("to{size}"), &ours);
    }
}
