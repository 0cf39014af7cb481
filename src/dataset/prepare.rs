//! From a source in the official layout to class folders, packs and manifest, in one parallel pass over the images:
//! each is read, decoded, checked, written to its folder as it is, and its pixels put in their place in the pack.
//!
//! Does not stop at the first broken image: all are listed at the end, and then nothing is prepared. Does not resize:
//! all images must have the same size.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::ProgressBar;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::decode::{self, Decoded, Size};
use super::layout::{self, Image, Layout, Problem, SplitLayout};
use super::manifest::{self, Class, Manifest, Settings, SourceRecord, Split};
use super::pack::{NO_BOX, Pack};
use super::pack_writer::{PackHeader, PackWriter};
use super::source::Source;
use super::staging::Staging;
use super::statistics::Sums;
use super::{demo, source};
use crate::engine::Normalisation;
use crate::error::{Error, Kind, Result};
use crate::{files, progress};

/// What to prepare, where.
#[derive(Clone, Debug)]
pub struct Request {
    /// The data folder.
    pub data: PathBuf,
    /// From what.
    pub input: Input,
    /// Which images.
    pub settings: Settings,
    /// Prepare even if nothing changed, and replace folders that `prepare` did not write.
    pub force: bool,
    /// Worker threads; never changes a byte.
    pub threads: usize,
    /// No progress bar.
    pub quiet: bool,
}

/// From what to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A zip or folder; `None` looks for one in the data folder.
    Given(Option<PathBuf>),
    /// The synthetic set, drawn first.
    Demo(demo::Settings),
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What is there now.
    pub manifest: Manifest,
    /// It was there before: nothing was written.
    pub unchanged: bool,
    /// How long it took.
    pub seconds: f64,
}

/// Prepares a data folder. Errors: no source, not the layout, images that cannot be used (all are listed), folders
/// in the way that are not ours. After an error the data folder is as it was.
pub fn prepare(request: &Request) -> Result<Summary> {
    let begun = Instant::now();
    let pool = super::workers(request.threads)?;
    let source = match &request.input {
        Input::Given(Some(path)) => Some(Source::open(path)?),
        Input::Given(None) => Some(Source::open(&source::find(&request.data)?)?),
        Input::Demo(_) => None,
    };
    if let Some(source) = &source {
        keep_apart(&request.data, source)?;
    }
    let staging = Staging::open(&request.data)?;
    let record = match (&request.input, &source) {
        (Input::Demo(settings), _) => demo::record(settings),
        (_, Some(source)) => source.record().clone(),
        (_, None) => SourceRecord::default(),
    };
    if !request.force {
        if let Some(manifest) = unchanged(request, &record) {
            return Ok(Summary { manifest, unchanged: true, seconds: begun.elapsed().as_secs_f64() });
        }
        refuse_foreign(&staging)?;
    }
    let manifest = pool.install(|| {
        let source = match (source, &request.input) {
            (None, Input::Demo(settings)) => Source::open(&demo::draw(&request.data, settings, request.quiet)?)?,
            (Some(source), _) => source,
            (None, Input::Given(_)) => return Err(Error::usage("there is nothing to prepare from")),
        };
        let layout = layout::understand(&source, &request.settings)?;
        let work = Work { request, staging: &staging, source: &source, size: common_size(&source, &layout) };
        let manifest = work.write(layout, record);
        if manifest.is_err() {
            staging.discard()?;
        }
        manifest
    })?;
    staging.commit(&manifest)?;
    Ok(Summary { manifest, unchanged: false, seconds: begun.elapsed().as_secs_f64() })
}

/// The data folder must not be the source: its folders would be replaced by what is made of them.
fn keep_apart(data: &Path, source: &Source) -> Result<()> {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if source.folder().is_some_and(|folder| same(folder, data)) {
        return Err(Error::usage(format!("the source {} is the data folder itself", source.path().display()))
            .with_help("move it into a folder of its own, or name another --data folder"));
    }
    Ok(())
}

/// Folders of unknown origin are not replaced unasked.
fn refuse_foreign(staging: &Staging) -> Result<()> {
    let foreign = staging.foreign();
    if foreign.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = foreign.iter().map(|p| p.display().to_string()).collect();
    Err(Error::new(Kind::Data, format!("in the way, and not written by `vggkit prepare`: {}", names.join(", ")))
        .with_help("move them away, name another --data folder, or replace them with --force"))
}

/// The manifest of what is there, if it is what is asked for and complete as far as can be seen without reading it
/// all (`vggkit verify` reads it all).
fn unchanged(request: &Request, record: &SourceRecord) -> Option<Manifest> {
    let manifest = Manifest::load(&request.data).ok()?;
    let key = |r: &SourceRecord| (r.kind.clone(), r.bytes, r.sha256.clone());
    let complete = |(name, split): (&String, &Split)| {
        let pack = Pack::open(&request.data, name).ok()?;
        let folders = manifest.folders(name);
        let count = |folder: &String| Some(fs::read_dir(request.data.join(name).join(folder)).ok()?.count());
        let in_folders = folders.iter().map(count).sum::<Option<usize>>();
        let counted = split.files_sha256.is_empty() || in_folders == Some(split.images);
        (pack.images.count == split.images && counted).then_some(())
    };
    let same = manifest.schema == manifest::SCHEMA
        && key(&manifest.source) == key(record)
        && manifest.settings == request.settings
        && manifest.splits.iter().try_for_each(complete).is_some();
    same.then_some(manifest)
}

/// The size that most of some images spread over train have; 64 x 64 where they are undecided.
fn common_size(source: &Source, layout: &Layout) -> Size {
    let images: &[Image] = layout.splits.first().map_or(&[], |train| &train.images);
    let mut votes: BTreeMap<Size, usize> = BTreeMap::new();
    for image in images.iter().step_by((images.len() / 31).max(1)) {
        if let Ok(bytes) = source.read(&image.entry)
            && let Ok(size) = decode::size(&bytes)
        {
            *votes.entry(size).or_default() += 1;
        }
    }
    votes.into_iter().max_by_key(|&(size, votes)| (votes, size == (64, 64))).map_or((64, 64), |(size, _)| size)
}

/// What all workers share.
struct Work<'a> {
    request: &'a Request,
    staging: &'a Staging,
    source: &'a Source,
    size: Size,
}

/// What became of one image.
enum Outcome {
    Done { sha256: String, greyscale: bool, sums: Sums },
    Bad(String),
    Failed(Error),
    Skipped,
}

/// A split whose pixels are in place.
struct Filled {
    writer: PackWriter,
    split: Split,
    sums: Sums,
}

impl Work<'_> {
    fn write(&self, layout: Layout, record: SourceRecord) -> Result<Manifest> {
        let Layout { classes, splits, mut problems } = layout;
        let total: usize = splits.iter().map(|s| s.images.len()).sum();
        let bar = progress::bar("preparing", total as u64, "images", self.request.quiet);
        let mut filled = Vec::new();
        for split in splits.iter().filter(|split| !split.images.is_empty()) {
            filled.push((split.name, self.fill(split, &classes, &mut problems, &bar)?));
        }
        bar.finish_and_clear();
        if !problems.is_empty() {
            return Err(self.unusable(&problems, total));
        }
        let statistics = filled.first().map_or_else(Normalisation::default, |(_, train)| train.sums.normalisation());
        let mut manifest = Manifest {
            schema: manifest::SCHEMA.into(),
            vggkit: env!("CARGO_PKG_VERSION").into(),
            created: files::now(),
            synthetic: matches!(self.request.input, Input::Demo(_)),
            source: record,
            settings: self.request.settings.clone(),
            classes,
            height: self.size.0,
            width: self.size.1,
            mean: statistics.mean,
            std: statistics.std,
            splits: BTreeMap::new(),
        };
        for (name, Filled { writer, mut split, .. }) in filled {
            split.pack_sha256 = writer.finish(statistics)?;
            manifest.splits.insert(name.into(), split);
        }
        Ok(manifest)
    }

    /// Decodes all images of a split into their places in its pack, and writes them to their folders.
    fn fill(
        &self,
        split: &SplitLayout,
        classes: &[Class],
        problems: &mut Vec<Problem>,
        bar: &ProgressBar,
    ) -> Result<Filled> {
        let images = &split.images;
        let header = PackHeader {
            split: split.name.into(),
            synthetic: matches!(self.request.input, Input::Demo(_)),
            height: self.size.0,
            width: self.size.1,
            wnids: classes.iter().map(|c| c.wnid.clone()).collect(),
            names: classes.iter().map(|c| c.name.clone()).collect(),
            files: images.iter().map(|i| i.file.clone()).collect(),
            labels: split.labelled.then(|| images.iter().map(|i| i.label.unwrap_or_default() as i64).collect()),
            boxes: images
                .iter()
                .any(|i| i.bounds.is_some())
                .then(|| images.iter().map(|i| i.bounds.unwrap_or(NO_BOX)).collect()),
        };
        let pack = format!("{}.safetensors", split.name);
        let mut writer = PackWriter::create(&self.staging.partial("packs").join(&pack), &header)?;
        let targets: Vec<String> = images.iter().map(|image| split.target(image, classes)).collect();
        let folders = !self.request.settings.no_folders;
        if folders {
            self.create_folders(split.name, &targets)?;
        }
        let stop = AtomicBool::new(false);
        let outcomes: Vec<Outcome> = writer
            .pixels_mut()
            .par_chunks_exact_mut(self.size.0 * self.size.1 * 3)
            .zip(images.par_iter().zip(&targets))
            .map(|(pixels, (image, target))| {
                if stop.load(Ordering::Relaxed) {
                    return Outcome::Skipped;
                }
                let outcome = self.one(image, folders.then_some(target), pixels);
                if matches!(outcome, Outcome::Failed(_)) {
                    stop.store(true, Ordering::Relaxed);
                }
                bar.inc(1);
                outcome
            })
            .collect();

        let mut result =
            Split { images: images.len(), labelled: split.labelled, pack: format!("packs/{pack}"), ..Split::default() };
        let (mut sums, mut lines) = (Sums::default(), Vec::new());
        for (outcome, (image, target)) in outcomes.into_iter().zip(images.iter().zip(targets)) {
            match outcome {
                Outcome::Done { sha256, greyscale, sums: of_image } => {
                    result.greyscale += usize::from(greyscale);
                    sums.add(&of_image);
                    lines.push(format!("{target}\t{sha256}\n"));
                }
                Outcome::Bad(reason) => problems.push(Problem { path: image.entry.path.clone(), reason }),
                Outcome::Failed(error) => return Err(error),
                Outcome::Skipped => {}
            }
        }
        if folders {
            result.files_sha256 = manifest::files_sha256(lines);
        }
        Ok(Filled { writer, split: result, sums })
    }

    fn one(&self, image: &Image, target: Option<&String>, pixels: &mut [u8]) -> Outcome {
        let bytes = match self.source.read(&image.entry) {
            Ok(bytes) => bytes,
            Err(e) => return Outcome::Bad(e.to_string()),
        };
        let Decoded { size, pixels: decoded, greyscale } = match decode::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(reason) => return Outcome::Bad(reason),
        };
        if size != self.size {
            let ((rows, columns), (height, width)) = (size, self.size);
            return Outcome::Bad(format!("is {columns} x {rows} pixels, but most images are {width} x {height}"));
        }
        pixels.copy_from_slice(&decoded);
        let sums = Sums::of(&decoded);
        let sha256 = files::hex(&Sha256::digest(&bytes));
        if let Some(target) = target {
            let path = self.in_partial(target);
            if let Err(e) = fs::write(&path, &bytes) {
                return Outcome::Failed(Error::io("cannot write", path, e));
            }
        }
        Outcome::Done { sha256, greyscale, sums }
    }

    /// `train/<wnid>/<file>` -> `<data>/train.partial/<wnid>/<file>`.
    fn in_partial(&self, target: &str) -> PathBuf {
        let (part, below) = target.split_once('/').unwrap_or((target, ""));
        self.staging.partial(part).join(below)
    }

    fn create_folders(&self, split: &str, targets: &[String]) -> Result<()> {
        let mut folders: Vec<PathBuf> = targets.iter().map(|t| files::parent(&self.in_partial(t))).collect();
        folders.push(self.staging.partial(split));
        folders.sort();
        folders.dedup();
        for folder in folders {
            fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
        }
        Ok(())
    }

    fn unusable(&self, problems: &[Problem], total: usize) -> Error {
        let files = if problems.len() == 1 { "1 file" } else { &format!("{} files", problems.len()) };
        let mut message = format!(
            "{}: {files} of {total} images cannot be used, so nothing was prepared:",
            self.source.path().display()
        );
        for Problem { path, reason } in problems {
            message += &format!("\n  {path}: {reason}");
        }
        Error::new(Kind::Data, message).with_help(
            "get these files again from their original place, or take them out of the source (of val also out of \
             val_annotations.txt)",
        )
    }
}
