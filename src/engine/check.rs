//! What every engine refuses before it computes: images, batches and states that do not fit the plan.
//!
//! A refused call has changed nothing.

use super::sample::Target;
use super::{Batch, Images, Optimizer, Settings, State, Update, WeightSet};
use crate::error::{Error, Kind, Result};
use crate::vgg::Plan;

fn refused(message: String) -> Error {
    Error::new(Kind::Engine, message)
}

/// Settings that no engine can run with.
pub fn settings(settings: &Settings) -> Result<()> {
    if settings.batch_size == 0 {
        return Err(refused("a batch of 0 samples: at least 1 is needed".into()));
    }
    if !(0.0..1.0).contains(&settings.label_smoothing) {
        return Err(refused(format!("label smoothing {} is not at least 0 and below 1", settings.label_smoothing)));
    }
    if !(0.0..=1.0).contains(&settings.taught) {
        return Err(refused(format!("{} of a target from teachers is not from 0 to 1", settings.taught)));
    }
    if settings.normalisation.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(refused(format!("standard deviations {:?} are not all above 0", settings.normalisation.std)));
    }
    let Update { clip_norm, ema, .. } = settings.update;
    if let Some(most) = clip_norm.filter(|most| !(most.is_finite() && *most > 0.0)) {
        return Err(refused(format!("gradients that are clipped to a norm of {most}: it must be above 0")));
    }
    if let Some(decay) = ema.filter(|decay| !(0.0..1.0).contains(decay)) {
        return Err(refused(format!(
            "weights that are averaged with a decay of {decay}: it must be at least 0 and below 1"
        )));
    }
    if matches!(settings.optimizer, Some(Optimizer::Sgd { nesterov: true, momentum, .. }) if momentum <= 0.0) {
        return Err(refused("Nesterov's momentum needs a momentum above 0".into()));
    }
    Ok(())
}

/// Pixels and labels that contradict the counts.
pub fn images(images: &Images) -> Result<()> {
    let Images { count, height, width, .. } = *images;
    let pixels = (*images.pixels).as_ref().len();
    let expected = [height, width, 3].iter().try_fold(count, |product, n| product.checked_mul(*n));
    if height == 0 || width == 0 || expected != Some(pixels) {
        return Err(refused(format!("{pixels} bytes of pixels are not {count} images of {height}x{width}x3")));
    }
    if !images.labels.is_empty() && images.labels.len() != count {
        return Err(refused(format!("{} labels for {count} images", images.labels.len())));
    }
    Ok(())
}

/// Checks a batch, puts the target of each sample into `targets` (emptied first; it stays empty where the batch has no
/// labels) and returns the number of samples. `attached` is the image set that the batch picks from; `labelled` says that
/// labels are needed.
pub fn batch(
    plan: &Plan,
    settings: &Settings,
    batch: &Batch<'_>,
    attached: Option<&Images>,
    labelled: bool,
    targets: &mut Vec<Target>,
) -> Result<usize> {
    targets.clear();
    let samples = match *batch {
        Batch::Picks(source, picks) | Batch::Taught(source, picks, _) => {
            let images = attached.ok_or_else(|| refused(format!("no images are attached as {source:?}")))?;
            if let Some(fault) = picks.iter().find_map(|pick| pick.fault(images)) {
                return Err(refused(fault));
            }
            let enhanced = |pick: &super::Pick| pick.views().any(|view| view.enhancement.is_some());
            if settings.most_enhanced(source) == 0 && picks.iter().any(enhanced) {
                return Err(refused(format!("an enhanced image of {source:?}, for which there is no room")));
            }
            if !images.labels.is_empty() {
                let size = plan.network.image_size;
                targets.extend(picks.iter().map(|pick| pick.target(&images.labels, size)));
            }
            picks.len()
        }
        Batch::Activations { input, labels } => {
            let sample = plan.input().elements();
            if !input.len().is_multiple_of(sample) {
                return Err(refused(format!("{} input values are not a multiple of {sample}", input.len())));
            }
            targets.extend(labels.iter().map(|label| Target::of(*label)));
            input.len() / sample
        }
    };
    if !(1..=settings.batch_size).contains(&samples) {
        return Err(refused(format!("a batch of {samples} samples: from 1 to {} are possible", settings.batch_size)));
    }
    if (labelled || !targets.is_empty()) && targets.len() != samples {
        return Err(refused(format!("{} labels for {samples} samples", targets.len())));
    }
    let (rows, taught) = (batch.teaching().len(), if labelled && settings.taught > 0.0 { samples } else { 0 });
    if rows != taught * plan.network.classes {
        return Err(refused(format!("{rows} shares of what teachers say, for {taught} samples that are taught")));
    }
    if let Some(label) = targets.iter().flat_map(|t| t.labels).find(|l| *l as usize >= plan.network.classes) {
        return Err(refused(format!("label {label}: the network has {} classes", plan.network.classes)));
    }
    Ok(samples)
}

/// Weights that an engine does not have.
pub fn weights(settings: &Settings, set: WeightSet) -> Result<()> {
    match set {
        WeightSet::Averaged if settings.keeps_average() => Ok(()),
        WeightSet::Averaged => Err(refused("this engine keeps no average of its weights".into())),
        WeightSet::Live => Ok(()),
    }
}

/// Checks that a state's tensors, averages and moments have the plan's lengths, and its loss scale a size that can be divided by.
/// Averages and moments may be missing (before the first step).
pub fn state(plan: &Plan, settings: &Settings, state: &State) -> Result<()> {
    let specs = plan.tensors();
    if state.tensors.len() != specs.len() {
        return Err(refused(format!("a state of {} tensors: the network has {}", state.tensors.len(), specs.len())));
    }
    let fits = |what: &str, values: &[f32], elements: usize| match values.len() {
        n if n == elements => Ok(()),
        n => Err(refused(format!("{what} has {n} values in the state, but {elements} in the network"))),
    };
    for (spec, tensor) in specs.iter().zip(&state.tensors) {
        fits(&spec.name, tensor, spec.elements())?;
    }
    if !state.averages.is_empty() && state.averages.len() != specs.len() {
        return Err(refused(format!("{} averaged tensors: the network has {}", state.averages.len(), specs.len())));
    }
    for (spec, tensor) in specs.iter().zip(&state.averages) {
        fits(&format!("the average of {}", spec.name), tensor, spec.elements())?;
    }
    if let Some(scaling) = &state.loss_scaling
        && !(scaling.scale.is_normal() && scaling.scale > 0.0)
    {
        return Err(refused(format!("a loss scale of {} in the state", scaling.scale)));
    }
    let Some(optimizer) = &settings.optimizer else { return Ok(()) };
    if state.moments.is_empty() {
        return Ok(());
    }
    let names = optimizer.moments();
    if state.moments.len() != names.len() {
        return Err(refused(format!(
            "the state has {} moments for each tensor, but this optimiser keeps {} ({})",
            state.moments.len(),
            names.len(),
            names.join(", ")
        )));
    }
    let trained: Vec<_> = specs.iter().filter(|s| s.trained()).collect();
    for (name, moments) in names.iter().zip(&state.moments) {
        if moments.len() != trained.len() {
            return Err(refused(format!("{} tensors of {name}: the network has {}", moments.len(), trained.len())));
        }
        for (spec, moment) in trained.iter().zip(moments) {
            fits(&format!("{name} of {}", spec.name), moment, spec.elements())?;
        }
    }
    Ok(())
}
