//! From a source in the official layout to class folders, packs and manifest, in one parallel pass over the images:
//! each is read, decoded, checked, written to its folder as it is, and its pixels put in their place in the pack.
//!
//! Does not stop at the first broken image: all are listed at the end, and then nothing is prepared unless they are to
//! be left out. Images of another size than most are resized in the pack; their files stay as they are.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::identity::Identity;
use super::inventory::Inventory;
use super::layout;
use super::manifest::{self, Manifest, SourceRecord, Split};
use super::names::PARTS;
use super::pack::Pack;
use super::prepare_command::prepare_command;
use super::source::Source;
use super::staging::{self, Staging};
use super::{demo, download, root};
use crate::error::{Error, Result};

mod fill;
mod leaks;
mod request;
mod work;
mod write;

pub use request::{Input, Request};

/// What was done.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What is there now.
    pub manifest: Manifest,
    /// What was unusual about the source, for people.
    pub notes: Vec<String>,
    /// What lies where `prepare` writes and is not in the manifest, relative to the data folder; it stays.
    pub foreign: Vec<String>,
    /// What of that had to go, since `force` was asked for.
    pub removed: Vec<String>,
    /// It was there before: nothing was written.
    pub unchanged: bool,
    /// How long it took.
    pub seconds: f64,
}

/// Prepares a data folder. Errors: no source, not the layout, images that cannot be used (all are listed), files and
/// folders in the way that are not ours (all are named). After an error the data folder is as it was, but for a change that an earlier process had
/// decided, which is carried out first.
pub fn prepare(request: &Request) -> Result<Summary> {
    let begun = Instant::now();
    let pool = super::workers(request.threads)?;
    if staging::is_pending(&request.data) {
        drop(Staging::open(&request.data, request.force)?); // completes the change, which needs no source: all is there
    }
    let summary = |manifest| Summary {
        manifest,
        notes: Vec::new(),
        foreign: Vec::new(),
        removed: Vec::new(),
        unchanged: false,
        seconds: begun.elapsed().as_secs_f64(),
    };
    let done = |(manifest, foreign)| Summary { foreign, unchanged: true, ..summary(manifest) };
    let source = match &request.input {
        Input::Given(path) => Some(Source::open(path)?),
        Input::Found { url, md5 } => match root::find(&request.data)? {
            Some(path) => Some(Source::open(&path)?),
            None => {
                // Whoever has removed the source to save space is not made to download it again.
                if let Some(there) = prepared_before(request)? {
                    return Ok(done(there));
                }
                keep_demo(&request.data)?;
                Some(Source::open(&fetch(request, url, md5.as_deref())?)?)
            }
        },
        Input::Demo(_) => None,
    };
    let source = source.map(|source| beside_or_in_place(&request.data, source)).transpose()?;
    let staging = Staging::open(&request.data, request.force)?;
    let record = match (&request.input, &source) {
        (Input::Demo(settings), _) => demo::record(settings),
        (_, Some(source)) => source.record()?,
        (_, None) => SourceRecord::default(),
    };
    if let Some(there) = unchanged(request, &record)? {
        return Ok(done(there));
    }
    let (mut manifest, notes, removed) = pool.install(|| {
        let mut removed = Vec::new();
        let source = match (source, &request.input) {
            (None, Input::Demo(settings)) => {
                let drawn = demo::foreign(&request.data)?;
                removed = staging.refuse_foreign(&PARTS, drawn)?;
                Source::open(&demo::draw(&request.data, settings, request.quiet)?)?
            }
            (Some(source), _) => source,
            (None, _) => return Err(Error::usage("there is nothing to prepare from")),
        };
        let mut layout = layout::understand(&source, &request.settings)?;
        let mut notes = std::mem::take(&mut layout.notes);
        if source.is_in_place() && !request.settings.no_folders {
            notes.push(
                "the source's class folders lie in the data folder: they stay as they are, and packs are made of them"
                    .into(),
            );
        }
        if removed.is_empty() {
            removed = staging.refuse_foreign(&parts_to_come(&layout, writes_folders(request, &source)), Vec::new())?;
        }
        let size = match request.settings.size {
            Some(side) => (side, side),
            None => layout::common_size(&source, &layout),
        };
        staging.begin()?;
        let write_folders = writes_folders(request, &source);
        let work = work::Work { request, staging: &staging, source: &source, size, write_folders };
        let manifest = work.write(layout, record);
        if manifest.is_err() {
            staging.discard()?;
        }
        manifest.map(|manifest| (manifest, notes, removed))
    })?;
    if let Ok((old, identity)) = Identity::of(&request.data) {
        manifest = succeed(manifest, old, identity);
    }
    staging.commit(&manifest)?;
    let ours = staging::parts_of(&manifest);
    let beside = |part: &&str| !manifest.source.in_place && !ours.contains(part) && request.data.join(part).exists();
    let foreign = PARTS.into_iter().filter(beside).map(|part| format!("{part}/")).collect();
    Ok(Summary { notes, foreign, removed, ..summary(manifest) })
}

/// The parts of the data folder that will be written.
fn parts_to_come(layout: &layout::SourceLayout, write_folders: bool) -> Vec<&'static str> {
    let folders = layout.splits.iter().filter(|split| write_folders && !split.images.is_empty());
    folders.map(|split| split.name).chain(["packs"]).collect()
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
fn prepared_before(request: &Request) -> Result<Option<(Manifest, Vec<String>)>> {
    match Manifest::load(&request.data) {
        Ok(manifest) => unchanged(request, &manifest.source),
        Err(_) => Ok(None),
    }
}

/// Whether class folders are made: not where they are the source's own.
fn writes_folders(request: &Request, source: &Source) -> bool {
    !request.settings.no_folders && !source.is_in_place()
}

/// The source, which must not be destroyed by what is made of it: where its class folders are those of the data folder, they
/// stay, and only packs are made. Errors: the data folder holds what `prepare` wrote, or the source lies among that.
fn beside_or_in_place(data: &Path, mut source: Source) -> Result<Source> {
    let Ok(place) = source.folder().unwrap_or(source.path()).canonicalize() else { return Ok(source) };
    let help =
        "name the source that it was made of, or move it into a folder of its own, or name another --data folder";
    let given = source.path().display();
    if data.canonicalize().is_ok_and(|data| data == place) {
        if root::has_prepared_folders(data) {
            let what = format!("the source {given} is the data folder itself, with what `vggkit prepare` wrote there");
            return Err(Error::usage(what).with_help(help));
        }
        source.set_in_place();
        return Ok(source);
    }
    let holds = |part: &&'static str| data.join(part).canonicalize().is_ok_and(|part| place.starts_with(part));
    match PARTS.into_iter().find(holds) {
        Some(part) => {
            let part = data.join(part);
            let what = format!("the source {given} lies in {}, which is replaced by what is prepared", part.display());
            Err(Error::usage(what).with_help(help))
        }
        None => Ok(source),
    }
}

/// The demo set's folder is not filled with photographs unasked.
fn keep_demo(data: &Path) -> Result<()> {
    match Manifest::load(data) {
        Ok(manifest) if manifest.source.kind == "demo" => {
            let prepare = prepare_command(data);
            Err(Error::usage(format!("{} holds the demo set", data.display())).with_help(format!(
                "`{prepare}` prepares it; for photographs name another --data folder, or their archive with --source"
            )))
        }
        _ => Ok(()),
    }
}

/// The manifest of what is there, if it is what is asked for and complete as far as can be seen without reading it
/// all (`vggkit verify` reads it all), with what else lies there. Nothing where `force` asks for it anew.
fn unchanged(request: &Request, record: &SourceRecord) -> Result<Option<(Manifest, Vec<String>)>> {
    let Ok(manifest) = Manifest::load(&request.data) else { return Ok(None) };
    let key = |r: &SourceRecord| (r.kind.clone(), r.bytes, r.sha256.clone(), r.in_place);
    let same = !request.force
        && manifest.schema == manifest::SCHEMA
        && key(&manifest.source) == key(record)
        && manifest.settings == request.settings;
    let whole = |(name, split): (&String, &Split)| {
        Pack::open(&request.data, name).is_ok_and(|pack| pack.images.count == split.images)
    };
    if !same || !manifest.splits.iter().all(whole) {
        return Ok(None);
    }
    let inventory = Inventory::take(&request.data, Some(&manifest))?;
    let foreign = inventory.unknown_to(&manifest);
    Ok((!inventory.incomplete).then_some((manifest, foreign)))
}
