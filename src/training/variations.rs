//! In what runs differ, in a few words each: from the replaced project's recipe, and from each other where they stand side by side.
//! A run that differs in much is told by the recipe of `recipes/` that it follows and by what it has beside it.
//!
//! Which settings there are, and what a value is called, is [`settings`](super::settings)'s.

use super::recipes::RECIPES;
use super::run::Run;
use super::settings::{SETTINGS, Setting, Values, differences, words};
use crate::error::Result;

/// More words than these beside a name are not read at a glance: a recipe's name then stands for what it says.
const AT_A_GLANCE: usize = 4;

/// In what `run` differs from the replaced project's recipe for the same network, in a few words each. Errors: a number that
/// TOML cannot hold.
pub fn variations(run: &Run) -> Result<Vec<String>> {
    let (own, defaults) = (Values::of(run)?, Values::defaults(run)?);
    let tags = differences(&own, &defaults).map(|(setting, ..)| tag(setting, &own));
    Ok(tags.filter(|tag| !tag.is_empty()).collect())
}

/// How runs are told apart: the variations that they all have, of which one run alone has all, then those that each has beside
/// them, or the recipe that it follows and what it has beside that, where they are many.
pub fn told_apart(runs: &[&Run]) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let mut each: Vec<Vec<String>> = runs.iter().map(|run| variations(run)).collect::<Result<_>>()?;
    let by_all = |tag: &&String| each.iter().all(|tags| tags.contains(tag));
    let shared: Vec<String> = each.first().into_iter().flatten().filter(by_all).cloned().collect();
    for (tags, run) in each.iter_mut().zip(runs) {
        tags.retain(|tag| !shared.contains(tag));
        if tags.len() > AT_A_GLANCE
            && let Some((recipe, says)) = followed(run)?
        {
            tags.retain(|tag| !says.contains(tag));
            tags.insert(0, format!("recipe {recipe}"));
        }
    }
    Ok((shared, each))
}

/// The recipe that `run` follows, and those of its variations that the recipe says. It changes every setting that the recipe
/// changes, most of them to the recipe's value; of several such recipes it is the one that says most.
fn followed(run: &Run) -> Result<Option<(&'static str, Vec<String>)>> {
    let (own, defaults) = (Values::of(run)?, Values::defaults(run)?);
    let mut best: Option<(&'static str, Vec<String>)> = None;
    for (name, text) in RECIPES {
        let recipe = Values::parsed(text)?;
        let differ = |setting: &Setting, values: &Values| words(values.get(setting)) != words(defaults.get(setting));
        let changed = || SETTINGS.iter().filter(|s| recipe.get(s).is_some() && differ(s, &recipe));
        if !changed().all(|setting| differ(setting, &own)) {
            continue;
        }
        // By their words for people: a recipe says that images are normalised by the data set, a run by which mean.
        let alike = changed().filter(|setting| tag(setting, &own) == tag(setting, &recipe));
        let says: Vec<_> = alike.map(|setting| tag(setting, &own)).collect();
        if 2 * says.len() > changed().count() && says.len() > best.as_ref().map_or(0, |(_, most)| most.len()) {
            best = Some((name, says));
        }
    }
    Ok(best)
}

fn tag(setting: &Setting, values: &Values) -> String {
    (setting.tag)(&words(values.get(setting)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{NoDecay, Normalisation, Optimizer};
    use crate::training::choices::Schedule;
    use crate::training::run::{Augment, Data, Recipe};
    use crate::vgg::Network;

    fn run(training: Recipe) -> Run {
        Run::new(Network::default(), training, Data::default())
    }

    #[test]
    fn a_run_is_told_by_what_is_not_the_default() -> Result<()> {
        assert_eq!(variations(&run(Recipe::default()))?, [""; 0]);
        let recipe = Recipe {
            batch_size: 128,
            patience: 0, // as any cosine's, where nobody says
            learning_rate: 0.1,
            optimizer: Optimizer::sgd(0.0, 5e-4),
            augment: Augment::Crop,
            schedule: Schedule::Cosine,
            label_smoothing: 0.1,
            normalisation: Normalisation { mean: [0.48, 0.44, 0.39], std: [0.25; 3] },
            init: Some("../runs/vgg11/best.safetensors".into()),
            ..Recipe::default()
        };
        let expected = [
            "batch 128",
            "lr 0.1",
            "sgd",
            "weight decay 0.0005",
            "crop",
            "cosine",
            "label smoothing 0.1",
            "normalised by the data set",
            "from vgg11/best.safetensors",
        ];
        assert_eq!(variations(&run(recipe))?, expected);
        let recipe = Recipe { optimizer: Optimizer::adamw(), ..Recipe::default() };
        assert_eq!(variations(&run(recipe))?, ["adamw"], "its own weight decay is what it has by default");
        let recipe = Recipe {
            optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: true },
            no_decay: NoDecay { norm: true, bias: true },
            clip_norm: 2.0,
            ema: 0.999,
            ..Recipe::default()
        };
        let expected = ["sgd", "momentum 0.9", "Nesterov", "no decay of norm,bias", "clipped to 2", "EMA 0.999"];
        assert_eq!(variations(&run(recipe))?, expected);
        Ok(())
    }

    #[test]
    fn what_all_runs_share_stands_beside_none_of_them() -> Result<()> {
        let one = run(Recipe { seed: 3, epochs: 9, ..Recipe::default() });
        let other = run(Recipe { seed: 4, epochs: 9, ..Recipe::default() });
        assert_eq!(told_apart(&[&one])?, (vec!["9 epochs".to_owned(), "seed 3".into()], vec![vec![]]));
        let (shared, each) = told_apart(&[&one, &other])?;
        assert_eq!((shared, each), (vec!["9 epochs".to_owned()], vec![vec!["seed 3".into()], vec!["seed 4".into()]]));
        assert_eq!(told_apart(&[])?, (vec![], Vec::<Vec<String>>::new()));
        Ok(())
    }

    #[test]
    fn many_words_are_the_name_of_a_recipe_and_what_is_not_in_it() -> Result<()> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("records");
        let load = |folder: &str| Run::load(&root.join(folder));
        let seed = load("2026-11-23-tiny-imagenet-cpu/vgg11")?;
        let short = load("2026-11-27-tiny-imagenet-h100/vgg13")?;
        let cpu = load("2026-11-28-tiny-imagenet-cpu/vgg11")?;
        let mut longer = cpu.clone();
        longer.training.epochs = 30;
        longer.training.ema = 0.999;
        let mut other = cpu.clone();
        other.training.label_smoothing = 0.0;
        let each = told_apart(&[&seed, &short, &cpu, &longer])?.1;
        let expected: [&[&str]; 4] =
            [&[], &["recipe short", "f16"], &["recipe cpu"], &["recipe cpu", "30 epochs", "EMA 0.999"]];
        assert_eq!(each, expected);
        let (_, each) = told_apart(&[&seed, &other])?;
        assert!(each[1].len() > AT_A_GLANCE && !each[1].iter().any(|tag| tag.starts_with("recipe")), "{each:?}");
        let mut another = longer.clone();
        another.training.learning_rate = 0.3;
        another.training.label_smoothing = 0.2;
        another.training.warmup = 4.0;
        another.training.batch_size = 32;
        another.training.augment = Augment::ResizedCrop;
        another.training.optimizer = Optimizer::Sgd { momentum: 0.8, weight_decay: 0.001, nesterov: true };
        let (_, each) = told_apart(&[&seed, &another])?;
        assert!(!each[1].iter().any(|tag| tag.starts_with("recipe")), "half of it is not followed: {each:?}");
        let (shared, each) = told_apart(&[&cpu, &longer])?;
        assert!(shared.contains(&"lr 0.1".to_owned()) && !shared.contains(&"recipe cpu".to_owned()), "{shared:?}");
        assert_eq!(each, [vec!["15 epochs".to_owned()], vec!["30 epochs".to_owned(), "EMA 0.999".to_owned()]]);
        Ok(())
    }
}
