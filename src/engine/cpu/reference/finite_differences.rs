//! Every backward pass against central differences of its forward pass, in f64, at awkward sizes: odd, 1, non-square,
//! and channel counts that are no multiple of anything.
//!
//! The scalar that is differentiated is sum(y * r) with random r, so dy = r.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::engine::Optimizer;
use crate::engine::random::DropoutMask;
use crate::engine::sample::Target;
use crate::vgg::Shape;

const STEP: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;
/// (batch, height, width, channels)
const SIZES: [(usize, usize, usize, usize); 6] =
    [(1, 1, 1, 1), (2, 3, 5, 3), (3, 4, 2, 7), (1, 7, 1, 3), (2, 1, 4, 1), (1, 5, 5, 7)];

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| generator.random_range(-1.0..1.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Compares `gradient` with the differences of `f` around `at`.
fn check(what: &str, at: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(at.len(), gradient.len(), "{what}");
    for i in 0..at.len() {
        let moved = |by: f64| {
            let mut x = at.to_vec();
            x[i] += by;
            f(&x)
        };
        let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        let error = (expected - gradient[i]).abs() / expected.abs().max(1.0);
        assert!(error < TOLERANCE, "{what}[{i}]: {} by formula, {expected} by differences", gradient[i]);
    }
}

#[test]
fn convolution_backward() {
    for (batch, height, width, inputs) in SIZES {
        for (kernel, outputs) in [(3, 1), (3, 4), (1, 5), (1, 1)] {
            let sizes = convolution::Sizes { batch, height, width, inputs, outputs, kernel };
            let x = random(batch * height * width * inputs, 1);
            let weight = random(outputs * inputs * kernel * kernel, 2);
            let bias = random(outputs, 3);
            let r = random(batch * height * width * outputs, 4);
            let f = |x: &[f64], weight: &[f64], bias: &[f64]| {
                let mut y = vec![f64::NAN; r.len()];
                convolution::forward(sizes, x, weight, bias, &mut y);
                dot(&y, &r)
            };
            let (mut dx, mut dw, mut db) =
                (vec![f64::NAN; x.len()], vec![f64::NAN; weight.len()], vec![f64::NAN; outputs]);
            convolution::backward_input(sizes, &weight, &r, &mut dx);
            convolution::backward_weight(sizes, &x, &r, &mut dw, &mut db);
            check(&format!("{sizes:?} x"), &x, &dx, |x| f(x, &weight, &bias));
            check(&format!("{sizes:?} weight"), &weight, &dw, |w| f(&x, w, &bias));
            check(&format!("{sizes:?} bias"), &bias, &db, |b| f(&x, &weight, b));
        }
    }
}

#[test]
fn batch_norm_backward() {
    for (batch, height, width, channels) in SIZES {
        let rows = batch * height * width;
        if rows == 1 {
            continue; // y does not depend on x: no plan has this
        }
        let (x, scale, shift) = (random(rows * channels, 1), random(channels, 2), random(channels, 3));
        let r = random(rows * channels, 4);
        let forward = |x: &[f64], scale: &[f64], shift: &[f64]| {
            let (mut mean, mut variance) = (vec![0.0; channels], vec![1.0; channels]);
            let mut y = vec![f64::NAN; x.len()];
            let saved = batch_norm::forward_train(x, scale, shift, &mut mean, &mut variance, &mut y);
            (dot(&y, &r), saved)
        };
        let (mut dx, mut dscale, mut dshift) =
            (vec![f64::NAN; x.len()], vec![f64::NAN; channels], vec![f64::NAN; channels]);
        batch_norm::backward(&x, &scale, &forward(&x, &scale, &shift).1, &r, &mut dx, &mut dscale, &mut dshift);
        let what = format!("{rows}x{channels}");
        // Two rows that lie close together bend sharply: the differences themselves are then off.
        if rows > 4 {
            check(&format!("{what} x"), &x, &dx, |x| forward(x, &scale, &shift).0);
        }
        check(&format!("{what} scale"), &scale, &dscale, |s| forward(&x, s, &shift).0);
        check(&format!("{what} shift"), &shift, &dshift, |s| forward(&x, &scale, s).0);
    }
}

#[test]
fn relu_backward() {
    let (x, r) = (random(101, 1), random(101, 2));
    let forward = |x: &[f64]| {
        let mut y = x.to_vec();
        relu::forward(&mut y);
        y
    };
    let mut dx = r.clone();
    relu::backward(&forward(&x), &mut dx);
    check("relu", &x, &dx, |x| dot(&forward(x), &r));
}

#[test]
fn max_pool_backward() {
    for (batch, height, width, channels) in SIZES {
        let input = Shape::new(height, width, channels);
        let x = random(batch * input.elements(), 1);
        let r = random(batch * (height / 2) * (width / 2) * channels, 2);
        let forward = |x: &[f64]| {
            let mut y = vec![f64::NAN; r.len()];
            let origins = max_pool::forward(input, x, &mut y);
            (dot(&y, &r), origins)
        };
        let mut dx = vec![f64::NAN; x.len()];
        max_pool::backward(&forward(&x).1, &r, &mut dx);
        check(&format!("{input:?}"), &x, &dx, |x| forward(x).0);
    }
}

#[test]
fn average_pool_backward() {
    for (batch, height, width, channels) in SIZES {
        for size in [1, 2, 3] {
            let input = Shape::new(height, width, channels);
            let x = random(batch * input.elements(), 1);
            let r = random(batch * size * size * channels, 2);
            let mut dx = vec![f64::NAN; x.len()];
            average_pool::backward(input, size, &r, &mut dx);
            check(&format!("{input:?} to {size}"), &x, &dx, |x| {
                let mut y = vec![f64::NAN; r.len()];
                average_pool::forward(input, size, x, &mut y);
                dot(&y, &r)
            });
        }
    }
}

#[test]
fn linear_backward() {
    for (batch, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (2, 1, 3), (5, 3, 1)] {
        let (x, weight, bias) = (random(batch * inputs, 1), random(outputs * inputs, 2), random(outputs, 3));
        let r = random(batch * outputs, 4);
        let f = |x: &[f64], weight: &[f64], bias: &[f64]| {
            let mut y = vec![f64::NAN; r.len()];
            linear::forward(inputs, x, weight, bias, &mut y);
            dot(&y, &r)
        };
        let (mut dx, mut dw, mut db) = (vec![f64::NAN; x.len()], vec![f64::NAN; weight.len()], vec![f64::NAN; outputs]);
        linear::backward_input(inputs, &weight, &r, &mut dx);
        linear::backward_weight(inputs, &x, &r, &mut dw, &mut db);
        check("linear x", &x, &dx, |x| f(x, &weight, &bias));
        check("linear weight", &weight, &dw, |w| f(&x, w, &bias));
        check("linear bias", &bias, &db, |b| f(&x, &weight, b));
    }
}

#[test]
fn cross_entropy_backward() {
    for (smoothing, classes) in [(0.0, 7), (0.1, 7), (0.1, 1), (0.3, 2)] {
        let targets = [Target::of(classes - 1), Target::mixed([0, classes - 1], 0.7), Target::of(classes / 2)];
        let z = random(3 * classes as usize, 1);
        let mut dz = vec![f64::NAN; z.len()];
        cross_entropy::forward_backward(&z, &targets, smoothing, &mut dz);
        check(&format!("smoothing {smoothing}"), &z, &dz, |z| {
            cross_entropy::forward_backward(z, &targets, smoothing, &mut vec![0.0; z.len()])
        });
        let sum = (classes * (classes + 1) / 2) as f32;
        let rows: Vec<f32> = (0..3 * classes).map(|i| (1 + i % classes) as f32 / sum).collect();
        let taught = |z: &[f64], dz: &mut [f64]| cross_entropy::taught(z, &targets, smoothing, Some((0.4, &rows)), dz);
        taught(&z, &mut dz);
        check(&format!("taught, smoothing {smoothing}"), &z, &dz, |z| taught(z, &mut vec![0.0; z.len()]));
    }
}

#[test]
fn dropout_backward() {
    let mask = DropoutMask::new(3, 21, 9, 0.4);
    let (x, r) = (random(203, 1), random(203, 2));
    let mut dx = r.clone();
    dropout::apply(&mask, 0.4, &mut dx);
    check("dropout", &x, &dx, |x| {
        let mut y = x.to_vec();
        dropout::apply(&mask, 0.4, &mut y);
        dot(&y, &r)
    });
}

#[test]
fn local_response_normalisation_backward() {
    for channels in [1, 2, 3, 5, 7] {
        // Large values, so that the sum of squares weighs something against k.
        let x: Vec<f64> = random(6 * channels, 1).iter().map(|v| v * 50.0).collect();
        let r = random(x.len(), 2);
        let mut dx = vec![f64::NAN; x.len()];
        local_response_normalisation::backward(channels, &x, &r, &mut dx);
        check(&format!("{channels} channels"), &x, &dx, |x| {
            let mut y = vec![f64::NAN; x.len()];
            local_response_normalisation::forward(channels, x, &mut y);
            dot(&y, &r)
        });
    }
}

#[test]
fn ties_go_to_the_first() {
    let mut y = [0.0];
    assert_eq!(max_pool::forward(Shape::new(2, 2, 1), &[1.0, 2.0, 2.0, 2.0], &mut y), [1]);
    assert_eq!(cross_entropy::hits(&[1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0], &[Target::of(0)]), (1, 1));
    assert_eq!(cross_entropy::hits(&[1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0], &[Target::of(5)]), (0, 1));
    assert_eq!(cross_entropy::hits(&[1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0], &[Target::of(6)]), (0, 0));
    assert_eq!(cross_entropy::hits(&[f64::NAN, 1.0], &[Target::of(0)]), (0, 0));
}

#[test]
fn nan_is_not_swallowed() {
    let mut y = [0.0];
    max_pool::forward(Shape::new(2, 2, 1), &[1.0, f64::NAN, 3.0, 2.0], &mut y);
    assert!(y[0].is_nan());
    let mut y = [f64::NAN];
    relu::forward(&mut y);
    assert!(y[0].is_nan());
    assert!(cross_entropy::forward_backward(&[f64::NAN, 1.0], &[Target::of(1)], 0.0, &mut [0.0; 2]).is_nan());
}

#[test]
fn an_optimiser_without_gradient_only_decays() {
    let mut p = [2.0];
    let mut b = [0.0];
    let sgd = Optimizer::sgd(0.9, 0.5);
    optimizer::update(&sgd, 0.1, 1, &mut p, &[0.0], &mut [&mut b]);
    assert_eq!((p, b), ([1.9], [1.0]));
}
