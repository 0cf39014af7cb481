//! The demo set: drawn images in exactly the official layout, for trying everything without a download.
//!
//! Shapes and textures in colours, places, scales and angles that are drawn independently of the class, so that colour
//! alone tells nothing. The same settings give the same bytes. Never passes for photographs: whatever is made of it
//! is marked `synthetic`.

use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use walkdir::WalkDir;

use super::manifest::{Class, SourceRecord};
use super::{names, root};
use crate::error::{Error, Result};
use crate::files::fs;
use crate::{files, progress};

mod scene;
mod shape;

use scene::{SIDE, Scene};

/// Raised with every change of what is drawn.
const GENERATOR: u32 = 2;
/// Every how manieth image is greyscale, on average.
const GREYSCALE_ONE_IN: u32 = 20;
const QUALITY: u8 = 88;
const README: &str = "Synthetic images, drawn by `vggkit prepare --demo` in the layout of Tiny ImageNet.\n\
                      They are not photographs and say nothing of how well a network recognises any.\n";

/// How much to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoSettings {
    /// Number of classes, at most [`DemoSettings::MOST_CLASSES`].
    pub classes: usize,
    /// Train images of a class. Val has a quarter as many a class, test a tenth.
    pub per_class: usize,
    /// Another seed, other images.
    pub seed: u64,
}

impl Default for DemoSettings {
    fn default() -> Self {
        Self { classes: 10, per_class: 200, seed: 0 }
    }
}

impl DemoSettings {
    /// As many shapes as are known.
    pub const MOST_CLASSES: usize = shape::ALL.len();

    /// Refuses what cannot be drawn.
    pub fn check(&self) -> Result<()> {
        let most = Self::MOST_CLASSES;
        if self.classes == 0 || self.classes > most {
            return Err(Error::usage(format!("--classes {}: the demo set has 1 to {most} classes", self.classes)));
        }
        if self.per_class == 0 {
            return Err(Error::usage("--per-class 0: a class needs at least one image"));
        }
        Ok(())
    }

    fn val(&self) -> usize {
        self.classes * self.per_class.div_ceil(4)
    }

    fn test(&self) -> usize {
        self.classes * self.per_class.div_ceil(10)
    }
}

/// What the manifest says of the source; known without drawing.
pub fn record(settings: &DemoSettings) -> SourceRecord {
    let DemoSettings { classes, per_class, seed } = settings;
    let key = format!("generator {GENERATOR}, {classes} classes, {per_class} train images a class, seed {seed}");
    SourceRecord {
        kind: "demo".into(),
        path: format!("vggkit prepare --demo ({key})"),
        sha256: files::hex(&<sha2::Sha256 as sha2::Digest>::digest(key)),
        ..SourceRecord::default()
    }
}

/// The splits, as streams of random numbers.
#[derive(Clone, Copy)]
enum Stream {
    Train = 1,
    Val,
    Test,
    Order,
}

/// One image to draw.
struct Task {
    path: PathBuf,
    class: usize,
    stream: Stream,
    index: usize,
}

/// Draws the set into `<data>/tiny-imagenet-demo` and returns that path. An older one is replaced when the new one is
/// complete; after an error nothing of the new one is left.
pub fn draw(data: &Path, settings: &DemoSettings, quiet: bool) -> Result<PathBuf> {
    settings.check()?;
    let path = data.join(root::DEMO);
    let partial = data.join(format!("{}.partial", root::DEMO));
    let clear = |folder: &Path| match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("cannot remove", folder, e)),
        _ => Ok(()),
    };
    clear(&partial)?;
    let drawn = draw_into(&partial, settings, quiet);
    if drawn.is_err() {
        clear(&partial)?;
    }
    drawn?;
    clear(&path)?; // no sync: what a power failure takes is drawn again
    fs::rename(&partial, &path).map_err(|e| Error::io("cannot rename", &partial, e))?;
    Ok(path)
}

fn draw_into(folder: &Path, settings: &DemoSettings, quiet: bool) -> Result<()> {
    let tasks = tasks(folder, settings);
    let bar = progress::bar("drawing", tasks.len() as u64, "images", quiet);
    create_folders(&tasks)?;
    let boxes: Vec<[i16; 4]> = tasks
        .par_iter()
        .map(|task| {
            let mut rng = generator(settings.seed, task.stream, task.index);
            let grey = rng.random_ratio(1, GREYSCALE_ONE_IN);
            let scene = Scene::draw(shape::ALL[task.class], &mut rng);
            let jpeg = encode(&scene, grey).map_err(|e| Error::data(&task.path, e))?;
            fs::write(&task.path, jpeg).map_err(|e| Error::io("cannot write", &task.path, e))?;
            bar.inc(1);
            Ok(scene.bounds)
        })
        .collect::<Result<_>>()?;
    write_lists(folder, settings, &tasks, &boxes)?;
    bar.finish_and_clear();
    Ok(())
}

/// What lies in `<data>/tiny-imagenet-demo` that was not drawn, by its name, relative to the data folder.
pub fn foreign(data: &Path) -> Result<Vec<String>> {
    let root = data.join(root::DEMO);
    let mut foreign = Vec::new();
    for entry in WalkDir::new(&root).sort_by_file_name().into_iter().filter(|_| root.exists()) {
        let entry = entry.map_err(|e| Error::io("cannot read", &root, e.into()))?;
        let below = entry.path().strip_prefix(&root).unwrap_or(entry.path()).to_string_lossy().into_owned();
        let litter = names::is_litter(&entry.file_name().to_string_lossy());
        if !entry.file_type().is_dir() && !litter && !is_drawn(&below.replace(std::path::MAIN_SEPARATOR, "/")) {
            foreign.push(format!("{}/{below}", root::DEMO));
        }
    }
    Ok(foreign)
}

/// Whether a file of this name is drawn, with some settings.
fn is_drawn(place: &str) -> bool {
    let is_class = |name: &str| (0..shape::ALL.len()).any(|class| wnid(class) == name);
    let numbered = |file: &str, prefix: &str| {
        let number = file.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')?.strip_suffix(".JPEG"));
        number.is_some_and(|number| number.parse::<usize>().is_ok())
    };
    match place.split('/').collect::<Vec<_>>()[..] {
        ["wnids.txt" | "words.txt" | "README.txt"] | ["val", "val_annotations.txt"] => true,
        ["train", class, file] => is_class(class) && file.strip_prefix(class) == Some("_boxes.txt"),
        ["train", class, "images", file] => is_class(class) && numbered(file, class),
        [split @ ("val" | "test"), "images", file] => numbered(file, split),
        _ => false,
    }
}

/// Whether images of these classes were drawn here: WordNet has none of the wnids.
pub fn drew(classes: &[Class]) -> bool {
    classes.iter().any(|class| (0..shape::ALL.len()).any(|drawn| class.wnid == wnid(drawn)))
}

fn wnid(class: usize) -> String {
    format!("n{}", 90_000_001 + class)
}

/// A stream of its own for each image, so that any number of threads draws the same.
fn generator(seed: u64, stream: Stream, index: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(((stream as u64) << 32) | index as u64);
    rng
}

fn tasks(root: &Path, settings: &DemoSettings) -> Vec<Task> {
    let mut tasks = Vec::new();
    for class in 0..settings.classes {
        let wnid = wnid(class);
        let folder = root.join("train").join(&wnid).join("images");
        for i in 0..settings.per_class {
            let index = class * settings.per_class + i;
            tasks.push(Task { path: folder.join(format!("{wnid}_{i}.JPEG")), class, stream: Stream::Train, index });
        }
    }
    // As in the original, the number of a val or test image says nothing of its class.
    for (split, stream, count) in [("val", Stream::Val, settings.val()), ("test", Stream::Test, settings.test())] {
        let mut classes: Vec<usize> = (0..count).map(|i| i % settings.classes).collect();
        classes.shuffle(&mut generator(settings.seed, Stream::Order, stream as usize));
        let folder = root.join(split).join("images");
        tasks.extend(classes.into_iter().enumerate().map(|(index, class)| Task {
            path: folder.join(format!("{split}_{index}.JPEG")),
            class,
            stream,
            index,
        }));
    }
    tasks
}

fn create_folders(tasks: &[Task]) -> Result<()> {
    let mut folders: Vec<PathBuf> = tasks.iter().map(|task| files::parent(&task.path)).collect();
    folders.dedup();
    folders.iter().try_for_each(|f| fs::create_dir_all(f).map_err(|e| Error::io("cannot create the folder", f, e)))
}

/// wnids.txt, words.txt, `<wnid>_boxes.txt`, val_annotations.txt.
fn write_lists(root: &Path, settings: &DemoSettings, tasks: &[Task], boxes: &[[i16; 4]]) -> Result<()> {
    let write = |path: PathBuf, text: String| fs::write(&path, text).map_err(|e| Error::io("cannot write", path, e));
    let mut wnids: Vec<String> = (0..settings.classes).map(wnid).collect();
    wnids.shuffle(&mut generator(settings.seed, Stream::Order, 0));
    write(root.join("wnids.txt"), wnids.iter().map(|w| format!("{w}\n")).collect())?;
    let words = shape::ALL.iter().enumerate().map(|(class, s)| format!("{}\t{}\n", wnid(class), s.names()));
    write(root.join("words.txt"), words.collect())?;
    write(root.join("README.txt"), README.into())?;
    let line = |task: &Task, wnid: &str, [x0, y0, x1, y1]: [i16; 4]| {
        let file = task.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{file}{wnid}\t{x0}\t{y0}\t{x1}\t{y1}\n")
    };
    for (class, chunk) in
        tasks.chunks(settings.per_class).zip(boxes.chunks(settings.per_class)).take(settings.classes).enumerate()
    {
        let (tasks, boxes) = chunk;
        let wnid = wnid(class);
        let text = tasks.iter().zip(boxes).map(|(task, bounds)| line(task, "", *bounds)).collect();
        write(root.join("train").join(&wnid).join(format!("{wnid}_boxes.txt")), text)?;
    }
    let val = tasks.iter().zip(boxes).filter(|(task, _)| matches!(task.stream, Stream::Val));
    let text = val.map(|(task, bounds)| line(task, &format!("\t{}", wnid(task.class)), *bounds)).collect();
    write(root.join("val").join("val_annotations.txt"), text)
}

fn encode(scene: &Scene, grey: bool) -> image::ImageResult<Vec<u8>> {
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
    let side = SIDE as u32;
    if grey {
        encoder.write_image(&scene.luminance(), side, side, ExtendedColorType::L8)?;
    } else {
        encoder.write_image(&scene.pixels, side, side, ExtendedColorType::Rgb8)?;
    }
    Ok(jpeg)
}

#[cfg(test)]
mod tests;
