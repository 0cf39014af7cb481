//! `evaluation.csv`: what a run's best network says of each image of a labelled split, one row an image in the order of
//! the pack: `image`, `truth`, `predicted` (class indices), `probability` (softmax of the prediction) and
//! `truth_probability` (that of the true class).
//!
//! It lies beside the evaluation that counts the same answers. It holds no class names and judges nothing.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::paths;
use crate::error::{Error, Result};
use crate::files;
use crate::training::metrics;

/// What a network says of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// True class index.
    pub truth: u32,
    /// Predicted class index.
    pub predicted: u32,
    /// Softmax of the prediction.
    pub probability: f32,
    /// Softmax of the true class.
    pub truth_probability: f32,
}

/// The whole table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    /// File name of each image in its pack.
    pub files: Vec<String>,
    /// An answer an image.
    pub rows: Vec<Answer>,
}

/// A line of the file. Probabilities have six decimals: a millionth is below what training leaves of them.
#[derive(Serialize, Deserialize)]
struct Line {
    image: String,
    truth: u32,
    predicted: u32,
    probability: String,
    truth_probability: String,
}

impl Answer {
    /// From the logits of an image of class `truth`.
    #[expect(clippy::cast_possible_truncation, reason = "classes are at most a million; a probability keeps 24 bits")]
    pub fn of(logits: &[f32], truth: u32) -> Self {
        let softmax = metrics::softmax(logits);
        let predicted = metrics::predicted(logits);
        Self {
            truth,
            predicted: predicted as u32,
            probability: softmax[predicted] as f32,
            truth_probability: softmax[truth as usize] as f32,
        }
    }

    /// The prediction is the truth.
    pub fn right(&self) -> bool {
        self.predicted == self.truth
    }
}

impl Answers {
    /// `<run>/evaluation.csv` for val, `<run>/evaluation-<split>.csv` for any other split.
    pub fn path(run: &Path, split: &str) -> PathBuf {
        Self::beside(&paths::evaluation(run, split, None))
    }

    /// Of the same images as the evaluation in the file `evaluation`.
    pub fn beside(evaluation: &Path) -> PathBuf {
        evaluation.with_extension("csv")
    }

    /// Writes the table.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |e: csv::Error| std::io::Error::other(e);
        files::write_atomic(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            for (image, row) in self.files.iter().zip(&self.rows) {
                let line = Line {
                    image: image.clone(),
                    truth: row.truth,
                    predicted: row.predicted,
                    probability: format!("{:.6}", row.probability),
                    truth_probability: format!("{:.6}", row.truth_probability),
                };
                writer.serialize(line).map_err(failed)?;
            }
            writer.flush()
        })
    }

    /// Reads the table. Errors name the line: no such columns, a number that is none, a class not below `classes`, a
    /// probability outside 0..1.
    pub fn read(path: &Path, classes: usize) -> Result<Self> {
        let wrong = |e: String| Error::data(path, e).with_help("run `vggkit evaluate` on this run again");
        let mut reader = csv::Reader::from_path(path).map_err(|e| wrong(e.to_string()))?;
        let mut answers = Self::default();
        for (row, line) in reader.deserialize().enumerate() {
            let line: Line = line.map_err(|e| wrong(e.to_string()))?;
            let probability = |text: &str| text.parse().ok().filter(|p| (0.0..=1.0).contains(p));
            let (Some(probability), Some(truth_probability)) =
                (probability(&line.probability), probability(&line.truth_probability))
            else {
                return Err(wrong(format!("line {}: a probability is not one", row + 2)));
            };
            if line.truth.max(line.predicted) as usize >= classes {
                return Err(wrong(format!("line {}: a class is not one of {classes}", row + 2)));
            }
            let (truth, predicted) = (line.truth, line.predicted);
            answers.files.push(line.image);
            answers.rows.push(Answer { truth, predicted, probability, truth_probability });
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_their_file_and_what_cannot_be_is_refused() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = Answers::path(folder.path(), "v.al");
        assert!(path.ends_with("evaluation-v.al.csv"));
        let rows = vec![Answer::of(&[0.0, 3.0, 1.0], 2), Answer::of(&[9.0, -9.0, 0.0], 0)];
        assert_eq!((rows[0].predicted, rows[0].right(), rows[1].right()), (1, false, true));
        let answers = Answers { files: vec!["a,\"b\".JPEG".into(), "c.JPEG".into()], rows };
        answers.write(&path)?;
        let read = Answers::read(&path, 3)?;
        assert_eq!(read.files, answers.files);
        for (read, written) in read.rows.iter().zip(&answers.rows) {
            assert_eq!((read.truth, read.predicted), (written.truth, written.predicted));
            assert!((read.probability - written.probability).abs() < 1e-6);
            assert!((read.truth_probability - written.truth_probability).abs() < 1e-6);
        }
        assert!(Answers::read(&path, 2).is_err_and(|e| e.to_string().contains("line 2: a class")));
        let text = files::read_to_string(&path)?;
        for (from, to) in [(",0.843795,", ",1.5,"), (",0.843795,", ",x,"), ("truth,", "true,")] {
            assert!(text.contains(from), "{text}");
            std::fs::write(&path, text.replacen(from, to, 1)).expect("a file");
            assert!(Answers::read(&path, 3).is_err(), "{to}");
        }
        Ok(())
    }
}
