//! Precision, recall and F1 of each class and their means over the classes, from a confusion matrix.
//!
//! The definitions are scikit-learn's (`precision_recall_fscore_support`, `zero_division=0`): where nothing is divided by,
//! the value is 0. No file keeps these figures: whoever shows them makes them of [`Evaluation::confusion`] here.
//!
//! [`Evaluation::confusion`]: super::evaluation::Evaluation::confusion

/// Of one class, or the mean over classes; fractions in 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassScores {
    /// Share of the images that were taken for the class which are of it; 0 where none was.
    pub precision: f64,
    /// Share of the class's images that were recognised: its top-1 accuracy; 0 where it has none.
    pub recall: f64,
    /// Harmonic mean of the two; 0 where both are.
    pub f1: f64,
}

/// All classes of a confusion matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// In class-index order; `None` for a class that no image is of and none was taken for.
    pub classes: Vec<Option<ClassScores>>,
    /// Unweighted mean over the classes that have scores; scikit-learn's `macro` average.
    pub mean: ClassScores,
}

/// The scores of `confusion`: counts, rows true, columns predicted.
pub fn scores(confusion: &[Vec<u32>]) -> Scores {
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let class = |c: usize| {
        let hits = f64::from(confusion[c][c]);
        let images: f64 = confusion[c].iter().map(|n| f64::from(*n)).sum();
        let named: f64 = confusion.iter().map(|row| f64::from(row[c])).sum();
        let scores = ClassScores {
            precision: share(hits, named),
            recall: share(hits, images),
            f1: share(2.0 * hits, images + named),
        };
        (images + named > 0.0).then_some(scores)
    };
    let classes: Vec<_> = (0..confusion.len()).map(class).collect();
    let count = classes.iter().flatten().count().max(1) as f64;
    let mean = |of: fn(&ClassScores) -> f64| classes.iter().flatten().map(of).sum::<f64>() / count;
    let mean = ClassScores { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1) };
    Scores { classes, mean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_scikit_learn() {
        // precision_recall_fscore_support(truth, predicted, zero_division=0), scikit-learn 1.9.1, where the truth is
        // 5 x 0, 3 x 1 and 2 x 2, and nothing is ever taken for class 2; class 3 occurs nowhere.
        let confusion = vec![vec![4, 1, 0, 0], vec![2, 1, 0, 0], vec![1, 1, 0, 0], vec![0; 4]];
        let Scores { classes, mean } = scores(&confusion);
        let expected = [
            Some((0.571_428_571_428_571_4, 0.8, 0.666_666_666_666_666_6)),
            Some((0.333_333_333_333_333_3, 0.333_333_333_333_333_3, 0.333_333_333_333_333_3)),
            Some((0.0, 0.0, 0.0)),
            None,
        ];
        let near = |s: ClassScores, (precision, recall, f1): (f64, f64, f64)| {
            [s.precision - precision, s.recall - recall, s.f1 - f1].iter().all(|d| d.abs() < 1e-15)
        };
        for (class, (found, expected)) in classes.iter().zip(expected).enumerate() {
            assert_eq!(found.is_some(), expected.is_some(), "class {class}");
            assert!(found.zip(expected).is_none_or(|(f, e)| near(f, e)), "class {class}: {found:?}");
        }
        assert!(near(mean, (0.301_587_301_587_301_6, 0.377_777_777_777_777_8, 0.333_333_333_333_333_3)), "{mean:?}");
    }

    #[test]
    fn a_perfect_network_has_ones_and_no_class_no_score() {
        let perfect = scores(&[vec![3, 0], vec![0, 7]]);
        assert_eq!(perfect.mean, ClassScores { precision: 1.0, recall: 1.0, f1: 1.0 });
        assert_eq!(scores(&[]).mean, ClassScores::default());
    }
}
