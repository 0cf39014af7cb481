//! Evaluations, of runs and of several fused, and what lies beside them: the answer for each image, and what was seen inside
//! the network. All are checked as far as the page relies on them.

use std::path::{Path, PathBuf};

use super::inputs::LoadedRun;
use crate::error::{Error, Result};
use crate::files::{self, fs};
use crate::inference::answers::Answers;
use crate::inference::calibration::{BINS, Calibration};
use crate::inference::evaluation::{self, Evaluation};
use crate::inference::fusion::{self, Fusion};
use crate::inference::inside::{Inside, SCHEMA};
use crate::inference::tta::Tta;
use crate::training::checkpoint;

/// What is wrong with figures of weights that were replaced.
pub const OLD_WEIGHTS: &str = "is of weights that are not best.safetensors any more";

/// Rows and columns of a map of attention, and of a filter, at most: more is not what `evaluate` writes.
const LARGEST_MAP: usize = 64;
const LARGEST_KERNEL: usize = 11;

/// `value`, if the schema that was found is the one that is read.
pub fn check_schema<T>(path: &Path, found: &str, expected: &str, value: T) -> Result<T> {
    if found == expected {
        return Ok(value);
    }
    Err(Error::data(path, format!("its schema is {found:?}; this version of vggkit reads {expected:?}"))
        .with_help("use the version of vggkit that wrote it, or make it again"))
}

/// Whether it is one, in 0..1.
pub fn fraction(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

/// An evaluation of a run of `classes` classes. Errors: it is of other images or views, or has values that cannot be.
pub fn evaluation(path: &Path, classes: usize, split: &str, tta: Option<Tta>) -> Result<Evaluation> {
    let e: Evaluation = files::read_json(path)?;
    let e = check_schema(path, &e.schema.clone(), evaluation::SCHEMA, e)?;
    let wrong = |what: String| Err(Error::data(path, what));
    if e.split != split {
        return wrong(format!("it is of the split {:?}, the run's is {split:?}", e.split));
    }
    if e.tta != tta {
        return wrong("it is of other views of the images than its name says".into());
    }
    check(path, &e, classes)?;
    Ok(e)
}

/// Errors: not of `classes` classes, values that cannot be.
fn check(path: &Path, e: &Evaluation, classes: usize) -> Result<()> {
    let wrong = |what: &str| Err(Error::data(path, what));
    if e.per_class.len() != classes || e.confusion.len() != classes || e.confusion.iter().any(|r| r.len() != classes) {
        return wrong(&format!("it does not have the run's {classes} classes"));
    }
    if ![e.top1, e.top5].into_iter().chain(e.per_class.iter().map(|c| c.top1)).all(fraction) || !e.loss.is_finite() {
        return wrong("it has a value out of its range");
    }
    if e.mistakes.iter().any(|m| m.truth >= classes || m.predicted >= classes || !fraction(m.probability)) {
        return wrong("one of its mistakes names a class or a probability that cannot be");
    }
    let sound = |c: &Calibration| {
        let bins = c.bins.iter().all(|bin| bin.images <= e.images && fraction(bin.confidence) && fraction(bin.top1));
        c.bins.len() == BINS && bins && fraction(c.error)
    };
    if !e.calibration.as_ref().is_none_or(sound) {
        return wrong("its calibration has bins or values that cannot be");
    }
    Ok(())
}

/// What `evaluate --fuse` wrote into the folder of the runs, by name. Errors: what cannot be read or cannot be, and what is of
/// other weights than those of `runs`.
pub fn fusions(folder: &Path, runs: &[LoadedRun]) -> Vec<(PathBuf, Result<Fusion>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = entries.filter(|path| Fusion::is_path(path)).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fusion(&path, runs))).collect()
}

fn fusion(path: &Path, runs: &[LoadedRun]) -> Result<Fusion> {
    let found: Fusion = files::read_json(path)?;
    let found = check_schema(path, &found.schema.clone(), fusion::SCHEMA, found)?;
    let help = "fuse them again with `vggkit evaluate --fuse`, or remove the file";
    let check = || {
        if !found.runs.iter().all(|member| fraction(member.top1)) {
            return Err(Error::data(path, "one of its runs has a value out of its range"));
        }
        for member in &found.runs {
            let Some(run) = runs.iter().find(|run| run.name == member.run) else { continue };
            let digest = checkpoint::digest_of(&checkpoint::best_path(&run.folder)).ok();
            if digest.is_some_and(|digest| digest != member.weights_digest) {
                return Err(Error::data(path, format!("for {} it {OLD_WEIGHTS}", member.run)));
            }
        }
        check(path, &found.evaluation, found.evaluation.confusion.len())
    };
    check().map_err(|e| e.with_help(help))?;
    Ok(found)
}

/// The answers of `evaluation`. Errors: they are not what it counted.
pub fn answers(path: &Path, evaluation: &Evaluation) -> Result<Answers> {
    let classes = evaluation.confusion.len();
    let answers = Answers::read(path, classes)?;
    let mut confusion = vec![vec![0_u32; classes]; classes];
    answers.rows.iter().for_each(|a| confusion[a.truth as usize][a.predicted as usize] += 1);
    if confusion == evaluation.confusion {
        return Ok(answers);
    }
    Err(Error::data(path, "its answers do not add up to the evaluation beside it"))
}

/// What was seen inside a network of `classes` classes. Errors: another schema, sizes or values that cannot be.
pub fn inside(path: &Path, classes: usize) -> Result<Inside> {
    let inside: Inside = files::read_json(path)?;
    let wrong = |what: String| Err(Error::data(path, what));
    if inside.schema != SCHEMA {
        return wrong(format!("its schema is {:?}; this version of vggkit reads {SCHEMA:?}", inside.schema));
    }
    let weights = 3 * inside.kernel * inside.kernel;
    if !(1..=LARGEST_KERNEL).contains(&inside.kernel)
        || inside.filters.iter().any(|f| f.len() != weights || !f.iter().all(|w| w.is_finite()))
    {
        return wrong("a filter is not of its size, or not of finite numbers".into());
    }
    for look in &inside.attention {
        let sized = (1..=LARGEST_MAP).contains(&look.height) && (1..=LARGEST_MAP).contains(&look.width);
        if !sized || look.map.len() != look.height * look.width {
            return wrong(format!("the map of {:?} is not of its size", look.file));
        }
        let probable = [look.probability, look.truth_probability].iter().all(|p| (0.0..=1.0).contains(p));
        if look.truth.max(look.predicted) >= classes || !probable {
            return wrong(format!("{:?} has a class or a probability that cannot be", look.file));
        }
    }
    Ok(inside)
}
