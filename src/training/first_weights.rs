//! A training's first weights: drawn, or those of a file, and what a person should know of that file.

use std::path::Path;

use super::run::{Recipe, Run};
use super::{checkpoint, settings};
use crate::engine::Normalisation;
use crate::error::Result;
use crate::vgg::transfer::{self, First};
use crate::vgg::{Plan, initialisation, weights};

/// Drawn, or those of the recipe's file. Errors: those of the file.
pub fn of(recipe: &Recipe, plan: &Plan) -> Result<First> {
    let Some(file) = recipe.init.as_ref().map(Path::new) else {
        return Ok(First { tensors: initialisation::initialise(plan, recipe.seed), ..First::default() });
    };
    let first =
        if recipe.init_partial { transfer::partial(file, plan, recipe.seed) } else { transfer::whole(file, plan) };
    first.map_err(|e| e.or_help("--init takes a weight file, such as best.safetensors of a run"))
}

/// Whether the file's network saw pixels otherwise than this one will, as far as that is known, in a sentence.
pub fn note(recipe: &Recipe) -> Option<String> {
    let file = recipe.init.as_ref()?;
    let own = weights::metadata(Path::new(file)).ok()?.get("schema").is_some_and(|schema| schema == checkpoint::SCHEMA);
    if !own {
        let known = recipe.normalisation == Normalisation::IMAGENET;
        let note = || {
            format!("{file} does not say how its network saw pixels: give --normalize imagenet if it is torchvision's")
        };
        return (!known).then(note);
    }
    let run =
        Run::load(Path::new(file).parent()?).ok().filter(|run| run.training.normalisation != recipe.normalisation)?;
    let (_, theirs) = settings::listed(&run, |setting| setting.key == "training.normalisation").ok()?.pop()?;
    Some(format!("the network of {file} saw pixels otherwise than this one will: --normalize was {theirs}"))
}
