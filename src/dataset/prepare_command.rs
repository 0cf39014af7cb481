//! The command that makes a folder's data, as messages advise it.

use std::path::Path;

use serde::Deserialize;

use crate::{files, shell};

/// Of a manifest, all that is asked here.
#[derive(Deserialize)]
struct Made {
    source: From,
}

#[derive(Deserialize)]
struct From {
    kind: String,
}

/// The manifest of a change that is decided and not carried out to its end yet, in the data folder.
pub const DECIDED: &str = "manifest.partial.json";

/// The command that makes this folder's data, and completes a change to it. A change that is decided says what it is; else
/// the demo set's folder is known by its name.
pub fn prepare_command(data: &Path) -> String {
    let decided = files::read_json::<Made>(&data.join(DECIDED));
    let demo = decided.map_or_else(|_| data.ends_with("demo"), |made| made.source.kind == "demo");
    let (demo, data) = if demo { (" --demo", files::parent(data)) } else { ("", data.to_path_buf()) };
    let folder = if data == Path::new("data") { String::new() } else { shell::flag("--data", &data) };
    format!("vggkit prepare{demo}{folder}")
}
