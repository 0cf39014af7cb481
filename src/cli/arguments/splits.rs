//! The name of a split as a user may give it: `train`, or a folder below the data folder such as `data/train`,
//! which is what the replaced project took.

use std::path::Path;

use crate::error::{Error, Result};

/// The split that `given` (the value of `flag`) names below `data`. Errors: a folder elsewhere, or a name that
/// is not among the packs there; where there are no packs at all, opening one will say so.
pub fn resolve(flag: &str, given: &str, data: &Path) -> Result<String> {
    let path = Path::new(given);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = path.components().count() == 1 && !name.is_empty();
    if !plain && !path.parent().is_some_and(|parent| !name.is_empty() && same_folder(parent, data)) {
        let elsewhere = format!("{flag} {given} is not a split below {}", data.display());
        let help = match path.parent() {
            Some(parent) if parent.join("manifest.json").exists() => format!("use --data {}", parent.display()),
            _ => "give the name of a split, such as train or val; `vggkit prepare` makes them below --data".into(),
        };
        return Err(Error::usage(elsewhere).with_help(help));
    }
    let known = known(data);
    if known.is_empty() || known.iter().any(|split| split == name) {
        return Ok(name.to_owned());
    }
    let mut message = format!("{flag} {given}: {} has {}", data.display(), known.join(", "));
    let likeness = |split: &String| strsim::jaro(split, name);
    if let Some(nearest) = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        message.push_str(&format!("; the nearest is {nearest}"));
    }
    Err(Error::usage(message))
}

/// Names of the packs below `data`, sorted; empty where there are none.
fn known(data: &Path) -> Vec<String> {
    let entries = crate::files::fs::read_dir(data.join("packs")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Whether both are the same folder, whichever way they are written.
fn same_folder(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> Result<tempfile::TempDir> {
        let folder =
            tempfile::tempdir().map_err(|e| Error::io("cannot make a folder below", std::env::temp_dir(), e))?;
        for split in ["train", "val", "test"] {
            crate::files::write_atomic(&crate::dataset::Pack::path_of(folder.path(), split), |_| Ok(()))?;
        }
        Ok(folder)
    }

    #[test]
    fn names_and_folders_below_data() -> Result<()> {
        let data = data()?;
        let folder = data.path().display();
        for given in ["train".to_owned(), format!("{folder}/train"), format!("{folder}/./train/")] {
            assert_eq!(resolve("--train", &given, data.path())?, "train", "{given}");
        }
        assert_eq!(resolve("--train", "data/train", Path::new("data"))?, "train");
        Ok(())
    }

    #[test]
    fn anything_else_is_explained() -> Result<()> {
        let data = data()?;
        let nearest = resolve("--val", "vall", data.path()).expect_err("no such split");
        assert!(nearest.to_string().ends_with("has test, train, val; the nearest is val"), "{nearest}");
        for given in ["elsewhere/train", "/", "..", "train/.."] {
            let error = resolve("--train", given, data.path()).expect_err(given);
            assert_eq!(error.exit_code(), 2, "{given}");
        }
        let other = self::data()?;
        crate::files::write_json(&other.path().join("manifest.json"), &0)?;
        let given = other.path().join("train").display().to_string();
        let help = resolve("--train", &given, data.path()).expect_err("another data folder");
        assert_eq!(help.help(), Some(format!("use --data {}", other.path().display()).as_str()));
        Ok(())
    }
}
