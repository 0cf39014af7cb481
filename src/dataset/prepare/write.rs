//! All splits and the manifest, into the staging folders: fills each split, leaves out what is to be left out, and ends
//! with an error that lists every file that cannot be used.
//!
//! Does not put anything in place; `staging` does.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;
use rayon::prelude::*;

use super::fill::Filled;
use super::leaks;
use super::work::Work;
use crate::dataset::demo;
use crate::dataset::finding::{Problem, Severity};
use crate::dataset::layout::{LEFT_OUT, SourceLayout, SplitLayout};
use crate::dataset::manifest::{self, Class, LeftOut, Manifest, SourceRecord, Split};
use crate::engine::Normalisation;
use crate::error::{Error, Kind, Result};
use crate::files::fs;
use crate::{files, progress};

impl Work<'_> {
    pub fn write(&self, layout: SourceLayout, record: SourceRecord) -> Result<Manifest> {
        let SourceLayout { classes, splits, problems, held_out, help, .. } = layout;
        let settings = &self.request.settings;
        let no_images: Vec<Problem> = problems.iter().filter(|p| p.code == LEFT_OUT).cloned().collect();
        let mut problems: Vec<Problem> = problems.into_iter().filter(|p| p.severity == Severity::Error).collect();
        let total: usize = splits.iter().map(|s| s.images.len()).sum();
        let bar = progress::bar("preparing", total as u64, "images", self.request.quiet);
        let mut splits = splits.into_iter().filter(|split| !split.images.is_empty());
        let Some(train) = splits.next() else { return Err(Error::data(self.source.path(), "there are no images")) };
        let mut train = self.fill_usable(train, &classes, &mut problems, &bar)?;
        let mut rest = |problems: &mut Vec<Problem>| -> Result<Vec<_>> {
            splits.by_ref().map(|split| self.fill_usable(split, &classes, problems, &bar)).collect()
        };
        let statistics;
        let mut done = BTreeMap::new();
        let others = if settings.drop_leaks {
            let others = rest(&mut problems)?;
            self.refuse(&problems, total, help)?;
            let leaks = leaks::find((&train.0, &train.1), &others)?;
            train = self.without(train.0, train.1, leaks, &classes, &mut problems)?;
            statistics = train.1.sums.normalisation();
            done.extend([finish(train, statistics)?]);
            others
        } else {
            // The checksum of train's pack takes one thread a second: beside it the others decode.
            statistics = train.1.sums.normalisation();
            let (train, others) = rayon::join(|| finish(train, statistics), || rest(&mut problems));
            let others = others?;
            self.refuse(&problems, total, help)?;
            done.extend([train?]);
            others
        };
        bar.finish_and_clear();
        problems.extend(no_images);
        let others = others.into_par_iter().map(|split| finish(split, statistics));
        done.extend(others.collect::<Result<Vec<_>>>()?);
        problems.sort_by(|a, b| (&a.path, &a.reason).cmp(&(&b.path, &b.reason)));
        Ok(Manifest {
            schema: manifest::SCHEMA.into(),
            vggkit: env!("CARGO_PKG_VERSION").into(),
            created: files::now(),
            synthetic: demo::drew(&classes),
            source: record,
            settings: settings.clone(),
            classes,
            height: self.size.0,
            width: self.size.1,
            mean: statistics.mean,
            std: statistics.std,
            splits: done,
            held_out,
            left_out: problems.into_iter().map(|p| LeftOut { path: p.path, reason: p.reason }).collect(),
            former: Vec::new(),
        })
    }

    /// Fills a split; with `--skip-corrupt` again without what cannot be used.
    fn fill_usable(
        &self,
        split: SplitLayout,
        classes: &[Class],
        problems: &mut Vec<Problem>,
        bar: &ProgressBar,
    ) -> Result<(SplitLayout, Filled)> {
        let mut filled = self.fill(&split, classes, self.write_folders, bar)?;
        let bad = std::mem::take(&mut filled.bad);
        if self.request.settings.skip_corrupt {
            return self.without(split, filled, bad, classes, problems);
        }
        problems.extend(bad.into_iter().map(|(_, problem)| problem));
        Ok((split, filled))
    }

    /// The split without some images, filled again: where an image has its place depends on those ahead of it.
    fn without(
        &self,
        mut split: SplitLayout,
        filled: Filled,
        out: Vec<(usize, Problem)>,
        classes: &[Class],
        problems: &mut Vec<Problem>,
    ) -> Result<(SplitLayout, Filled)> {
        if out.is_empty() {
            return Ok((split, filled));
        }
        let leave: BTreeSet<usize> = out.iter().map(|(index, _)| *index).collect();
        for index in &leave {
            let path = self.in_partial(&split.target(&split.images[*index], classes));
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("cannot remove", path, e)),
                _ => {} // a broken file was never written
            }
        }
        let mut index = 0..;
        split.images.retain(|_| index.next().is_none_or(|index| !leave.contains(&index)));
        problems.extend(out.into_iter().map(|(_, problem)| problem));
        let classes_left: BTreeSet<_> = split.images.iter().map(|image| image.label).collect();
        if split.images.is_empty() || (split.name == "train" && classes_left.len() < classes.len()) {
            let lost = (0..classes.len()).find(|label| !classes_left.contains(&Some(*label)));
            let lost = lost.map_or_else(String::new, |label| format!(" of the class {}", classes[label].wnid));
            let listed = list(problems);
            let what = format!("no image{lost} is left in {}, so nothing was prepared:{listed}", split.name);
            return Err(Error::data(self.source.path(), what));
        }
        drop(filled); // and with it the pack that was begun
        let total = split.images.len() as u64;
        let bar = progress::bar("preparing", total, "images", self.request.quiet);
        let filled = self.fill(&split, classes, false, &bar)?;
        bar.finish_and_clear();
        match filled.bad.first() {
            None => Ok((split, filled)),
            Some((_, problem)) => {
                let what = format!("could be read before, and now cannot: {}", problem.reason);
                Err(Error::data(self.source.path().join(&problem.path), what))
            }
        }
    }

    /// Stops where something cannot be used, unless that may be left out.
    fn refuse(&self, problems: &[Problem], total: usize, more: Option<String>) -> Result<()> {
        if problems.is_empty() || (self.request.settings.skip_corrupt && problems.iter().all(|p| !p.whole)) {
            return Ok(());
        }
        let files = if problems.len() == 1 { "1 file" } else { &format!("{} files", problems.len()) };
        let source = self.source.path().display();
        let listed = list(problems);
        let message = format!("{source}: {files} of {total} images cannot be used, so nothing was prepared:{listed}");
        let mut help =
            "get these files again from their original place, or take them out of the source (of val also out \
                        of val_annotations.txt)"
                .to_owned();
        if problems.iter().all(|p| !p.whole) {
            help += ", or leave them out with --skip-corrupt";
        }
        if let Some(more) = more {
            help = format!("{more}, or {help}");
        }
        Err(Error::new(Kind::Data, message).with_help(help))
    }
}

/// Writes the header of a pack, and gives its checksum to the manifest's entry.
fn finish((layout, filled): (SplitLayout, Filled), statistics: Normalisation) -> Result<(String, Split)> {
    let Filled { writer, mut split, .. } = filled;
    split.pack_sha256 = writer.finish(statistics)?;
    Ok((layout.name.to_owned(), split))
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|Problem { path, reason, .. }| format!("\n  {path}: {reason}")).collect()
}
