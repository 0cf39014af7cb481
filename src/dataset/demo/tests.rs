//! The demo set is what it claims: repeatable, in the layout, with colours that tell nothing of the class.

use super::*;
use crate::dataset::decode;

fn images(settings: &DemoSettings, stream: Stream, count: usize) -> Vec<(usize, Scene)> {
    (0..count)
        .into_par_iter()
        .map(|i| {
            let class = i % settings.classes;
            (class, Scene::draw(shape::ALL[class], &mut generator(settings.seed, stream, i)))
        })
        .collect()
}

/// Number of hits when each image of `held` gets the class whose mean feature over `known` is nearest.
fn nearest_mean(known: &[(usize, Vec<f32>)], held: &[(usize, Vec<f32>)], classes: usize) -> f64 {
    let length = known[0].1.len();
    let mut means = vec![vec![0.0; length]; classes];
    for (class, feature) in known {
        let count = known.iter().filter(|(c, _)| c == class).count() as f32;
        means[*class].iter_mut().zip(feature).for_each(|(m, f)| *m += f / count);
    }
    let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let guess = |f: &[f32]| (0..classes).min_by(|a, b| distance(&means[*a], f).total_cmp(&distance(&means[*b], f)));
    held.iter().filter(|(class, feature)| guess(feature) == Some(*class)).count() as f64 / held.len() as f64
}

fn mean_colour(scene: &Scene) -> Vec<f32> {
    let mut sums = vec![0.0; 3];
    scene.pixels.chunks(3).for_each(|p| (0..3).for_each(|c| sums[c] += f32::from(p[c]) / (SIDE * SIDE) as f32));
    sums
}

/// Share of the pixels in each of 4 x 4 x 4 cells of the colour cube.
fn histogram(scene: &Scene) -> Vec<f32> {
    let mut cells = vec![0.0; 64];
    for p in scene.pixels.chunks(3) {
        cells[usize::from(p[0] / 64) * 16 + usize::from(p[1] / 64) * 4 + usize::from(p[2] / 64)] += 1.0 / 4096.0;
    }
    cells
}

#[test]
fn colour_alone_stays_near_chance() {
    let settings = DemoSettings::default();
    let (known, held) = (images(&settings, Stream::Train, 2000), images(&settings, Stream::Val, 1000));
    for feature in [mean_colour, histogram] {
        let of = |images: &[(usize, Scene)]| images.iter().map(|(c, s)| (*c, feature(s))).collect::<Vec<_>>();
        let hits = nearest_mean(&of(&known), &of(&held), settings.classes);
        assert!(hits < 0.16, "top-1 {hits} where chance is 0.1");
    }
}

#[test]
fn every_shape_is_seen_whole_and_differs_from_the_others() {
    for (class, shape) in shape::ALL.into_iter().enumerate() {
        for i in 0..40 {
            let scene = Scene::draw(shape, &mut generator(3, Stream::Train, class * 100 + i));
            let [x0, y0, x1, y1] = scene.bounds;
            assert!(0 <= x0 && x0 <= x1 && x1 < SIDE as i16, "{shape:?} {:?}", scene.bounds);
            assert!(0 <= y0 && y0 <= y1 && y1 < SIDE as i16, "{shape:?} {:?}", scene.bounds);
            assert!(x1 - x0 >= 12 && y1 - y0 >= 12, "{shape:?} {:?}", scene.bounds);
        }
        for other in &shape::ALL[..class] {
            let points = (0..4096).map(|i| ((i % 64) as f32 / 32.0 - 1.0, (i / 64) as f32 / 32.0 - 1.0));
            let differ =
                points.filter(|(x, y)| (shape.distance(*x, *y, 0.3) < 0.0) != (other.distance(*x, *y, 0.3) < 0.0));
            assert!(differ.count() > 200, "{shape:?} looks like {other:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let settings = DemoSettings { classes: 3, per_class: 8, seed: 7 };
    let draw = |settings: &DemoSettings| {
        let data = tempfile::tempdir().unwrap();
        let root = draw(data.path(), settings, true).unwrap();
        let mut all = Vec::new();
        for entry in walkdir::WalkDir::new(&root).sort_by_file_name() {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                all.push((path, fs::read(entry.path()).unwrap()));
            }
        }
        all
    };
    let first = draw(&settings);
    assert!(first == draw(&settings));
    let other = draw(&DemoSettings { seed: 8, ..settings });
    assert_eq!(first.len(), other.len());
    let jpegs =
        |all: &[(String, Vec<u8>)]| all.iter().filter(|(p, _)| p.ends_with("JPEG")).cloned().collect::<Vec<_>>();
    assert!(jpegs(&first).iter().zip(&jpegs(&other)).all(|(a, b)| a.0 == b.0 && a.1 != b.1));
    assert_eq!(jpegs(&first).len(), 24 + 6 + 3);
    assert!(jpegs(&first).iter().all(|(_, jpeg)| decode::decode(jpeg).unwrap().size == (64, 64)));
}

#[test]
fn more_classes_than_shapes_are_refused() {
    let error = DemoSettings { classes: 17, ..DemoSettings::default() }.check().unwrap_err();
    assert!(error.to_string().contains("1 to 16"), "{error}");
    assert!(DemoSettings { per_class: 0, ..DemoSettings::default() }.check().is_err());
}
