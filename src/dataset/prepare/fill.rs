//! One split: every image read, decoded and put in its place, in pieces of some images, in parallel.
//!
//! Lists what cannot be used and leaves its place black; what then becomes of the split is `write`'s decision.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::work::Work;
use crate::dataset::decode::{self, Adapted, Decoded};
use crate::dataset::finding::Problem;
use crate::dataset::layout::{Image, SplitLayout};
use crate::dataset::manifest::{self, Class, Split};
use crate::dataset::pack::NO_BOX;
use crate::dataset::pack_writer::{PackHeader, PackWriter};
use crate::dataset::statistics::Sums;
use crate::dataset::{demo, fingerprint};
use crate::error::{Error, Result};
use crate::files::{self, fs};

/// Images that a worker decodes before it writes their pixels: 400 kB at 64 x 64.
const PIECE: usize = 32;

/// A split whose pixels are in place.
pub struct Filled {
    /// Waits for the statistics of train.
    pub writer: PackWriter,
    /// All of it but the pack's checksum.
    pub split: Split,
    /// Over all pixels.
    pub sums: Sums,
    /// Hash of each image's pixels, in the split's order.
    pub hashes: Vec<u64>,
    /// Images that cannot be used, by index.
    pub bad: Vec<(usize, Problem)>,
}

/// What became of one image.
enum Outcome {
    Done { sha256: Option<String>, greyscale: bool, resized: bool, adapted: Adapted, sums: Sums, hash: u64 },
    Bad(&'static str, String),
    Skipped,
}

impl Work<'_> {
    /// Decodes all images of a split into their places in its pack and, with `write_files`, writes them to their folders.
    pub fn fill(&self, split: &SplitLayout, classes: &[Class], write_files: bool, bar: &ProgressBar) -> Result<Filled> {
        let images = &split.images;
        let pack = format!("{}.safetensors", split.name);
        let path = self.staging.partial("packs").join(&pack);
        let writer = PackWriter::create(&path, &self.header(split, classes))?;
        let targets: Vec<String> = images.iter().map(|image| split.target(image, classes)).collect();
        if write_files {
            self.create_folders(split, classes, &targets)?;
        }
        let stop = AtomicBool::new(false);
        let outcomes: Vec<Vec<Outcome>> = images
            .par_chunks(PIECE)
            .zip(targets.par_chunks(PIECE))
            .enumerate()
            .map(|(piece, (images, targets))| {
                let mut pixels = vec![0; images.len() * writer.image_bytes()];
                let one = |(pixels, (image, target)): (&mut [u8], (&Image, &String))| {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(Outcome::Skipped);
                    }
                    bar.inc(1);
                    self.one(image, write_files.then_some(target), pixels)
                };
                let places = pixels.chunks_exact_mut(writer.image_bytes()).zip(images.iter().zip(targets));
                let outcomes = places.map(one).collect::<Result<Vec<_>>>();
                let written = outcomes.and_then(|outcomes| writer.write(piece * PIECE, &pixels).map(|()| outcomes));
                if written.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                written
            })
            .collect::<Result<_>>()?;

        let result =
            Split { images: images.len(), labelled: split.labelled, pack: format!("packs/{pack}"), ..Split::default() };
        let hashes = Vec::with_capacity(images.len());
        let mut filled = Filled { writer, split: result, sums: Sums::default(), hashes, bad: Vec::new() };
        let mut lines = Vec::new();
        for (index, outcome) in outcomes.into_iter().flatten().enumerate() {
            match outcome {
                Outcome::Done { sha256, greyscale, resized, adapted, sums, hash } => {
                    filled.split.greyscale += usize::from(greyscale);
                    filled.split.resized += usize::from(resized);
                    filled.split.turned += usize::from(adapted.turned);
                    filled.split.transparent += usize::from(adapted.over_white);
                    filled.split.animated += usize::from(adapted.first_picture);
                    filled.sums.add(&sums);
                    filled.hashes.push(hash);
                    lines.extend(sha256.map(|sha256| format!("{}\t{sha256}\n", targets[index])));
                }
                Outcome::Bad(code, reason) => {
                    filled.hashes.push(0);
                    filled.bad.push((index, Problem::error(code, &images[index].entry.path, reason)));
                }
                Outcome::Skipped => {} // an error was returned above
            }
        }
        if self.write_folders {
            filled.split.files_sha256 = manifest::files_sha256(lines);
        }
        Ok(filled)
    }

    fn header(&self, split: &SplitLayout, classes: &[Class]) -> PackHeader {
        let images = &split.images;
        PackHeader {
            split: split.name.into(),
            synthetic: demo::drew(classes),
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
        }
    }

    /// An error is what stops everything: a file that cannot be written.
    fn one(&self, image: &Image, target: Option<&String>, pixels: &mut [u8]) -> Result<Outcome> {
        let bytes = match self.source.read(&image.entry) {
            Ok(bytes) => bytes,
            Err(e) => return Ok(Outcome::Bad("file-unreadable", e.to_string())),
        };
        let decoded = match decode::decode(&bytes) {
            Ok(decoded) => decoded,
            Err(reason) => return Ok(Outcome::Bad("file-undecodable", reason)),
        };
        let resized = decoded.size != self.size;
        let Decoded { pixels: decoded, greyscale, adapted, .. } = decoded.resized(self.size);
        pixels.copy_from_slice(&decoded);
        if let Some(target) = target {
            let path = self.in_partial(target);
            fs::write(&path, &bytes).map_err(|e| Error::io("cannot write", path, e))?;
        }
        let sha256 = self.write_folders.then(|| files::hex(&Sha256::digest(&bytes)));
        let (sums, hash) = (Sums::of(pixels), fingerprint::hash(pixels));
        Ok(Outcome::Done { sha256, greyscale, resized, adapted, sums, hash })
    }

    /// `train/<wnid>/<file>` -> `<data>/train.partial/<wnid>/<file>`.
    pub fn in_partial(&self, target: &str) -> PathBuf {
        let (part, below) = target.split_once('/').unwrap_or((target, ""));
        self.staging.partial(part).join(below)
    }

    /// A folder for each class, also of val without an image of it: `ImageFolder` counts classes by their folders.
    fn create_folders(&self, split: &SplitLayout, classes: &[Class], targets: &[String]) -> Result<()> {
        let mut folders: Vec<PathBuf> = targets.iter().map(|t| files::parent(&self.in_partial(t))).collect();
        let root = self.staging.partial(split.name);
        folders.extend(classes.iter().filter(|_| split.labelled).map(|class| root.join(&class.wnid)));
        folders.push(root);
        folders.sort();
        folders.dedup();
        for folder in folders {
            fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
        }
        Ok(())
    }
}
