//! A page with a trained network in it: weights, the shaders of the GPU engine as they are, the calls of an inference, and a
//! short script that hands them to WebGPU. One file, which works from a folder and loads nothing.
//!
//! The engine is not compiled to WebAssembly: all that its host side does at inference is to submit a list of calls that never
//! changes, so that the list is put into the page instead ([`crate::engine::gpu::listing`]).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::context;
use serde::Serialize;

use super::page::{self, Scripts};
use super::{beside, format};
use crate::engine::gpu::listing::{self, Listing};
use crate::engine::{Precision, Settings};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::inference::evaluation::{self, Evaluation};
use crate::inference::model;
use crate::training::checkpoint::Checkpoint;
use crate::training::run::Run;
use crate::vgg::{Operation, Plan};

mod samples;
mod weights;

use samples::{Sample, Samples};

/// Weights of more bytes are halved unless asked otherwise: a file that one still sends by mail.
const LARGE: usize = 16 << 20;

/// The page's name.
pub const FILE: &str = "live.html";

const STYLE: &str =
    concat!(include_str!("../../../templates/style.css"), include_str!("../../../templates/live/live.css"));
const SCRIPT: &str = concat!(
    include_str!("../../../templates/live/pixels.js"),
    include_str!("../../../templates/live/network.js"),
    include_str!("../../../templates/live/grad_cam.js"),
    include_str!("../../../templates/live/live.js")
);

/// How such a page is to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Of the weights in the file; without one, f16 where they would take more than 16 MiB. The browser computes in f32
    /// in any case.
    pub precision: Option<Precision>,
    /// Worker threads, for the images that are computed ahead.
    pub threads: usize,
    /// Replace a page that vggkit did not write.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Live {
    /// The page.
    pub page: PathBuf,
    /// Its size.
    pub bytes: usize,
    /// Images in it to try the network with.
    pub samples: usize,
    /// The largest difference that rounding the weights makes to a logit of those images; 0 where they are not rounded.
    pub rounding: f32,
    /// Why there are no images in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// What the script reads.
#[derive(Serialize)]
struct LiveNetwork<'a> {
    schema: &'static str,
    classes: &'a [String],
    size: usize,
    mean: [f32; 3],
    std: [f32; 3],
    listing: &'a Listing,
    /// For each tensor of the listing, where its numbers begin in the weights, in bytes, and whether they are f16.
    weights: &'a [weights::Place],
    head: Head,
    samples: &'a [Sample],
}

/// What follows the last convolution, for Grad-CAM.
#[derive(Serialize)]
struct Head {
    /// Rows and columns that activations are averaged to.
    size: usize,
    layers: Vec<Linear>,
}

#[derive(Serialize)]
struct Linear {
    /// Its index among the tensors; the bias is the next.
    weight: usize,
    inputs: usize,
    outputs: usize,
}

/// Whether there is such a page in `out`.
pub fn is_there(out: &Path) -> bool {
    let page = out.join(FILE);
    page.is_file() && beside::is_ours(&page).unwrap_or(false)
}

/// Writes `<out>/live.html` with the best network of the run in `folder`, and images of the data set in `data` where it is the
/// run's. Errors: no such run, no finished epoch, damaged files, a network too large for what every browser grants, a page that
/// vggkit did not write.
pub fn render(folder: &Path, data: &Path, out: &Path, options: Options) -> Result<Live> {
    let page = out.join(FILE);
    beside::check(&page, options.force)?;
    let (run, plan, Checkpoint { state, classes, digest, .. }) = model::load_best(folder)?;
    let settings = Settings { batch_size: 1, ..model::inference_settings(&run, options.threads, true) };
    let listing = listing::of(&plan, &settings)?;
    let large = state.tensors.iter().map(|values| 4 * values.len()).sum::<usize>() > LARGE;
    let precision = options.precision.unwrap_or(if large { Precision::F16 } else { Precision::F32 });
    let packed = weights::pack(&plan, &state, precision);
    let Samples { shown, rounding, missing } = samples::of(&run, data, &plan, &settings, &state, &packed.state)?;
    let network = LiveNetwork {
        schema: "vggkit/live/1",
        classes: &classes.names,
        size: run.network.image_size,
        mean: run.training.normalisation.mean,
        std: run.training.normalisation.std,
        listing: &listing,
        weights: &packed.places,
        head: head(&plan),
        samples: &shown,
    };
    let json = serde_json::to_string(&network)
        .map_err(|e| Error::new(Kind::Data, format!("cannot write the network: {e}")))?;
    let values = context! {
        version => env!("CARGO_PKG_VERSION"),
        policy => page::policy("data: blob:", Scripts { style: STYLE, script: SCRIPT }),
        style => STYLE,
        script => SCRIPT,
        title => run.network.title(),
        column => run.network.column(),
        name => model::name(folder),
        top1 => validated(folder, &run, &digest).map(format::percent),
        classes => classes.names.len(),
        size => run.network.image_size,
        synthetic => run.data.synthetic,
        half => precision == Precision::F16,
        rounding => format!("{rounding:.4}"),
        megabytes => format!("{:.1}", packed.bytes.len() as f64 / 1e6),
        samples => shown.iter().map(|sample| (sample.name.clone(), sample.picture.clone())).collect::<Vec<_>>(),
        // In a block of data only `<` can end the block.
        network => json.replace('<', "\\u003c"),
        weights => STANDARD.encode(&packed.bytes),
    };
    let environment = page::environment()?;
    let rendered = environment.get_template("live.html").and_then(|template| template.render(values));
    let html = rendered.map_err(|e| Error::new(Kind::Data, format!("cannot render the page: {e:#}")))?;
    files::fs::create_dir_all(out).map_err(|e| Error::io("cannot create the folder", out, e))?;
    beside::check(&page, options.force)?;
    files::write_atomic(&page, |w| std::io::Write::write_all(w, html.as_bytes()))?;
    Ok(Live { page, bytes: html.len(), samples: shown.len(), rounding, missing })
}

/// Top-1 of the weights at hand on the validation images, where they were evaluated.
fn validated(folder: &Path, run: &Run, digest: &str) -> Option<f64> {
    let evaluation: Evaluation = files::read_json(&evaluation::path(folder, &run.data.val, None)).ok()?;
    (evaluation.weights_digest == digest).then_some(evaluation.top1)
}

fn head(plan: &Plan) -> Head {
    let (mut head, mut next) = (Head { size: 1, layers: Vec::new() }, 0);
    for layer in &plan.layers {
        match layer.operation {
            Operation::AdaptiveAvgPool2d { size } => head.size = size,
            Operation::Linear => {
                let (inputs, outputs) = (layer.input.elements(), layer.output.channels);
                head.layers.push(Linear { weight: next, inputs, outputs });
            }
            _ => {}
        }
        next += layer.tensors().len();
    }
    head
}
