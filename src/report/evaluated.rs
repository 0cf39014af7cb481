//! What lies beside an evaluation: the answer for each image, and what was seen inside the network. Both are checked
//! against the evaluation and the network before the page relies on them.

use std::path::Path;

use crate::error::{Error, Result};
use crate::files;
use crate::inference::answers::Answers;
use crate::inference::evaluation::Evaluation;
use crate::inference::inside::{Inside, SCHEMA};

/// Rows and columns of a map of attention, and of a filter, at most: more is not what `evaluate` writes.
const LARGEST_MAP: usize = 64;
const LARGEST_KERNEL: usize = 11;

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
