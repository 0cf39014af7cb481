//! Where each run came from: enough to make it again and to know what it ran on.

use serde::Serialize;

use super::super::format;
use super::super::raw::RawFile;
use super::identity::{Described, Identity};
use crate::engine::Optimizer;
use crate::training::run::{Augment, Change, Schedule};

/// One run.
#[derive(Serialize)]
pub struct Provenance {
    pub run: Identity,
    pub command: String,
    /// Heading and lines.
    pub groups: Vec<(&'static str, Vec<(&'static str, String)>)>,
    /// Its files as they lie beside the page.
    pub files: Vec<RawFile>,
}

pub fn build(d: &Described, files: &[RawFile]) -> Provenance {
    let run = &d.run.run;
    let (network, recipe, data, origin) = (&run.network, &run.training, &run.data, &run.origin);
    let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
    let known = |text: &str| if text.is_empty() { "not known".to_owned() } else { text.to_owned() };
    let mut training = vec![
        ("Epochs", format!("at most {}, patience {}", recipe.epochs, recipe.patience)),
        ("Batch size", recipe.batch_size.to_string()),
        ("Learning rate", format!("{}, {}", recipe.learning_rate, schedule(recipe.schedule, recipe.warmup))),
        ("Optimizer", optimizer(&recipe.optimizer)),
        ("Augmentation", augment(recipe.augment).to_owned()),
        ("Label smoothing", recipe.label_smoothing.to_string()),
        ("Normalisation", format!("mean {:?}, std {:?}", recipe.normalisation.mean, recipe.normalisation.std)),
        ("Precision of products", recipe.precision.name().to_owned()),
        ("Seed", recipe.seed.to_string()),
        ("Shuffle", yes(recipe.shuffle)),
    ];
    let optional = [
        ("Steps at most", recipe.max_steps.map(|n| n.to_string())),
        ("Train images", recipe.limit_train.map(|n| n.to_string())),
        ("First weights", recipe.init.clone()),
        ("Layers of it", recipe.init_partial.then(|| origin.init_taken.join(", "))),
        ("Layers drawn", recipe.init_partial.then(|| origin.init_drawn.join(", ")).filter(|layers| !layers.is_empty())),
    ];
    training.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    training.extend(run.changes.iter().map(|change| {
        let Change { setting, before, after, epoch, .. } = change;
        ("Changed", format!("{setting} {before} to {after} from epoch {epoch} on"))
    }));
    Provenance {
        run: d.identity.clone(),
        command: known(&origin.command),
        files: files.iter().map(RawFile::named).collect(),
        groups: vec![
            (
                "Network",
                vec![
                    ("Configuration", format!("{}, depth {}", d.identity.letter, network.depth)),
                    ("Batch norm", yes(network.batch_norm)),
                    ("Width", network.width.to_string()),
                    ("Dropout", network.dropout.to_string()),
                    ("Input", format!("{0}×{0}, {1}", network.image_size, format::counted(network.classes, "class"))),
                    ("Parameters", format::count(d.run.plan.parameters())),
                ],
            ),
            ("Training", training),
            (
                "Data",
                vec![
                    ("Folder", data.folder.clone()),
                    ("Splits", format!("{} / {}", data.train, data.val)),
                    ("Content", known(&d.run.known_as)),
                    ("Images", if data.synthetic { "synthetic (drawn)" } else { "photographs" }.to_owned()),
                ],
            ),
            (
                "Machine",
                vec![
                    ("Engine", known(&origin.device.engine)),
                    ("Adapter", known(&origin.device.adapter)),
                    ("Driver", known(&origin.device.driver)),
                    ("Threads", origin.device.threads.to_string()),
                    ("vggkit", known(&origin.version)),
                    ("Commit", known(&origin.commit)),
                    ("Started", known(&origin.started)),
                    ("Finished", if origin.finished.is_empty() { "not yet".into() } else { origin.finished.clone() }),
                    ("Best weights", known(&origin.best_sha256)),
                    ("Stopped by", if origin.stopped_by.is_empty() { "–".into() } else { origin.stopped_by.clone() }),
                ],
            ),
        ],
    }
}

fn schedule(schedule: Schedule, warmup: f64) -> String {
    let name = match schedule {
        Schedule::Constant => "constant",
        Schedule::Cosine => "cosine",
        Schedule::Plateau => "divided by 10 on a plateau",
    };
    if warmup > 0.0 { format!("{name} after {warmup} epochs of warm-up") } else { name.to_owned() }
}

fn optimizer(optimizer: &Optimizer) -> String {
    match optimizer {
        Optimizer::Adam { beta1, beta2, epsilon, weight_decay } => {
            format!("Adam, betas {beta1} and {beta2}, epsilon {epsilon}, weight decay {weight_decay}")
        }
        Optimizer::Sgd { momentum, weight_decay } => format!("SGD, momentum {momentum}, weight decay {weight_decay}"),
    }
}

fn augment(augment: Augment) -> &'static str {
    match augment {
        Augment::None => "none",
        Augment::Flip => "left-right flip",
        Augment::Crop => "left-right flip and random crop",
    }
}
