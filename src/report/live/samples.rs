//! Images that the page brings along, with what vggkit's CPU engine says of them: to try the network with, to see without
//! WebGPU what it says, and to compare with what the browser computes.

use std::io::Cursor;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use crate::dataset::{Identity, Pack};
use crate::engine::cpu::CpuEngine;
use crate::engine::{Batch, Engine, Pick, Settings, Source, State};
use crate::error::{Error, Result};
use crate::inference::inside;
use crate::training::run::Run;
use crate::vgg::Plan;

/// One image.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Its true class.
    pub name: String,
    /// A PNG, which has every pixel as it is.
    #[serde(skip)]
    pub picture: String,
    /// Of the weights before they were rounded.
    pub logits: Vec<f32>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Samples {
    pub shown: Vec<Sample>,
    /// The largest difference that rounding made to a logit.
    pub rounding: f32,
    /// Why there are none.
    pub missing: Option<String>,
}

/// A few validation images of the data set in `data`, where it is the one that `run` was trained on, with the logits of
/// `state` and how far those of `rounded` are from them. Errors: a pack that is damaged.
pub fn of(run: &Run, data: &Path, plan: &Plan, settings: &Settings, state: &State, rounded: &State) -> Result<Samples> {
    let without = |why: String| Ok(Samples { missing: Some(why), ..Samples::default() });
    let identity = match Identity::of(data) {
        Ok((_, identity)) => identity,
        Err(_) => return without(format!("{} is no prepared data set: the page has no images to try", data.display())),
    };
    if !run.data.is(&identity) {
        return without(format!(
            "the run was trained on other data than {}: the page has no images to try",
            data.display()
        ));
    }
    let pack = Pack::open(data, &run.data.val)?;
    let mut engines = Vec::new();
    for state in [state, rounded] {
        let mut engine = CpuEngine::new(plan.clone(), settings.clone(), state)?;
        engine.attach(Source::Validation, pack.images.clone())?;
        engines.push(engine);
    }
    let mut samples = Samples::default();
    for image in inside::choose(&pack) {
        let pick = [Pick::of(u32::try_from(image).unwrap_or(u32::MAX))];
        let mut both = [Vec::new(), Vec::new()];
        for (engine, logits) in engines.iter_mut().zip(&mut both) {
            engine.logits(Batch::Picks(Source::Validation, &pick), logits)?;
        }
        let [logits, after] = both;
        let apart = logits.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        samples.rounding = samples.rounding.max(apart);
        let name = pack.names[pack.images.labels[image] as usize].clone();
        samples.shown.push(Sample { name, picture: picture(&pack, image)?, logits });
    }
    Ok(samples)
}

fn picture(pack: &Pack, image: usize) -> Result<String> {
    let wrong = |what: String| Error::data(&pack.path, format!("image {image}: {what}"));
    let side = |side: usize| u32::try_from(side).map_err(|e| wrong(e.to_string()));
    let (width, height) = (side(pack.images.width)?, side(pack.images.height)?);
    let mut bytes = Cursor::new(Vec::new());
    let encoded = PngEncoder::new(&mut bytes).write_image(pack.pixels(image), width, height, ExtendedColorType::Rgb8);
    encoded.map_err(|e| wrong(e.to_string()))?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes.get_ref())))
}
