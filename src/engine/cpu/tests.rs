//! Every operation against `reference` in f64, at awkward sizes, with every instruction set and one to three threads,
//! whose bits must agree. `convolution_tests` has the convolutions.

use super::layers::activation::{self, Activation, Normalisation};
use super::layers::linear::Linear;
use super::layers::{average_pool, cross_entropy, local_response_normalisation, max_pool, optimizer};
use super::plumbing::buffer::{Buffer, Scratch};
use super::{InstructionSet, reference};
use crate::engine::Optimizer;
use crate::engine::sample::Target;
use crate::engine::settling::{self, Normalised};
use crate::vgg::Shape;

/// Values without pattern in -1..1.
pub fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| draw()).collect()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// ||a - b|| / ||b||.
pub fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    (difference / b.iter().map(|b| b * b).sum::<f64>().max(1e-300)).sqrt()
}

/// Runs `work` on 1, 2 and 3 threads, for each instruction set there is, and hands the first result of each set on.
/// Results of different thread counts must have the same bits.
pub fn on_threads<R>(work: impl Fn(InstructionSet) -> R + Sync, mut check: impl FnMut(InstructionSet, R))
where
    R: PartialEq + Send,
{
    for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
        if !set.available() {
            continue;
        }
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| work(set))
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "{}: bits depend on the number of threads", set.name());
        check(set, one);
    }
}

/// Batch normalisation, ReLU and pooling, all fused, against one after the other.
fn check_activation(n: usize, shape: Shape, pool: bool) {
    use reference::{batch_norm, max_pool, relu};
    let c = shape.channels;
    // Off centre, so that a variance from sums of squares would lose digits.
    let z: Vec<f32> = noise(n * shape.elements(), 5).iter().enumerate().map(|(i, v)| v + (i % c) as f32).collect();
    let gamma: Vec<f32> = noise(c, 6).iter().map(|v| v + 0.5).collect();
    let beta = noise(c, 7);
    let (running_mean, running_variance) = (noise(c, 8), noise(c, 9).iter().map(|v| v + 2.0).collect::<Vec<_>>());
    let activation = |set| Activation { shape, pool, set };
    let output = n * activation(InstructionSet::Portable).output();
    let dy = noise(output, 10);

    let (mut mean64, mut variance64) = (wide(&running_mean), wide(&running_variance));
    let mut normal = vec![0.0; z.len()];
    let saved =
        batch_norm::forward_train(&wide(&z), &wide(&gamma), &wide(&beta), &mut mean64, &mut variance64, &mut normal);
    let mut active = normal;
    relu::forward(&mut active);
    let (mut y64, mut d_active) = (active.clone(), wide(&dy));
    if pool {
        y64 = vec![0.0; output];
        let origins = max_pool::forward(shape, &active, &mut y64);
        d_active = vec![0.0; z.len()];
        max_pool::backward(&origins, &wide(&dy), &mut d_active);
    }
    let mut d_normal = d_active;
    relu::backward(&active, &mut d_normal);
    let (mut dz64, mut d_gamma64, mut d_beta64) = (vec![0.0; z.len()], vec![0.0; c], vec![0.0; c]);
    batch_norm::backward(&wide(&z), &wide(&gamma), &saved, &d_normal, &mut dz64, &mut d_gamma64, &mut d_beta64);

    on_threads(
        |set| {
            let activation = activation(set);
            let mut statistics: [Vec<f32>; 4] = std::array::from_fn(|_| vec![f32::NAN; c]);
            let [scale, shift, mean, inverse_deviation] = &mut statistics;
            let mut norm = Normalisation { scale, shift, mean, inverse_deviation };
            let mut running = [running_mean.as_slice(), &running_variance].concat();
            let (pixels, mean, variance) = (shape.pixels(), 0..c, c..2 * c);
            let layer = Normalised { step: 0, channels: c, pixels, trained: true, mean, variance };
            let mut partials = vec![f64::NAN; activation.partials(n)];
            // In two micro-batches that are normalised together, where there are two samples.
            let (pixels, first) = (pixels as f64, n / 2);
            let (mut joined, mut other) = (vec![f64::NAN; 2 * c], vec![f64::NAN; 2 * c]);
            let (start, rest) = z.split_at(first * shape.elements());
            activation.moments(start, &mut joined, &mut partials);
            activation.moments(rest, &mut other, &mut partials);
            activation::join(&mut joined, first as f64 * pixels, &other, (n - first) as f64 * pixels);
            let count = n as f64 * pixels;
            Activation::normalisation(&joined, count, &gamma, &beta, &mut norm);
            settling::follow(&[layer], &joined, n, &mut running);
            let mut y = vec![f32::NAN; output];
            activation.forward(&z, norm.scale, norm.shift, &mut y);
            let mut dz = z.clone();
            let (mut sums, mut factors) = (vec![f64::NAN; 2 * c], vec![0.0; 2 * c]);
            activation.gradient_sums(&mut dz, &dy, &norm, &mut sums, &mut partials);
            activation.backward(&mut dz, &dy, &gamma, &norm, (&sums, count), &mut factors);
            let sums: Vec<f32> = sums.iter().map(|v| *v as f32).collect();
            let (d_beta, d_gamma) = sums.split_at(c);
            let (own_mean, own_variance) = running.split_at(c);
            [y, dz, d_gamma.to_vec(), d_beta.to_vec(), own_mean.to_vec(), own_variance.to_vec()]
        },
        |set, [y, dz, d_gamma, d_beta, mean, variance]| {
            let errors = [
                distance(&y, &y64),
                distance(&dz, &dz64),
                distance(&d_gamma, &d_gamma64),
                distance(&d_beta, &d_beta64),
                distance(&mean, &mean64),
                distance(&variance, &variance64),
            ];
            assert!(errors.iter().all(|e| *e < 3e-5), "{n} {shape:?} pool {pool} {}: {errors:?}", set.name());
        },
    );
}

#[test]
fn activations_of_awkward_sizes() {
    for (n, height, width, c) in
        [(2, 2, 2, 1), (3, 5, 7, 3), (2, 9, 4, 7), (5, 6, 6, 28), (2, 7, 8, 33), (1, 12, 10, 70)]
    {
        for pool in [false, true] {
            check_activation(n, Shape::new(height, width, c), pool);
        }
    }
}

#[test]
fn activations_without_normalisation() {
    use reference::max_pool;
    for (n, height, width, c) in [(1, 2, 3, 1), (3, 5, 7, 7), (2, 6, 4, 33)] {
        let shape = Shape::new(height, width, c);
        // Few distinct values: ties in most windows.
        let z: Vec<f32> = noise(n * shape.elements(), 1).iter().map(|v| (v * 3.0).round().max(0.0)).collect();
        let output = n * (height / 2) * (width / 2) * c;
        let dy = noise(output, 2);
        let mut y64 = vec![0.0; output];
        let origins = max_pool::forward(shape, &wide(&z), &mut y64);
        let mut d_active = vec![0.0; z.len()];
        max_pool::backward(&origins, &wide(&dy), &mut d_active);
        let dz64: Vec<f64> = d_active.iter().zip(&z).map(|(d, z)| if *z > 0.0 { *d } else { 0.0 }).collect();
        let d_bias64: Vec<f64> = (0..c).map(|l| dz64.iter().skip(l).step_by(c).sum()).collect();
        on_threads(
            |set| {
                let activation = Activation { shape, pool: true, set };
                let mut y = vec![f32::NAN; output];
                activation.pool(&z, &mut y);
                let mut dz = z.clone();
                activation.backward_plain(&mut dz, &dy);
                let mut d_bias = vec![f32::NAN; c];
                activation.bias_gradient(&dz, &mut d_bias, &mut vec![f64::NAN; activation.partials(n)]);
                (y, dz, d_bias)
            },
            |_, (y, dz, d_bias)| {
                assert_eq!(wide(&y), y64);
                assert_eq!(wide(&dz), dz64);
                assert!(distance(&d_bias, &d_bias64) < 1e-5);
            },
        );
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let shape = Shape::new(2, 2, 3);
    for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
        let activation = Activation { shape, pool: true, set };
        for corner in 0..4 {
            let mut z = noise(shape.elements(), 1);
            z[corner * 3 + 1] = f32::NAN;
            let (mut y, mut normalised) = ([0.0; 3], [0.0; 3]);
            activation.pool(&z, &mut y);
            activation.forward(&z, &[1.0; 3], &[0.0; 3], &mut normalised);
            assert_eq!(y.map(f32::is_nan), [false, true, false], "corner {corner} {}", set.name());
            assert_eq!(normalised.map(f32::is_nan), [false, true, false], "corner {corner} {}", set.name());
        }
        // Deviations whose squares overflow.
        let z: Vec<f32> = (0..12).map(|i| if i < 6 { 0.0 } else { 4e19 }).collect();
        let mut statistics: [Vec<f32>; 4] = std::array::from_fn(|_| vec![0.0; 3]);
        let [scale, shift, mean, inverse_deviation] = &mut statistics;
        let mut norm = Normalisation { scale, shift, mean, inverse_deviation };
        let (mut joined, mut partials) = ([0.0; 6], vec![0.0; activation.partials(1)]);
        activation.moments(&z, &mut joined, &mut partials);
        Activation::normalisation(&joined, 4.0, &[1.0; 3], &[0.0; 3], &mut norm);
        assert!(norm.scale.iter().all(|v| v.is_nan()), "{}", set.name());
    }
}

#[test]
fn pooling_that_stands_alone() {
    for (n, height, width, c) in [(1, 2, 2, 1), (3, 5, 7, 7), (2, 4, 3, 33)] {
        let shape = Shape::new(height, width, c);
        let x: Vec<f32> = noise(n * shape.elements(), 1).iter().map(|v| (v * 3.0).round()).collect();
        let (maxima, averages) = (n * (height / 2) * (width / 2) * c, n * 4 * c);
        let dy = noise(maxima.max(averages), 2);
        let (mut y, mut y64) = (vec![f32::NAN; maxima], vec![0.0; maxima]);
        max_pool::forward(&x, shape, &mut y);
        let origins = reference::max_pool::forward(shape, &wide(&x), &mut y64);
        assert_eq!(wide(&y), y64);
        let (mut dx, mut dx64) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
        max_pool::backward(&x, &dy[..maxima], shape, &mut dx);
        reference::max_pool::backward(&origins, &wide(&dy[..maxima]), &mut dx64);
        assert_eq!(wide(&dx), dx64);
        let (mut y, mut y64) = (vec![f32::NAN; averages], vec![0.0; averages]);
        average_pool::forward(&x, shape, 2, &mut y);
        reference::average_pool::forward(shape, 2, &wide(&x), &mut y64);
        assert!(distance(&y, &y64) < 1e-6);
        average_pool::backward(&dy[..averages], shape, 2, &mut dx);
        reference::average_pool::backward(shape, 2, &wide(&dy[..averages]), &mut dx64);
        assert!(distance(&dx, &dx64) < 1e-6);
    }
}

#[test]
fn local_response_normalisation() {
    use reference::local_response_normalisation as truth;
    for c in [1, 3, 7, 33] {
        let x: Vec<f32> = noise(6 * c, 1).iter().map(|v| v * 100.0).collect();
        let dy = noise(6 * c, 2);
        let (mut y64, mut dx64) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        truth::forward(c, &wide(&x), &mut y64);
        truth::backward(c, &wide(&x), &wide(&dy), &mut dx64);
        let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        local_response_normalisation::forward(&x, c, 2 * c, &mut y);
        let scratch = Scratch::new(2, local_response_normalisation::scratch(c)).expect("memory");
        local_response_normalisation::backward(&x, &dy, c, 2 * c, &mut dx, &scratch);
        assert!(distance(&y, &y64) < 1e-6 && distance(&dx, &dx64) < 1e-6, "{c} channels");
    }
}

#[test]
fn linear_layers() {
    use reference::linear as truth;
    for (n, inputs, outputs) in
        [(1, 1, 1), (3, 7, 200), (33, 131, 3), (5, 260, 257), (70, 33, 28), (17, 1100, 130), (4, 133, 31)]
    {
        let (x, dy) = (noise(n * inputs, 1), noise(n * outputs, 2));
        let (weight, bias) = (noise(inputs * outputs, 3), noise(outputs, 4));
        let (mut y64, mut dx64) = (vec![0.0; n * outputs], vec![0.0; n * inputs]);
        truth::forward(inputs, &wide(&x), &wide(&weight), &wide(&bias), &mut y64);
        truth::backward_input(inputs, &wide(&weight), &wide(&dy), &mut dx64);
        let (mut dw64, mut db64) = (vec![0.0; weight.len()], vec![0.0; outputs]);
        truth::backward_weight(inputs, &wide(&x), &wide(&dy), &mut dw64, &mut db64);
        on_threads(
            |set| {
                let linear = Linear { inputs, outputs, set };
                let mut workspace = vec![f32::NAN; linear.workspace(n + 1)];
                let (mut y, mut dx) = (vec![f32::NAN; n * outputs], vec![f32::NAN; n * inputs]);
                linear.forward(&x, &weight, &bias, &mut y, &mut workspace);
                linear.input_gradient(&dy, &weight, &mut dx, &mut workspace);
                let (mut dw, mut db) = (vec![f32::NAN; weight.len()], vec![f32::NAN; outputs]);
                linear.weight_gradient(&x, &dy, &mut dw, &mut db);
                [y, dx, dw, db]
            },
            |_, [y, dx, dw, db]| {
                let errors = [distance(&y, &y64), distance(&dx, &dx64), distance(&dw, &dw64), distance(&db, &db64)];
                assert!(errors.iter().all(|e| *e < 1e-6), "{n} {inputs} {outputs}: {errors:?}");
            },
        );
    }
}

/// Squares in shares of their sum: what teachers may say.
fn shares(values: &[f32]) -> Vec<f32> {
    let sum: f32 = values.iter().map(|v| v * v).sum();
    values.iter().map(|v| v * v / sum).collect()
}

#[test]
fn cross_entropy_and_hits() {
    use reference::cross_entropy as truth;
    for (n, classes, smoothing) in [(1, 1, 0.0), (3, 2, 0.1), (7, 10, 0.0), (33, 200, 0.1)] {
        // Rounded, so that ties happen.
        let logits: Vec<f32> = noise(n * classes, 1).iter().map(|v| (v * 20.0).round()).collect();
        let targets = Target::each(&(0..n as u32).map(|i| i * 7 % classes as u32).collect::<Vec<_>>());
        let mut gradient64 = vec![0.0; logits.len()];
        let loss64 = truth::forward_backward(&wide(&logits), &targets, f64::from(smoothing), &mut gradient64);
        let mut gradient = vec![f32::NAN; logits.len()];
        let outcome = cross_entropy::outcome(&logits, &targets, n, smoothing, None, &mut gradient);
        assert!((outcome.loss / n as f64 - loss64).abs() <= 1e-6 * loss64.abs());
        assert!(distance(&gradient, &gradient64) < 1e-6 || classes == 1);
        assert_eq!((outcome.top1, outcome.top5), truth::hits(&wide(&logits), &targets));

        let rows: Vec<f32> = noise(n * classes, 2).chunks_exact(classes).flat_map(shares).collect();
        let taught = |g: &mut [f64]| {
            truth::taught(&wide(&logits), &targets, f64::from(smoothing), Some((f64::from(0.7f32), &rows)), g)
        };
        let loss64 = taught(&mut gradient64);
        let outcome = cross_entropy::outcome(&logits, &targets, n, smoothing, Some((0.7, &rows)), &mut gradient);
        assert!((outcome.loss / n as f64 - loss64).abs() <= 1e-6 * loss64.abs());
        assert!(distance(&gradient, &gradient64) < 1e-6 || classes == 1);
    }
    let outcome =
        cross_entropy::outcome(&[f32::NAN, 1.0, 0.0, 5.0], &Target::each(&[0, 1]), 2, 0.0, None, &mut [0.0; 4]);
    assert!(outcome.loss.is_nan());
    assert_eq!((outcome.top1, outcome.top5), (1, 1));
    // Impossible, and not asked for.
    let outcome = cross_entropy::outcome(&[0.0, f32::NEG_INFINITY], &[Target::of(0)], 1, 0.0, None, &mut [0.0; 2]);
    assert_eq!(outcome.loss, 0.0);
}

#[test]
fn optimisers() {
    let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 };
    let adamw = Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.5 };
    let nesterov = Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-2, nesterov: true };
    for rule in [adam, adamw, Optimizer::sgd(0.9, 1e-2), nesterov] {
        let count = 16 * 1024 + 19;
        let start = noise(count, 1);
        let mut truth = wide(&start);
        let mut moments: Vec<Vec<f64>> = rule.moments().iter().map(|_| vec![0.0; count]).collect();
        for step in 1..=3u32 {
            let mut moments: Vec<&mut [f64]> = moments.iter_mut().map(Vec::as_mut_slice).collect();
            let gradient = wide(&noise(count, 10 + step));
            reference::optimizer::update(&rule, 0.01, step.into(), &mut truth, &gradient, &mut moments);
        }
        on_threads(
            |set| {
                let mut parameters = start.clone();
                let mut moments: Vec<Buffer> =
                    rule.moments().iter().map(|_| Buffer::new(count).expect("memory")).collect();
                for step in 1..=3u32 {
                    let gradient = noise(count, 10 + step);
                    let step = optimizer::Hyperparameters { rule, learning_rate: 0.01, t: step.into(), factor: 1.0 };
                    optimizer::update(set, &step, &(0..count), &mut parameters, &gradient, &mut moments);
                }
                parameters
            },
            |set, parameters| assert!(distance(&parameters, &truth) < 1e-6, "{rule:?} {}", set.name()),
        );
    }
}

/// A hidden unit that is dead has gradients of zero for good.
#[test]
fn moments_without_gradients_end_at_zero_not_at_denormal_numbers() {
    for rule in [Optimizer::adam(), Optimizer::sgd(0.9, 0.0)] {
        let count = 37;
        let mut truth = wide(&noise(count, 1));
        let mut exact: Vec<Vec<f64>> = rule.moments().iter().map(|_| vec![0.0; count]).collect();
        let gradient = |step: u64| if step == 1 { noise(count, 2) } else { vec![0.0; count] };
        for step in 1..=1500 {
            let mut moments: Vec<&mut [f64]> = exact.iter_mut().map(Vec::as_mut_slice).collect();
            reference::optimizer::update(&rule, 0.01, step, &mut truth, &wide(&gradient(step)), &mut moments);
        }
        for set in [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512] {
            let mut parameters = noise(count, 1);
            let mut moments: Vec<Buffer> = rule.moments().iter().map(|_| Buffer::new(count).expect("memory")).collect();
            for step in 1..=1500 {
                let update = optimizer::Hyperparameters { rule, learning_rate: 0.01, t: step, factor: 1.0 };
                optimizer::update(set, &update, &(0..count), &mut parameters, &gradient(step), &mut moments);
            }
            assert!(moments[0].iter().all(|m| *m == 0.0), "{rule:?} {}: {:?}", set.name(), &moments[0][..4]);
            assert!(moments.iter().all(|m| m.iter().all(|v| !v.is_subnormal())));
            assert!(distance(&parameters, &truth) < 1e-6, "{rule:?} {}", set.name());
        }
    }
}
