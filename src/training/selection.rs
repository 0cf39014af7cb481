//! Which epoch's network is kept as the best, and what early stopping and the plateau wait for.
//!
//! It measures nothing: an epoch brings the figures of the images that select, which are held-out train images where there are
//! some, else the validation split.

use super::checkpoint::Progress;
use super::choices::Select;
use super::history::Epoch;
use super::run::Recipe;

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Its network is the one to keep.
    pub keep: bool,
    /// Its loss is the lowest so far.
    pub lower_loss: bool,
}

/// Loss and top-1 of the images that select.
fn figures(epoch: &Epoch) -> (f64, f64) {
    let val = (epoch.val_loss, epoch.val_top1);
    epoch.held_out.as_ref().map_or(val, |held_out| (held_out.held_out_loss, held_out.held_out_top1))
}

/// Judges an epoch that has ended, and takes note of it.
pub fn judge(progress: &mut Progress, select: Select, epoch: &Epoch) -> Judgement {
    let (loss, top1) = figures(epoch);
    let lower_loss = progress.best_val_loss.is_none_or(|best| loss < best);
    let higher_top1 = progress.best_top1.is_none_or(|best| top1 > best);
    if lower_loss {
        progress.best_val_loss = Some(loss);
        progress.epochs_without_improvement = 0;
    } else {
        progress.epochs_without_improvement += 1;
    }
    if higher_top1 && select == Select::Top1 {
        progress.best_top1 = Some(top1);
    }
    let keep = match select {
        Select::Loss => lower_loss,
        Select::Top1 => higher_top1,
        Select::Last => true,
    };
    if keep {
        progress.best_epoch = epoch.epoch;
    }
    Judgement { keep, lower_loss }
}

/// Forgets what was best, where images have another size from here on: the best network is the best of those that see what the
/// last one will.
pub fn begin_anew(progress: &mut Progress) {
    progress.best_val_loss = None;
    progress.best_top1 = None;
    progress.epochs_without_improvement = 0;
}

/// The epoch of a history whose network was kept.
pub fn kept<'a>(history: &'a [Epoch], recipe: &Recipe) -> Option<&'a Epoch> {
    let (mut progress, mut kept) = (Progress::default(), None);
    for epoch in history {
        if judge(&mut progress, recipe.select, epoch).keep {
            kept = Some(epoch);
        }
        if recipe.image_sizes.as_ref().is_some_and(|sizes| sizes.at(epoch.epoch) != sizes.at(epoch.epoch + 1)) {
            begin_anew(&mut progress);
        }
    }
    kept
}

/// "validation loss", or "loss on held-out train images": what early stopping reads.
pub fn stopping_loss(recipe: &Recipe) -> &'static str {
    if recipe.hold_out > 0.0 { "loss on held-out train images" } else { "validation loss" }
}

/// In a sentence, of which epoch the network was kept.
pub fn rule(recipe: &Recipe) -> String {
    let images = if recipe.hold_out > 0.0 { "train images that were held out" } else { "the validation split" };
    match recipe.select {
        Select::Loss => format!("the one with the lowest loss on {images}"),
        Select::Top1 => format!("the one with the highest top-1 on {images}"),
        Select::Last => "the last one".into(),
    }
}

/// Whether validation figures had a say in which network was kept.
pub fn by_validation(recipe: &Recipe) -> bool {
    recipe.hold_out == 0.0 && (recipe.select != Select::Last || recipe.patience > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::history::HeldOut;

    /// (validation loss, validation top-1) an epoch.
    fn history(figures: &[(f64, f64)]) -> Vec<Epoch> {
        let epochs = figures.iter().zip(1..);
        epochs.map(|(&(val_loss, val_top1), epoch)| Epoch { epoch, val_loss, val_top1, ..Epoch::default() }).collect()
    }

    fn kept_by(select: Select, history: &[Epoch]) -> Option<usize> {
        kept(history, &Recipe { select, ..Recipe::default() }).map(|epoch| epoch.epoch)
    }

    #[test]
    fn each_way_keeps_its_epoch() {
        let figures = [(2.0, 0.1), (1.0, 0.3), (1.5, 0.5), (1.2, 0.5), (1.0, 0.4)];
        let history = history(&figures);
        assert_eq!(kept_by(Select::Loss, &history), Some(2), "the first of equals");
        assert_eq!(kept_by(Select::Top1, &history), Some(3), "the first of equals");
        assert_eq!(kept_by(Select::Last, &history), Some(5));
        assert_eq!(kept_by(Select::Last, &[]), None);
    }

    #[test]
    fn what_saw_other_sizes_is_not_kept() {
        let history = history(&[(1.0, 0.9), (2.0, 0.1), (3.0, 0.2), (2.5, 0.15)]);
        for (select, epoch) in [(Select::Loss, 4), (Select::Top1, 3), (Select::Last, 4)] {
            let image_sizes = "32:0,48:2".parse().ok();
            assert!(image_sizes.is_some());
            let recipe = Recipe { select, image_sizes, ..Recipe::default() };
            assert_eq!(kept(&history, &recipe).map(|epoch| epoch.epoch), Some(epoch), "{select:?}");
        }
    }

    #[test]
    fn early_stopping_waits_for_the_loss_whatever_selects() {
        let history = history(&[(1.0, 0.1), (1.5, 0.2), (1.4, 0.3)]);
        for select in [Select::Loss, Select::Top1, Select::Last] {
            let mut progress = Progress::default();
            history.iter().for_each(|epoch| {
                judge(&mut progress, select, epoch);
            });
            assert_eq!((progress.epochs_without_improvement, progress.best_val_loss), (2, Some(1.0)), "{select:?}");
        }
    }

    #[test]
    fn held_out_images_select_where_there_are_some() {
        let mut history = history(&[(1.0, 0.9), (2.0, 0.1)]);
        for (epoch, (loss, top1)) in history.iter_mut().zip([(3.0, 0.2), (2.5, 0.3)]) {
            epoch.held_out = Some(HeldOut { held_out_loss: loss, held_out_top1: top1, held_out_top5: 1.0 });
        }
        assert_eq!((kept_by(Select::Loss, &history), kept_by(Select::Top1, &history)), (Some(2), Some(2)));
    }
}
