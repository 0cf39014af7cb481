//! A data folder that `prepare` wrote: what its manifest claims, split by split.
//!
//! Does not look at the source.

use std::path::Path;

use indicatif::ProgressBar;
use rayon::prelude::*;

use super::look::Look;
use super::official::{self, PerClass};
use super::request::Request;
use super::seen::Seen;
use super::verification::{Counts, Verification};
use super::{folders, packs};
use crate::dataset::finding::{Findings, Severity};
use crate::dataset::inventory::{Inventory, owned_split};
use crate::dataset::manifest::{self, Manifest, SPLITS};
use crate::dataset::pack::Pack;
use crate::dataset::prepare_command::prepare_command;
use crate::dataset::{decode, staging};
use crate::error::{Error, Kind, Result};
use crate::files::fs;
use crate::{files, progress};

/// A data folder with its manifest.
pub struct Prepared<'a> {
    data: &'a Path,
    manifest: Manifest,
}

/// Reads the manifest. A damaged one is a finding; a folder that was never prepared, or not to its end, an error.
pub fn open<'a>(data: &'a Path, findings: &mut Findings) -> Result<Option<Prepared<'a>>> {
    let never =
        |what: &str, help: &str| Err(Error::new(Kind::Data, format!("{} {what}", data.display())).with_help(help));
    let prepare = "run `vggkit prepare` first (`vggkit prepare --demo` makes a data set in data/demo without download)";
    if data.is_file() {
        return never("is a file, not a data folder", "what is yet to be prepared is verified with --source");
    }
    if !data.is_dir() {
        return never("does not exist", prepare);
    }
    // A change that is decided takes the manifest away before anything else: as long as it is there, so is the old data.
    if !Manifest::path(data).exists() {
        if staging::is_pending(data) {
            let help = format!("run `{}` again with the same settings: it completes it", prepare_command(data));
            return never("is half-way through a change that was cut short", &help);
        }
        return never("was not prepared: it has no manifest.json", prepare);
    }
    let damaged = match Manifest::load(data) {
        Ok(manifest) if manifest.schema == manifest::SCHEMA => return Ok(Some(Prepared { data, manifest })),
        Ok(Manifest { schema, .. }) => {
            format!("manifest.json has the schema `{schema}`; this version reads `{}`", manifest::SCHEMA)
        }
        Err(e) => e.to_string(),
    };
    findings.add(Severity::Error, "manifest", damaged);
    Ok(None)
}

impl Prepared<'_> {
    /// Checks everything but how the images compare.
    pub fn check(&self, request: &Request, result: &mut Verification, findings: &mut Findings) -> Seen<'_> {
        let Self { data, manifest } = self;
        result.kind = "prepared".into();
        result.synthetic = manifest.synthetic;
        result.classes = manifest.classes.len();
        (result.height, result.width) = (manifest.height, manifest.width);
        let total: usize = manifest.splits.values().map(|s| s.images).sum();
        let bar = progress::bar("verifying", total as u64, "images", request.quiet);
        // Hashing a pack takes one thread a second: beside it the others decode.
        let mut of_images = Findings::default();
        let (checksums, (packs, looks)) = rayon::join(
            || self.checksums(),
            || {
                let (mut packs, mut looks) = (Vec::new(), Vec::new());
                for name in SPLITS {
                    let (counts, pack) = self.split(name, request, &mut looks, &mut of_images, &bar);
                    result.splits.extend(counts.map(|counts| (name.to_owned(), counts)));
                    packs.push(pack);
                }
                (packs, looks)
            },
        );
        bar.finish_and_clear();
        findings.0.extend(checksums.0);
        findings.0.extend(of_images.0);
        self.whole(&packs, result, findings);
        let size = (manifest.height, manifest.width);
        let pixels = move |look: &Look| match &packs[look.split] {
            Some(pack) => Some(pack.pixels(look.index).to_vec()),
            None => Some(decode::decode(&fs::read(data.join(&look.file)).ok()?).ok()?.resized(size).pixels),
        };
        Seen { looks, size, pixels: Box::new(pixels) }
    }

    /// Errors: `prepare` has put other data in place, so that what was found is partly of the old and partly of the new.
    pub fn still_there(&self) -> Result<()> {
        if Manifest::load(self.data).is_ok_and(|now| now == self.manifest) {
            return Ok(());
        }
        Err(Error::data(Manifest::path(self.data), "the data was prepared anew while it was verified")
            .with_help("wait until `vggkit prepare` is done, and run `vggkit verify` again"))
    }

    fn checksums(&self) -> Findings {
        let splits: Vec<_> = SPLITS.iter().filter_map(|name| Some((*name, self.manifest.splits.get(*name)?))).collect();
        let hashed: Vec<_> =
            splits.par_iter().map(|(name, _)| files::sha256(&Pack::path_of(self.data, name))).collect();
        let mut findings = Findings::default();
        for ((_, claim), sha256) in splits.iter().zip(hashed) {
            match sha256 {
                Ok(sha256) if sha256 == claim.pack_sha256 => {}
                Ok(_) => {
                    let message = format!("{}: its bytes are not those that were prepared", claim.pack);
                    findings.add(Severity::Error, "pack-checksum", message);
                }
                Err(_) => {} // `packs` says that it cannot be opened
            }
        }
        findings
    }

    /// One split: its counts, where the manifest has it, and its pack, where that can be opened.
    fn split(
        &self,
        name: &str,
        request: &Request,
        looks: &mut Vec<Look>,
        findings: &mut Findings,
        bar: &ProgressBar,
    ) -> (Option<Counts>, Option<Pack>) {
        let Some(claim) = self.manifest.splits.get(name) else {
            if name == "test" {
                findings.add(Severity::Note, "split-missing", "there is no test split: nothing to predict");
            } else {
                findings.add(Severity::Error, "split-missing", format!("the manifest has no split `{name}`"));
            }
            return (None, None);
        };
        let mut counts = Counts { claimed: claim.images, official: official::images(name), ..Counts::default() };
        let pack = packs::check(self.data, &self.manifest, name, &mut counts, findings);
        let perceptual = request.near.is_some();
        if !claim.files_sha256.is_empty() {
            let split = folders::Split { data: self.data, manifest: &self.manifest, name, perceptual };
            looks.extend(split.check(pack.as_ref(), &mut counts, findings, bar));
        } else if let Some(pack) = &pack {
            looks.extend(packs::looks(pack, &self.manifest, name, perceptual, bar));
        }
        (Some(counts), pack)
    }

    /// What concerns the data set as a whole.
    fn whole(&self, packs: &[Option<Pack>], result: &Verification, findings: &mut Findings) {
        let manifest = &self.manifest;
        let sorted = manifest.classes.windows(2).all(|pair| pair[0].wnid < pair[1].wnid);
        if manifest.classes.is_empty() || !sorted {
            findings.add(Severity::Error, "classes", "the manifest's classes are not sorted wnids without repetition");
        }
        if manifest.synthetic {
            findings.add(Severity::Note, "synthetic", "drawn by `vggkit prepare --demo`: not photographs");
        } else {
            let per_class = |pack: &Option<Pack>| {
                let mut counts: PerClass = manifest.classes.iter().map(|c| (c.wnid.clone(), 0)).collect();
                for pack in pack.iter() {
                    for label in pack.images.labels.iter() {
                        *counts.entry(pack.wnids[*label as usize].clone()).or_default() += 1; // checked on opening
                    }
                }
                counts
            };
            let wanted = (manifest.settings.per_class.unwrap_or(500).min(500), !manifest.left_out.is_empty());
            official::check(&per_class(&packs[0]), &per_class(&packs[1]), &result.splits, wanted, findings);
        }
        let mut inventory = Inventory::take(self.data, Some(manifest)).unwrap_or_default();
        inventory.foreign.retain(|part, _| owned_split(manifest, part).is_none()); // what is in class folders was told above
        let beside = inventory.unknown_to(manifest);
        if !beside.is_empty() {
            let what = format!("not in the manifest, and not written by `vggkit prepare`: {}", beside.len());
            findings.add_files(Severity::Note, "foreign", what, beside);
        }
        let left_out = manifest.left_out.iter().map(|file| format!("{}: {}", file.path, file.reason)).collect();
        findings.about(Severity::Note, "left-out", left_out, |n| format!("{n} of the source left out"));
        if manifest.splits.values().all(|s| s.files_sha256.is_empty()) {
            findings.add(Severity::Note, "no-folders", "prepared without class folders: only the packs were checked");
        }
    }
}
