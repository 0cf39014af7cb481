//! Where in a zip or folder the layout begins, what of it is read, and where a data folder may have a source.
//!
//! Looks at names only.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::download::OFFICIAL_URL;
use super::source::is_image;
use crate::error::{Error, Result};
use crate::files::fs;

/// Folders that are read, below the layout's root. `val_` is what some scripts call a val that they have sorted.
pub const FOLDERS: [&str; 4] = ["train", "val", "val_", "test"];
/// Lists that are read, below the layout's root.
pub const LISTS: [&str; 2] = ["wnids.txt", "words.txt"];

/// Where the demo set is drawn, in its data folder. Never taken for a source that was found: it would pass for photographs.
pub const DEMO: &str = "tiny-imagenet-demo";

/// Whether systems leave a file or folder of this name wherever they show or pack one: it is nobody's.
pub fn is_litter(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        ".DS_Store",
        "__MACOSX",
        "Thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        ".directory",
        "@eaDir",
        "#recycle",
        "@Recycle",
    ];
    name.starts_with("._") || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether the layout needs this path: the two lists, and files below the three folders but hidden ones.
pub fn wanted(path: &str) -> bool {
    if LISTS.contains(&path) {
        return true;
    }
    let mut parts = path.split('/');
    parts.next().is_some_and(|first| FOLDERS.contains(&first))
        && !parts.any(|part| part.starts_with('.') || is_litter(part))
}

/// What stands before `train/<wnid>/images/` (or `train/<wnid>/` with images in it) in the names of an archive: the
/// layout's root.
pub fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .filter(|name| !name.starts_with("__MACOSX/"))
        .filter_map(|name| {
            let parts: Vec<&str> = name.split('/').collect();
            let inner = |parts: &[&str]| match parts {
                ["train", _, "images", _] => true,
                ["train", _, file] => is_image(file),
                _ => false,
            };
            let at = (0..parts.len()).find(|&at| inner(&parts[at..]))?;
            Some(parts[..at].iter().map(|part| format!("{part}/")).collect::<String>())
        })
        .min_by_key(String::len)
}

/// The folder itself, or the one folder in it that holds the layout.
pub fn folder(path: &Path) -> Result<Option<PathBuf>> {
    if is_layout(path)? {
        return Ok(Some(path.to_path_buf()));
    }
    let mut inner: Vec<PathBuf> = fs::read_dir(path)
        .map_err(|e| Error::io("cannot read", path, e))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| is_layout(p).unwrap_or(false))
        .collect();
    Ok(if inner.len() == 1 { inner.pop() } else { None })
}

/// Whether the folder has `train/<wnid>/images`, or images in `train/<wnid>`. Errors: there is a `train` that cannot be read.
pub fn is_layout(folder: &Path) -> Result<bool> {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let train = folder.join("train");
    let mut classes = match fs::read_dir(&train) {
        Ok(classes) => classes.filter_map(|entry| Some(entry.ok()?.path())),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
        Err(e) => return Err(Error::io("cannot read", &train, e)),
    };
    let image = |path: &Path| path.file_name().is_some_and(|name| is_image(&name.to_string_lossy()));
    Ok(classes.any(|class| class.join("images").is_dir() || below(&class).any(|path| image(&path))))
}

/// The error where there is no layout.
pub fn not_there(path: &Path) -> Error {
    Error::data(path, "not in the layout of Tiny ImageNet: there is no train/<wnid>/images/").with_help(format!(
        "the layout is that of {OFFICIAL_URL}: train/<wnid>/images/, val/images/, val/val_annotations.txt, \
         test/images/, wnids.txt and words.txt, in one folder"
    ))
}

/// The source to use when none was named: `tiny-imagenet-200.zip` or folder `tiny-imagenet-200` in the data folder,
/// or the only other zip or folder there that has the layout and is not what `prepare` writes itself. `None` where there is nothing.
pub fn find(data: &Path) -> Result<Option<PathBuf>> {
    for name in ["tiny-imagenet-200.zip", "tiny-imagenet-200"] {
        let path = data.join(name);
        if path.exists() {
            return Ok(Some(path));
        }
    }
    let ours = ["train", "val", "test", "packs", "demo", DEMO];
    let is_ours = |name: &OsStr| ours.iter().any(|o| name == *o) || name.to_string_lossy().ends_with(".partial");
    let mut found: Vec<PathBuf> = fs::read_dir(data)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            if path.is_dir() {
                !path.file_name().is_some_and(is_ours) && is_layout(path).unwrap_or(false)
            } else {
                path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zip"))
            }
        })
        .collect();
    found.sort();
    match &found[..] {
        [one] => Ok(Some(one.clone())),
        [] => Ok(None),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Error::usage(format!("there are several sources: {}", names.join(", ")))
                .with_help("choose with --source"))
        }
    }
}
