//! A folded convolution computes what the convolution and its batch normalisation compute one after the other.

use vggkit::export::onnx::{self, Options};
use vggkit::vgg::{Head, Network};

use crate::structure::trained;
use crate::{constant, floats};

/// One output of a convolution at one place: its filter times what it sees, in f64.
fn product(filter: &[f32], seen: &[f64], bias: f32) -> f64 {
    filter.iter().zip(seen).map(|(weight, x)| f64::from(*weight) * x).sum::<f64>() + f64::from(bias)
}

#[test]
fn every_folded_convolution_does_both() {
    let network = Network { depth: 16, conv1x1: true, width: 0.05, head: Head::Average, ..Network::default() };
    let trained = trained(&network);
    let model = onnx::model(trained.clone(), &Options::default()).expect("a model");
    let mut tensors = trained.plan.tensors().into_iter().zip(&trained.tensors).peekable();
    let mut folded = 0;
    while let Some((spec, weight)) = tensors.next() {
        if spec.shape.len() != 4 {
            continue;
        }
        let mut behind = || tensors.next().expect("a convolution has a bias and a batch normalisation").1;
        let [bias, scale, shift, mean, variance] = [(); 5].map(|()| behind());
        let (new, new_bias) =
            (floats(constant(&model, &spec.name)), floats(constant(&model, &spec.name.replace("weight", "bias"))));
        let size = weight.len() / spec.shape[0];
        let seen: Vec<f64> = (0..size).map(|i| (i as f64 * 0.7).sin()).collect();
        for channel in 0..spec.shape[0] {
            let filter = channel * size..(channel + 1) * size;
            let x = product(&weight[filter.clone()], &seen, bias[channel]);
            let [scale, shift, mean, variance] = [scale, shift, mean, variance].map(|of| f64::from(of[channel]));
            let apart = (x - mean) / (variance + 1e-5).sqrt() * scale + shift;
            let at_once = product(&new[filter], &seen, new_bias[channel]);
            assert!((apart - at_once).abs() < 1e-6 * (1.0 + apart.abs()), "{} {channel}: {apart} {at_once}", spec.name);
        }
        folded += 1;
    }
    assert_eq!(folded, 13);
}
