//! Convolutions against `reference` in f64: every shape of every network and awkward ones, with every instruction set,
//! with the most exact kernels and with the fastest, for one to three threads, whose bits must agree.

use rayon::prelude::*;

use super::shape::{Convolution, Workspace};
use super::winograd::Winograd;
use super::winograd_prepared::Prepared;
use super::winograd_transforms::Size;
use crate::engine::cpu::plumbing::buffer::Scratch;
use crate::engine::cpu::tests::{distance, noise, on_threads, wide};
use crate::engine::cpu::{InstructionSet, reference};
use crate::engine::stages::{Work, stages};
use crate::vgg::Network;

/// Weights from OIHW to HWIO, or back.
fn hwio(oihw: &[f32], outputs: usize, inputs: usize, taps: usize) -> Vec<f32> {
    let mut to = vec![0.0; oihw.len()];
    for (index, v) in oihw.iter().enumerate() {
        let (o, i, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
        to[(tap * inputs + i) * outputs + o] = *v;
    }
    to
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// As the engine chooses.
    Chosen,
    /// By Winograd's method, each thread with tiles of its own.
    Narrow,
    /// By Winograd's method, tiles shared by all threads.
    Wide,
}

/// All passes in some `ways`, with the most exact kernels and with the fastest.
fn check_convolution(sizes: reference::convolution::Sizes, ways: &[Way]) {
    let reference::convolution::Sizes { batch, height, width, inputs, outputs, kernel } = sizes;
    let (pixels, taps) = (batch * height * width, kernel * kernel);
    let x = noise(pixels * inputs, 1);
    let dy = noise(pixels * outputs, 2);
    let weight = noise(taps * inputs * outputs, 3);
    let bias = noise(outputs, 4);
    let mut y = vec![0.0; pixels * outputs];
    reference::convolution::forward(sizes, &wide(&x), &wide(&weight), &wide(&bias), &mut y);
    let mut dx = vec![0.0; pixels * inputs];
    reference::convolution::backward_input(sizes, &wide(&weight), &wide(&dy), &mut dx);
    let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; outputs]);
    reference::convolution::backward_weight(sizes, &wide(&x), &wide(&dy), &mut dw, &mut db);
    let relu: Vec<f64> = y.iter().map(|v| v.max(0.0)).collect();
    let packed = hwio(&weight, outputs, inputs, taps);
    let packed_dw = wide(&hwio(&dw.iter().map(|v| *v as f32).collect::<Vec<_>>(), outputs, inputs, taps));
    for (way, precise) in ways.iter().flat_map(|way| [(way, true), (way, false)]) {
        on_threads(
            |set| {
                // As in an engine for many samples, where the fastest way takes the largest tiles.
                let shape = Convolution { kernel, height, width, inputs, outputs, batch: 64, precise, set };
                let winograd = || match way {
                    Way::Wide => Winograd::new(shape).shared(),
                    _ => Winograd::new(shape).narrow(),
                };
                // Room for a larger batch, full of NaN: nothing may be read before it is written.
                let workspace = match way {
                    Way::Chosen => shape.workspace(batch + 1, true),
                    _ => winograd().workspace(batch + 1, true),
                };
                let scratch = Scratch::new(3, workspace.scratch).expect("memory");
                let (mut floats, mut filters) = (vec![f32::NAN; workspace.shared], vec![f32::NAN; workspace.filters]);
                let mut workspace = Workspace { scratch: &scratch, shared: &mut floats, filters: &mut filters };
                let (mut y, mut activated) = (vec![f32::NAN; pixels * outputs], vec![f32::NAN; pixels * outputs]);
                let (mut dx, mut dw) = (vec![f32::NAN; pixels * inputs], vec![f32::NAN; weight.len()]);
                if let Way::Chosen = way {
                    shape.forward(&x, &packed, &bias, false, &mut y, &mut workspace);
                    shape.forward(&x, &packed, &bias, true, &mut activated, &mut workspace);
                    shape.input_gradient(&dy, &packed, &mut dx, &mut workspace);
                    shape.weight_gradient(&x, &dy, &mut dw, &mut workspace);
                } else {
                    let winograd = winograd();
                    winograd.forward(&x, &packed, &bias, false, &mut y, &mut workspace);
                    winograd.forward(&x, &packed, &bias, true, &mut activated, &mut workspace);
                    winograd.input_gradient(&dy, &packed, &mut dx, &mut workspace);
                    winograd.weight_gradient(&x, &dy, &mut dw, &mut workspace);
                }
                (y, activated, dx, dw)
            },
            |set, (own_y, activated, own_dx, own_dw)| {
                let errors = [
                    distance(&own_y, &y),
                    distance(&activated, &relu),
                    distance(&own_dx, &dx),
                    distance(&own_dw, &packed_dw),
                ];
                let allowed = if precise { 2e-6 } else { 2e-5 };
                let name = format!("{sizes:?} {way:?} precise {precise} {}", set.name());
                assert!(errors.iter().all(|e| *e < allowed), "{name}: {errors:?}");
            },
        );
    }
}

/// Forward passes with filters prepared once, for tiles of each size.
fn check_prepared(sizes: reference::convolution::Sizes) {
    let reference::convolution::Sizes { batch, height, width, inputs, outputs, kernel } = sizes;
    let pixels = batch * height * width;
    let (x, weight, bias) = (noise(pixels * inputs, 1), noise(9 * inputs * outputs, 3), noise(outputs, 4));
    let mut y = vec![0.0; pixels * outputs];
    reference::convolution::forward(sizes, &wide(&x), &wide(&weight), &wide(&bias), &mut y);
    let relu: Vec<f64> = y.iter().map(|v| v.max(0.0)).collect();
    let packed = hwio(&weight, outputs, inputs, 9);
    for (size, allowed) in [(Size::Two, 2e-6), (Size::Four, 2e-5)] {
        on_threads(
            |set| {
                let shape = Convolution { kernel, height, width, inputs, outputs, batch, precise: false, set };
                let prepared = Prepared::always(Winograd::with_size(shape, size), 48);
                let mut filters = vec![f32::NAN; prepared.range().end + 16];
                prepared.prepare(&packed, &mut filters);
                let workspace = prepared.workspace(batch + 1);
                let scratch = Scratch::new(3, workspace.scratch).expect("memory");
                let (mut floats, filters_between) = (vec![f32::NAN; workspace.shared], &mut []);
                let mut workspace = Workspace { scratch: &scratch, shared: &mut floats, filters: filters_between };
                let mut both = [vec![f32::NAN; pixels * outputs], vec![f32::NAN; pixels * outputs]];
                for (y, activate) in both.iter_mut().zip([false, true]) {
                    prepared.forward(&x, &filters, &bias, activate, y, &mut workspace);
                }
                assert!(filters[..48].iter().chain(&filters[prepared.range().end..]).all(|v| v.is_nan()));
                both
            },
            |set, [own, activated]| {
                let errors = [distance(&own, &y), distance(&activated, &relu)];
                assert!(errors.iter().all(|e| *e < allowed), "{sizes:?} {size:?} {}: {errors:?}", set.name());
            },
        );
    }
}

#[test]
fn convolutions_of_awkward_sizes() {
    for (batch, height, width, inputs, outputs) in [
        (1, 1, 1, 1, 1),
        (1, 2, 2, 3, 7),
        (3, 5, 3, 7, 3),
        (2, 4, 7, 28, 33),
        (5, 3, 8, 33, 28),
        (1, 33, 1, 16, 17),
        (2, 1, 30, 17, 16),
        (1, 40, 37, 3, 64),
        (3, 32, 32, 7, 14),
        (2, 35, 34, 33, 20),
        (1, 12, 11, 130, 70),
        (2, 3, 5, 267, 48),
        (1, 2, 520, 3, 17),
    ] {
        let sizes = |kernel| reference::convolution::Sizes { batch, height, width, inputs, outputs, kernel };
        check_convolution(sizes(3), &[Way::Chosen, Way::Narrow, Way::Wide]);
        check_convolution(sizes(1), &[Way::Chosen]);
        check_prepared(sizes(3));
    }
}

#[test]
fn filters_are_kept_where_tiles_are_few() {
    let set = InstructionSet::detect();
    let floats = |side, inputs, outputs, batch, precise| {
        let shape = Convolution { kernel: 3, height: side, width: side, inputs, outputs, batch, precise, set };
        Prepared::new(shape, 7).map(|prepared| prepared.range().len())
    };
    // A single image: F(2x2) where the filters are larger than the tiles, F(4x4) where maps are large.
    assert_eq!(floats(8, 512, 512, 1, false), Some(16 * 512 * 512));
    assert_eq!(floats(32, 64, 128, 1, false), Some(36 * 64 * 128));
    assert_eq!(floats(32, 64, 128, 1, true), Some(16 * 64 * 128));
    assert_eq!(floats(8, 512, 512, 16, false), Some(36 * 512 * 512));
    // Read where they lie, or transformed for many tiles.
    assert_eq!(floats(4, 512, 512, 1, false), None);
    assert_eq!(floats(8, 512, 512, 17, false), None);
    assert_eq!(floats(64, 3, 64, 1, false), None);
}

#[test]
fn wide_convolutions() {
    // Phases shared by all threads, over one run of tiles and over several.
    for (batch, height, width, inputs, outputs) in [(2, 5, 4, 20, 100), (3, 41, 42, 70, 33), (1, 79, 83, 34, 3)] {
        let sizes = reference::convolution::Sizes { batch, height, width, inputs, outputs, kernel: 3 };
        check_convolution(sizes, &[Way::Wide]);
    }
}

/// Shapes of the 3x3 convolutions of all networks at 64x64 pixels: [side, inputs, outputs].
#[test]
fn convolutions_of_every_network() {
    let mut shapes = Vec::new();
    for (depth, conv1x1) in [(11, false), (13, false), (16, false), (16, true), (19, false)] {
        let plan = Network { depth, conv1x1, ..Network::default() }.plan().expect("a plan");
        for stage in stages(&plan).expect("stages") {
            if let Work::Convolution { kernel, .. } = stage.work {
                let shape = [kernel, stage.input.height, stage.input.channels, stage.inner.channels];
                if !shapes.contains(&shape) {
                    shapes.push(shape);
                }
            }
        }
    }
    assert_eq!(shapes.len(), 12, "{shapes:?}");
    shapes.par_iter().for_each(|&[kernel, side, inputs, outputs]| {
        let sizes = |batch| reference::convolution::Sizes { batch, height: side, width: side, inputs, outputs, kernel };
        check_convolution(sizes(1), &[Way::Chosen]);
        if kernel == 3 {
            check_prepared(sizes(1));
        }
        // The weight gradient of few pixels is a direct sum: these are what larger batches take.
        if kernel == 3 && side <= 8 {
            check_convolution(sizes(2), &[Way::Wide]);
        } else if kernel == 3 && side <= 32 {
            check_convolution(sizes(1), &[Way::Narrow]);
        }
    });
}

#[test]
fn weight_gradients_of_many_tiles_keep_their_digits() {
    // Without a mean, because a sum that grows steadily hides what its small terms lose. One running sum over a phase of
    // 256 tiles instead of chunks of 96 is off by 6e-7 (precise) and 1.1e-6, one over all 20,480 (precise) by 3.7e-6.
    let (batch, side, inputs, outputs) = (20, 64, 4, 3);
    let sizes = reference::convolution::Sizes { batch, height: side, width: side, inputs, outputs, kernel: 3 };
    let pixels = batch * side * side;
    let (x, dy) = (noise(pixels * inputs, 1), noise(pixels * outputs, 2));
    let (mut dw, mut db) = (vec![0.0; 9 * inputs * outputs], vec![0.0; outputs]);
    reference::convolution::backward_weight(sizes, &wide(&x), &wide(&dy), &mut dw, &mut db);
    let expected = wide(&hwio(&dw.iter().map(|v| *v as f32).collect::<Vec<_>>(), outputs, inputs, 9));
    let ways = [(false, true), (false, false), (true, true), (true, false)];
    let sets = [InstructionSet::Portable, InstructionSet::Avx2, InstructionSet::Avx512];
    for set in sets.into_iter().filter(|set| set.available()) {
        for (shared, precise) in ways {
            let shape = Convolution { kernel: 3, height: side, width: side, inputs, outputs, batch, precise, set };
            let winograd = if shared { Winograd::new(shape).shared() } else { Winograd::new(shape).narrow() };
            let workspace = winograd.workspace(batch, true);
            let scratch = Scratch::new(1, workspace.scratch).expect("memory");
            let (mut floats, mut filters) = (vec![f32::NAN; workspace.shared], vec![f32::NAN; workspace.filters]);
            let mut workspace = Workspace { scratch: &scratch, shared: &mut floats, filters: &mut filters };
            let mut dw = vec![f32::NAN; expected.len()];
            winograd.weight_gradient(&x, &dy, &mut dw, &mut workspace);
            let error = distance(&dw, &expected);
            let allowed = if precise { 4.5e-7 } else { 1e-6 };
            assert!(error < allowed, "{}, shared {shared}, precise {precise}: {error:e}", set.name());
        }
    }
}

#[test]
fn weight_gradients_of_nothing_are_exactly_zero() {
    // The input lives in the upper left corner, the gradient in the lower right one: no tap brings them together.
    let set = InstructionSet::detect();
    let shape = Convolution { kernel: 3, height: 4, width: 4, inputs: 5, outputs: 6, batch: 1, precise: true, set };
    let (mut x, mut dy) = (vec![0.0; 16 * 5], vec![0.0; 16 * 6]);
    x[..5].copy_from_slice(&noise(5, 1));
    dy[15 * 6..].copy_from_slice(&noise(6, 2));
    let workspace = shape.workspace(1, true);
    let scratch = Scratch::new(1, workspace.scratch).expect("memory");
    let (mut floats, mut filters) = (vec![0.0; workspace.shared], vec![0.0; workspace.filters]);
    let mut workspace = Workspace { scratch: &scratch, shared: &mut floats, filters: &mut filters };
    let mut dw = vec![1.0; 9 * 5 * 6];
    shape.weight_gradient(&x, &dy, &mut dw, &mut workspace);
    assert!(dw.iter().all(|v| *v == 0.0));
}
