//! Where each run came from: enough to make it again and to know what it ran on.

use serde::Serialize;

use super::super::format;
use super::super::raw::RawFile;
use super::identity::{Described, Identity};
use crate::error::Result;
use crate::training::lineage::Lineage;
use crate::training::run::Change;
use crate::training::settings;

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

pub fn build(d: &Described, files: &[RawFile]) -> Result<Provenance> {
    let run = &d.run.run;
    let (recipe, data, origin) = (&run.training, &run.data, &run.origin);
    let known = |text: &str| if text.is_empty() { "not known".to_owned() } else { text.to_owned() };
    let mut network = vec![("Configuration", d.identity.letter.to_owned())];
    network.extend(settings::listed(run, |setting| setting.key.starts_with("network."))?);
    network.push(("Parameters", format::count(d.run.plan.parameters())));
    let mut training = settings::listed(run, |setting| setting.key.starts_with("training."))?;
    if run.network.batch_norm && recipe.micro_batch > 0 && !recipe.sync_batch_norm {
        training.push(("Batch normalisation", "over each micro-batch".to_owned()));
    }
    if recipe.init.is_some() {
        training.extend(Lineage::of(run)?.lines());
    }
    training.extend(run.changes.iter().map(|change| {
        let Change { setting, before, after, epoch, .. } = change;
        ("Changed", format!("{setting} {before} to {after} from epoch {epoch} on"))
    }));
    Ok(Provenance {
        run: d.identity.clone(),
        command: known(&origin.command),
        files: files.iter().map(RawFile::named).collect(),
        groups: vec![
            ("Network", network),
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
    })
}
