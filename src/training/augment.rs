//! How train images are augmented: draws a [`View`] of an image, and what is mixed into it.
//!
//! It draws from the generator that it is given and knows nothing of batches, labels or pixels; what a sample is made of is
//! [`sample`](crate::engine::sample)'s. Nothing is drawn for what is off, so that recipes without it keep their samples.
//!
//! Sources: crop and flip as in He et al. 2016, section 4.2; resized crops as torchvision's `RandomResizedCrop` (Szegedy et
//! al. 2015); colour shift by Krizhevsky et al. 2012, section 4.1, as section 3.1 of the paper has it; TrivialAugment Wide
//! by Müller & Hutter 2021; Random Erasing by Zhong et al. 2017 with torchvision's constants; mixup by Zhang et al. 2018;
//! CutMix by Yun et al. 2019.

use std::f64::consts::PI;
use std::ops::Range;

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution, StandardNormal};

use super::choices::TrivialAugment;
use super::run::{Augment, Recipe};
use crate::engine::View;
use crate::engine::enhancement::Enhancement;
use crate::engine::sample::{Area, Blend, Colour, Geometry, Warp};

/// Pixels of padding on each side of `--augment crop`.
const CROP_PADDING: i8 = 4;

/// Width over height of a resized crop, least and greatest.
const CROP_RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// Shares of the image that Random Erasing takes, and width over height of what it takes.
const ERASED_SHARE: Range<f64> = 0.02..0.33;
const ERASED_RATIO: [f64; 2] = [0.3, 3.3];

/// Tries for a rectangle that fits, as in torchvision.
const TRIES: usize = 10;

/// Principal components of ImageNet's colours (R, G and B in 0..1) and their standard deviations, one a row: Krizhevsky's
/// method with the figures that fb.resnet.torch published.
const COMPONENTS: [(f64, [f64; 3]); 3] =
    [(0.2175, [-0.5675, -0.5808, -0.5836]), (0.0188, [0.7192, -0.0045, -0.6948]), (0.0045, [0.4009, -0.8140, 0.4203])];

/// A luma of ITU-R 601, as PIL has it.
const GREY: [f64; 3] = [0.299, 0.587, 0.114];

/// What is drawn for the images of a training, all of one size.
#[derive(Clone, Debug)]
pub struct Augmentation {
    augment: Augment,
    crop_scale: f64,
    trivial: TrivialAugment,
    colour_shift: f64,
    erase: f64,
    mixup: f64,
    cutmix: f64,
    /// Columns and rows of an image.
    extent: [u16; 2],
}

impl Augmentation {
    /// That of a recipe, for images of `width` x `height` pixels.
    pub fn new(recipe: &Recipe, [width, height]: [usize; 2]) -> Self {
        let pixels = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Self {
            augment: recipe.augment,
            crop_scale: recipe.crop_scale,
            trivial: recipe.trivial_augment,
            colour_shift: recipe.color_shift,
            erase: recipe.erase,
            mixup: recipe.mixup,
            cutmix: recipe.cutmix,
            extent: [pixels(width), pixels(height)],
        }
    }

    /// Whether samples are mixed of two images.
    pub fn mixes(&self) -> bool {
        self.mixup > 0.0 || self.cutmix > 0.0
    }

    /// A view of image `index`.
    pub fn view(&self, index: u32, generator: &mut impl Rng) -> View {
        let mut view = View { index, ..View::default() };
        if self.augment != Augment::None {
            view.flip = generator.random();
        }
        match self.augment {
            Augment::None | Augment::Flip => {}
            Augment::Crop => {
                let mut offset = || generator.random_range(-CROP_PADDING..=CROP_PADDING);
                view.geometry = Geometry::Moved { x: offset(), y: offset() };
            }
            Augment::ResizedCrop => view.geometry = Geometry::Warped(self.resized_crop(generator)),
        }
        match self.trivial {
            TrivialAugment::Off => {}
            TrivialAugment::Ten => self.trivial_augment(10, &mut view, generator),
            TrivialAugment::Wide => self.trivial_augment(14, &mut view, generator),
        }
        if self.colour_shift > 0.0 {
            let mut shift = [0.0; 3];
            for (deviation, component) in COMPONENTS {
                let alpha: f64 = generator.sample(StandardNormal);
                let length = 255.0 * self.colour_shift * alpha * deviation;
                shift.iter_mut().zip(component).for_each(|(sum, c)| *sum += length * c);
            }
            view.colour.get_or_insert_default().shift = shift.map(|v| v as f32);
        }
        if self.erase > 0.0 && generator.random_bool(self.erase) {
            view.erased = erased(generator);
        }
        view
    }

    /// How a second image is mixed in: of both ways, where both are on, either.
    pub fn blend(&self, generator: &mut impl Rng) -> Blend {
        let cut = self.cutmix > 0.0 && (self.mixup <= 0.0 || generator.random());
        let alpha = if cut { self.cutmix } else { self.mixup };
        // Of settings that are in bounds; a share of a half stands for none.
        let share: f64 = Beta::new(alpha, alpha).map_or(0.5, |beta| beta.sample(generator));
        if !cut {
            return Blend::Share(share as f32);
        }
        let half = (1.0 - share).sqrt() / 2.0;
        let [left, right] = around(generator.random(), half);
        let [top, bottom] = around(generator.random(), half);
        Blend::Area(Area([left, top, right, bottom].map(|v| v as f32)))
    }

    /// A window of a share of `crop_scale` to 1 of the image, its sides at a ratio of 3/4 to 4/3.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within an image")]
    fn resized_crop(&self, generator: &mut impl Rng) -> Warp {
        let [width, height] = self.extent;
        let area = f64::from(width) * f64::from(height);
        for _ in 0..TRIES {
            let share = generator.random_range(self.crop_scale..=1.0) * area;
            let ratio = log_uniform(CROP_RATIO, generator);
            let (w, h) = ((share * ratio).sqrt().round(), (share / ratio).sqrt().round());
            if (1.0..=f64::from(width)).contains(&w) && (1.0..=f64::from(height)).contains(&h) {
                let (w, h) = (w as u16, h as u16);
                let (left, top) = (generator.random_range(0..=width - w), generator.random_range(0..=height - h));
                return Warp::crop(left, top, w, h);
            }
        }
        Warp::crop(0, 0, width, height)
    }

    /// One of the first `operations` of the fourteen of TrivialAugment Wide, of a strength drawn from 31. Runs that began with
    /// the first ten go on with them.
    fn trivial_augment(&self, operations: i32, view: &mut View, generator: &mut impl Rng) {
        const NONE: [[f64; 3]; 2] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let (operation, bin, minus) =
            (generator.random_range(0..operations), generator.random_range(0..=30u32), generator.random());
        let strength = f64::from(bin) / 30.0;
        let signed = |most: f64| if minus { -most * strength } else { most * strength };
        let [width, height] = self.extent.map(f64::from);
        let mut inner = NONE;
        match operation {
            0 => return,
            1 => inner[0][1] = signed(0.99),
            2 => inner[1][0] = signed(0.99),
            3 => inner[0][2] = signed(32.0 / width),
            4 => inner[1][2] = signed(32.0 / height),
            5 => {
                let (sin, cos) = (signed(135.0) * PI / 180.0).sin_cos();
                inner = [[cos, -sin, (1.0 - cos + sin) / 2.0], [sin, cos, (1.0 - sin - cos) / 2.0]];
            }
            6 => view.colour.get_or_insert_default().matrix = blended(1.0 + signed(0.99), [0.0; 3]),
            7 => view.colour.get_or_insert_default().matrix = blended(1.0 + signed(0.99), GREY),
            8 => view.colour.get_or_insert_default().posterize = 8 - (6 * bin + 15) / 30,
            9 => view.colour.get_or_insert_default().solarize = (255.0 * (1.0 - strength)) as f32,
            10 => view.enhancement = Some(Enhancement::Contrast(1.0 + signed(0.99))),
            11 => view.enhancement = Some(Enhancement::Sharpness(1.0 + signed(0.99))),
            12 => view.enhancement = Some(Enhancement::AutoContrast),
            _ => view.enhancement = Some(Enhancement::Equalize),
        }
        if inner != NONE {
            let [columns, rows] = self.extent;
            let whole = Warp::crop(0, 0, columns, rows);
            let seen = match view.geometry {
                Geometry::Moved { x, y } => Warp { x: [width, 0.0, x.into()], y: [0.0, height, y.into()], ..whole },
                Geometry::Warped(warp) => warp,
            };
            view.geometry = Geometry::Warped(seen.after(inner));
        }
    }
}

/// factor * pixel + (1 - factor) * grey, grey in all channels alike from `weights` of R, G and B.
fn blended(factor: f64, weights: [f64; 3]) -> [[f32; 4]; 3] {
    let mut matrix = Colour::default().matrix;
    for (c, row) in matrix.iter_mut().enumerate() {
        for (i, value) in row.iter_mut().take(3).enumerate() {
            *value = (f64::from(u8::from(i == c)) * factor + (1.0 - factor) * weights[i]) as f32;
        }
    }
    matrix
}

/// What is within `half` of a place, inside of 0..1.
fn around(place: f64, half: f64) -> [f64; 2] {
    [(place - half).max(0.0), (place + half).min(1.0)]
}

fn log_uniform([least, greatest]: [f64; 2], generator: &mut impl Rng) -> f64 {
    generator.random_range(least.ln()..=greatest.ln()).exp()
}

/// A rectangle of the output; `None` where none of some tries fits.
fn erased(generator: &mut impl Rng) -> Option<Area> {
    for _ in 0..TRIES {
        let share = generator.random_range(ERASED_SHARE);
        let ratio = log_uniform(ERASED_RATIO, generator);
        let (width, height) = ((share * ratio).sqrt(), (share / ratio).sqrt());
        if width < 1.0 && height < 1.0 {
            let (left, top) = (generator.random_range(0.0..=1.0 - width), generator.random_range(0.0..=1.0 - height));
            return Some(Area([left, top, left + width, top + height].map(|v| v as f32)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::engine::Pick;
    use crate::engine::sample::Mix;
    use crate::test_support::images;

    const COUNT: u32 = 4000;

    fn views(recipe: &Recipe) -> Vec<View> {
        let augmentation = Augmentation::new(recipe, [64, 48]);
        let mut generator = ChaCha8Rng::seed_from_u64(3);
        (0..COUNT).map(|_| augmentation.view(0, &mut generator)).collect()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        values.sum::<f64>() / f64::from(COUNT)
    }

    #[test]
    fn all_at_once_makes_no_sample_that_an_engine_refuses() {
        let images = images(vec![0; 64 * 48 * 3], 48, 64);
        for augment in [Augment::Crop, Augment::ResizedCrop] {
            let recipe = Recipe {
                augment,
                crop_scale: 0.08,
                trivial_augment: TrivialAugment::Wide,
                color_shift: 0.1,
                erase: 0.5,
                mixup: 0.2,
                cutmix: 1.0,
                ..Recipe::default()
            };
            let augmentation = Augmentation::new(&recipe, [64, 48]);
            let mut generator = ChaCha8Rng::seed_from_u64(4);
            for view in views(&recipe) {
                let mix = Some(Mix { view, blend: augmentation.blend(&mut generator) });
                assert_eq!(Pick { view, mix }.fault(&images), None);
            }
        }
    }

    #[test]
    fn resized_crops_have_the_shares_and_ratios_that_are_asked_for() {
        let mut between = [0, 0];
        for view in views(&Recipe { augment: Augment::ResizedCrop, crop_scale: 0.25, ..Recipe::default() }) {
            let Geometry::Warped(Warp { cut: [left, top, right, bottom], .. }) = view.geometry else {
                panic!("{view:?}")
            };
            let (width, height) = (f64::from(right - left), f64::from(bottom - top));
            let share = width * height / (64.0 * 48.0);
            // A whole image where nothing fitted; else rounded to whole pixels.
            assert!((0.23..=1.0).contains(&share), "{share}");
            assert!(share == 1.0 || (0.70..1.43).contains(&(width / height)), "{width} x {height}");
            // Of shares as small as these none is too wide or too high.
            between[0] += u32::from((0.27..0.35).contains(&share));
            between[1] += u32::from((0.35..0.43).contains(&share));
        }
        // As many of one as of the other, and more than if none of the larger had been drawn again.
        assert!(between.iter().all(|count| *count > COUNT * 8 / 75), "{between:?}");
        assert!(between[0].abs_diff(between[1]) < between[0] / 6, "{between:?}");
    }

    #[test]
    fn a_second_image_covers_the_share_that_beta_draws() {
        let recipe = Recipe { mixup: 0.0, cutmix: 1.0, ..Recipe::default() };
        let augmentation = Augmentation::new(&recipe, [64, 48]);
        let mut generator = ChaCha8Rng::seed_from_u64(5);
        let mut share = |augmentation: &Augmentation| {
            mean((0..COUNT).map(|_| {
                let blend = augmentation.blend(&mut generator);
                let share = Pick { mix: Some(Mix { view: View::default(), blend }), ..Pick::default() }.share(64);
                f64::from(share)
            }))
        };
        // Of a uniform share u the box has sides of sqrt(u), of which what lies inside is on average sqrt(u) - u / 4 long:
        // the mean of (sqrt(u) - u / 4)^2 is 1/2 - 1/5 + 1/48.
        let cut = share(&augmentation);
        assert!((1.0 - cut - (0.5 - 0.2 + 1.0 / 48.0)).abs() < 0.015, "{cut}");
        let mixup = Augmentation::new(&Recipe { mixup: 0.2, ..Recipe::default() }, [64, 48]);
        assert!((share(&mixup) - 0.5).abs() < 0.03);
        let both = Augmentation { mixup: 0.2, ..augmentation };
        let cuts = (0..COUNT).filter(|_| matches!(both.blend(&mut generator), Blend::Area(_))).count();
        assert!(cuts.abs_diff(COUNT as usize / 2) < 150, "{cuts}");
    }

    #[test]
    fn trivial_augment_is_one_operation_and_reaches_all() {
        let all = |set| views(&Recipe { augment: Augment::None, trivial_augment: set, ..Recipe::default() });
        let views = all(TrivialAugment::Ten);
        assert!(views.iter().all(|view| view.enhancement.is_none()));
        let plain = views.iter().filter(|view| **view == View::default()).count();
        // The identity, and a strength of 0 of most others.
        assert!((COUNT as usize / 10..COUNT as usize / 6).contains(&plain), "{plain}");
        let views = all(TrivialAugment::Wide);
        let enhanced = |wanted: fn(Enhancement) -> bool| {
            let count = views.iter().filter_map(|view| view.enhancement).filter(|e| wanted(*e)).count();
            assert!(count.abs_diff(COUNT as usize / 14) < 60, "{count}");
        };
        enhanced(|e| matches!(e, Enhancement::Contrast(factor) if (0.01 - 1e-9..1.99 + 1e-9).contains(&factor)));
        enhanced(|e| matches!(e, Enhancement::Sharpness(factor) if (0.01 - 1e-9..1.99 + 1e-9).contains(&factor)));
        enhanced(|e| e == Enhancement::AutoContrast);
        enhanced(|e| e == Enhancement::Equalize);
        let alone = |view: &View| View { enhancement: None, ..*view } == View::default();
        assert!(views.iter().all(|view| view.enhancement.is_none() || alone(view)));
        let colour = |wanted: fn(&Colour) -> bool| views.iter().filter_map(|v| v.colour.as_ref()).any(wanted);
        assert!(colour(|c| c.posterize == 2) && colour(|c| c.solarize == 0.0) && colour(|c| c.matrix[0][0] > 1.9));
        assert!(colour(|c| c.matrix[0][1] < -0.5 || c.matrix[0][1] > 0.5));
        assert!(views.iter().all(|v| v.colour.is_none() || v.geometry == Geometry::default()));
        // Half a turn and a bit about the centre: the centre stays.
        for view in &views {
            if let Geometry::Warped(warp) = view.geometry
                && warp.x[1] != 0.0
                && warp.y[0] != 0.0
            {
                let centre = [warp.x, warp.y].map(|[a, b, c]| (a + b) / 2.0 + c);
                assert!((centre[0] - 32.0).abs() < 1e-9 && (centre[1] - 24.0).abs() < 1e-9, "{warp:?}");
            }
        }
    }

    #[test]
    fn colours_are_shifted_along_the_first_component_most_of_all() {
        let views = views(&Recipe { color_shift: 0.1, ..Recipe::default() });
        let shift = |c: usize| views.iter().map(move |v| f64::from(v.colour.unwrap_or_default().shift[c]));
        let red = mean(shift(0).map(|v| v * v)).sqrt();
        let expected: f64 = COMPONENTS.iter().map(|(deviation, c)| (25.5 * deviation * c[0]).powi(2)).sum();
        assert!((red / expected.sqrt() - 1.0).abs() < 0.05, "{red}");
        assert!(mean(shift(1)).abs() < 0.2);
    }

    #[test]
    fn erased_are_as_many_as_asked_for() {
        let views = views(&Recipe { erase: 0.25, ..Recipe::default() });
        let areas: Vec<Area> = views.iter().filter_map(|v| v.erased).collect();
        assert!(areas.len().abs_diff(1000) < 100, "{}", areas.len());
        for area in areas {
            let [left, top, right, bottom] = area.0.map(f64::from);
            let share = (right - left) * (bottom - top);
            assert!((0.0199..0.3301).contains(&share) && right <= 1.000001 && bottom <= 1.000001, "{area:?}");
        }
    }
}
