//! Where Chromium is, and where `make browser` put axe-core. Tests that lack one fail and say how to get it.

use std::env;
use std::path::{Path, PathBuf};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// `VGGKIT_CHROMIUM`, else the first of the usual names in `PATH`.
pub fn executable() -> PathBuf {
    if let Some(path) = env::var_os("VGGKIT_CHROMIUM").filter(|p| !p.is_empty()) {
        return path.into();
    }
    let folders: Vec<PathBuf> = env::var_os("PATH").map(|p| env::split_paths(&p).collect()).unwrap_or_default();
    let found = NAMES.iter().find_map(|name| folders.iter().map(|f| f.join(name)).find(|p| p.is_file()));
    found.unwrap_or_else(|| {
        panic!(
            "no Chromium: none of {NAMES:?} is in PATH. `make browser` installs it on Debian; elsewhere install \
             Chromium or Chrome, or name it in VGGKIT_CHROMIUM"
        )
    })
}

/// The text of axe-core, which `make browser` fetches at a pinned version and checks against its checksum.
pub fn axe() -> String {
    let folders = std::fs::read_dir(target()).expect("the target folder").filter_map(Result::ok).map(|f| f.path());
    let fetched = |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("axe-core-"));
    let newest = folders.filter(fetched).map(|p| p.join("axe.min.js")).filter(|p| p.is_file()).max();
    let path = newest.unwrap_or_else(|| panic!("no axe-core in {:?}: `make browser` fetches it", target()));
    std::fs::read_to_string(path).expect("axe-core")
}

/// Cargo's target folder.
pub fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp is in target")
}
