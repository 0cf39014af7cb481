//! From a source in the official layout to class folders, packs and manifest, in one parallel pass over the images:
//! each is read, decoded, checked, written to its folder as it is, and its pixels put in their place in the pack.
//!
//! Does not stop at the first broken image: all are listed at the end, and then nothing is prepared unless they are to
//! be left out. Images of another size than most are resized in the pack; their files stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::identity::Identity;
use super::layout;
use super::manifest::{self, Manifest, Settings, SourceRecord, Split};
use super::pack::Pack;
use super::source::Source;
use super::staging::{self, Staging};
use super::{demo, download, root};
use crate::error::{Error, Kind, Result};

mod fill;
mod leaks;
mod write;

/// What to prepare, where.
#[derive(Clone, Debug)]
pub struct Request {
    /// The data folder.
    pub data: PathBuf,
    /// From what.
    pub input: Input,
    /// Which images.
    pub settings: Settings,
    /// Prepare even if nothing changed, and replace folders that `prepare` did not write.
    pub force: bool,
    /// Worker threads; never changes a byte.
    pub threads: usize,
    /// No progress bar.
    pub quiet: bool,
}

/// From what to prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A zip or folder.
    Given(PathBuf),
    /// The one in the data folder; where there is none, the official archive is downloaded into it.
    Found {
        /// From where to download.
        url: String,
        /// What its MD5 must be, where it is not the official archive.
        md5: Option<String>,
    },
    /// The synthetic set, drawn first.
    Demo(demo::Settings),
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What is there now.
    pub manifest: Manifest,
    /// What was unusual about the source, for people.
    pub notes: Vec<String>,
    /// It was there before: nothing was written.
    pub unchanged: bool,
    /// How long it took.
    pub seconds: f64,
}

/// Prepares a data folder. Errors: no source, not the layout, images that cannot be used (all are listed), folders
/// in the way that are not ours. After an error the data folder is as it was, but for a change that an earlier process had
/// decided, which is carried out first.
pub fn prepare(request: &Request) -> Result<Summary> {
    let begun = Instant::now();
    let pool = super::workers(request.threads)?;
    if staging::is_pending(&request.data) {
        drop(Staging::open(&request.data)?); // completes the change, which needs no source: the data is all there
    }
    let done =
        |manifest| Summary { manifest, notes: Vec::new(), unchanged: true, seconds: begun.elapsed().as_secs_f64() };
    let source = match &request.input {
        Input::Given(path) => Some(Source::open(path)?),
        Input::Found { url, md5 } => match root::find(&request.data)? {
            Some(path) => Some(Source::open(&path)?),
            None => {
                // Whoever has removed the source to save space is not made to download it again.
                if let Some(manifest) = prepared_before(request) {
                    return Ok(done(manifest));
                }
                keep_demo(&request.data)?;
                Some(Source::open(&fetch(request, url, md5.as_deref())?)?)
            }
        },
        Input::Demo(_) => None,
    };
    if let Some(source) = &source {
        keep_apart(&request.data, source)?;
    }
    let staging = Staging::open(&request.data)?;
    let record = match (&request.input, &source) {
        (Input::Demo(settings), _) => demo::record(settings),
        (_, Some(source)) => source.record()?,
        (_, None) => SourceRecord::default(),
    };
    if !request.force {
        if let Some(manifest) = unchanged(request, &record) {
            return Ok(Summary {
                manifest,
                notes: Vec::new(),
                unchanged: true,
                seconds: begun.elapsed().as_secs_f64(),
            });
        }
        refuse_foreign(&staging)?;
    }
    let (mut manifest, notes) = pool.install(|| {
        let source = match (source, &request.input) {
            (None, Input::Demo(settings)) => Source::open(&demo::draw(&request.data, settings, request.quiet)?)?,
            (Some(source), _) => source,
            (None, _) => return Err(Error::usage("there is nothing to prepare from")),
        };
        let mut layout = layout::understand(&source, &request.settings)?;
        let notes = std::mem::take(&mut layout.notes);
        let size = layout::common_size(&source, &layout);
        let work = write::Work { request, staging: &staging, source: &source, size };
        let manifest = work.write(layout, record);
        if manifest.is_err() {
            staging.discard()?;
        }
        manifest.map(|manifest| (manifest, notes))
    })?;
    if let Ok((old, identity)) = Identity::of(&request.data) {
        manifest = succeed(manifest, old, identity);
    }
    staging.commit(&manifest)?;
    Ok(Summary { manifest, notes, unchanged: false, seconds: begun.elapsed().as_secs_f64() })
}

/// What is written over a manifest: the old one where nothing but the time differs; where the content is the same, the
/// new one with the old one's checksums, by which runs of older versions know their data.
fn succeed(new: Manifest, old: Manifest, identity: Identity) -> Manifest {
    let as_old = Manifest { created: old.created.clone(), former: old.former.clone(), ..new.clone() };
    if as_old == old {
        return old;
    }
    let same = new.content_sha256() == identity.content_sha256;
    Manifest { former: if same { identity.manifests } else { Vec::new() }, ..new }
}

/// The archive, downloaded into the data folder.
fn fetch(request: &Request, url: &str, md5: Option<&str>) -> Result<PathBuf> {
    let path = request.data.join("tiny-imagenet-200.zip");
    let expected = md5.map_or(download::OFFICIAL, |md5| download::Expected { bytes: None, md5 });
    download::download(url, &path, &expected, &download::Patience::default(), request.quiet)?;
    Ok(path)
}

/// What is there already, though its source is not.
fn prepared_before(request: &Request) -> Option<Manifest> {
    if request.force {
        return None;
    }
    let manifest = Manifest::load(&request.data).ok()?;
    unchanged(request, &manifest.source)
}

/// The data folder must not be the source: its folders would be replaced by what is made of them.
fn keep_apart(data: &Path, source: &Source) -> Result<()> {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if source.folder().is_some_and(|folder| same(folder, data)) {
        return Err(Error::usage(format!("the source {} is the data folder itself", source.path().display()))
            .with_help("move it into a folder of its own, or name another --data folder"));
    }
    Ok(())
}

/// The demo set's folder is not filled with photographs unasked.
fn keep_demo(data: &Path) -> Result<()> {
    match Manifest::load(data) {
        Ok(manifest) if manifest.source.kind == "demo" => {
            let prepare = staging::prepare_command(data);
            Err(Error::usage(format!("{} holds the demo set", data.display())).with_help(format!(
                "`{prepare}` prepares it; for photographs name another --data folder, or their archive with --source"
            )))
        }
        _ => Ok(()),
    }
}

/// Folders of unknown origin are not replaced unasked.
fn refuse_foreign(staging: &Staging) -> Result<()> {
    let foreign = staging.foreign();
    if foreign.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = foreign.iter().map(|p| p.display().to_string()).collect();
    Err(Error::new(Kind::Data, format!("in the way, and not written by `vggkit prepare`: {}", names.join(", ")))
        .with_help("move them away, name another --data folder, or replace them with --force"))
}

/// The manifest of what is there, if it is what is asked for and complete as far as can be seen without reading it
/// all (`vggkit verify` reads it all).
fn unchanged(request: &Request, record: &SourceRecord) -> Option<Manifest> {
    let manifest = Manifest::load(&request.data).ok()?;
    let key = |r: &SourceRecord| (r.kind.clone(), r.bytes, r.sha256.clone());
    let complete = |(name, split): (&String, &Split)| {
        let pack = Pack::open(&request.data, name).ok()?;
        let folders = manifest.folders(name);
        let count = |folder: &String| Some(fs::read_dir(request.data.join(name).join(folder)).ok()?.count());
        let in_folders = folders.iter().map(count).sum::<Option<usize>>();
        let counted = split.files_sha256.is_empty() || in_folders == Some(split.images);
        (pack.images.count == split.images && counted).then_some(())
    };
    let same = manifest.schema == manifest::SCHEMA
        && key(&manifest.source) == key(record)
        && manifest.settings == request.settings
        && manifest.splits.iter().try_for_each(complete).is_some();
    same.then_some(manifest)
}
