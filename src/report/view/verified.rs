//! What `vggkit verify` found, with the images that it is about: pairs beside each other.
//!
//! Images come from the packs by split, class and file name; a file that is in none is named without a picture.

use std::collections::HashMap;

use serde::Serialize;

use super::super::format;
use super::super::images::thumbnail;
use super::super::inputs::LoadedData;
use super::parts::Picture;
use crate::dataset::Pack;
use crate::dataset::verify::{Finding, Severity, Verification};
use crate::error::Result;

/// Files that a finding lists.
const MOST_FILES: usize = 20;
/// Groups of a finding whose images are shown, and images of a group.
const MOST_GROUPS: usize = 6;
const MOST_MEMBERS: usize = 4;
/// Images shown of a finding about single files.
const MOST_PICTURES: usize = 12;
/// Images shown of all findings together.
const BUDGET: usize = 96;

/// The whole result.
#[derive(Serialize)]
pub struct Verified {
    /// No error was found.
    pub fit: bool,
    /// "1 error, 2 warnings and 1 note".
    pub summary: String,
    pub date: String,
    pub findings: Vec<Found>,
}

/// A finding.
#[derive(Serialize)]
pub struct Found {
    /// "error", "warning" or "note".
    pub severity: &'static str,
    pub message: String,
    pub files: Vec<String>,
    /// Files or groups that are not listed.
    pub more: usize,
    /// "file" or "group".
    pub unit: &'static str,
    /// Images that belong together.
    pub groups: Vec<Together>,
    /// Images of a finding about single files.
    pub pictures: Vec<Shown>,
}

/// Images that show the same, or nearly.
#[derive(Serialize)]
pub struct Together {
    /// "same bytes", "same pixels" or "3 of 64 bits apart".
    pub how: String,
    pub images: Vec<Shown>,
    /// Images that are not shown.
    pub more: usize,
}

/// An image of a finding.
#[derive(Serialize)]
pub struct Shown {
    pub picture: Option<Picture>,
    pub file: String,
    /// Without its folders.
    pub name: String,
    /// Readable class; empty where it has none.
    pub class: String,
}

/// Where the images lie, and how many may still be shown.
struct Album<'a> {
    data: &'a LoadedData,
    /// Index of an image by split and "class/file", or "file" in a split without classes.
    places: HashMap<(&'a str, String), usize>,
    left: usize,
}

pub fn build(verification: &Verification, data: &LoadedData) -> Result<Verified> {
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|s| (verification.count(s), word(s)));
    let found: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format::counted(*n, what)).collect();
    let mut album = Album::new(data, verification);
    Ok(Verified {
        fit: verification.fit,
        summary: if found.is_empty() { "nothing to report".into() } else { found.join(", ") },
        date: verification.created.get(..10).unwrap_or_default().to_owned(),
        findings: verification.findings.iter().map(|f| finding(f, &mut album)).collect::<Result<_>>()?,
    })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn finding(f: &Finding, album: &mut Album) -> Result<Found> {
    let listed = f.groups.iter().map(|group| group.files.join(" = "));
    let files: Vec<String> = f.files.iter().cloned().chain(listed).take(MOST_FILES).collect();
    let mut groups = Vec::new();
    for group in f.groups.iter().take(MOST_GROUPS) {
        let shown = group.files.iter().take(MOST_MEMBERS);
        let images: Vec<_> = shown.map(|file| album.show(file)).collect::<Result<_>>()?;
        let how = match group.distance {
            Some(distance) => format!("hashes {distance} of 64 bits apart"),
            None if group.same_bytes => "same bytes".into(),
            None => "same pixels".into(),
        };
        groups.push(Together { how, more: group.files.len() - images.len(), images });
    }
    groups.retain(|g| g.images.iter().any(|i| i.picture.is_some()));
    let pictures: Vec<_> = f.files.iter().take(MOST_PICTURES).map(|file| album.show(file)).collect::<Result<_>>()?;
    Ok(Found {
        severity: word(f.severity),
        message: f.message.clone(),
        more: f.count.saturating_sub(files.len()),
        unit: if f.groups.is_empty() { "file" } else { "group" },
        files,
        groups,
        pictures: pictures.into_iter().filter(|p| p.picture.is_some()).collect(),
    })
}

impl<'a> Album<'a> {
    /// Knows where the images of a verification's findings lie, and of those only: packs are large.
    fn new(data: &'a LoadedData, verification: &Verification) -> Self {
        let groups = verification.findings.iter().flat_map(|f| f.groups.iter().take(MOST_GROUPS));
        let grouped = groups.flat_map(|g| g.files.iter().take(MOST_MEMBERS));
        let single = verification.findings.iter().flat_map(|f| f.files.iter().take(MOST_PICTURES));
        let names: std::collections::HashSet<&str> =
            grouped.chain(single).map(|file| name(file)).filter(|n| !n.is_empty()).collect();
        let mut places = HashMap::new();
        for (split, pack) in &data.packs {
            for (index, file) in pack.files.iter().enumerate().filter(|(_, f)| names.contains(f.as_str())) {
                places.insert((split.as_str(), key(pack, index, file)), index);
            }
        }
        Self { data, places, left: BUDGET }
    }

    fn show(&mut self, file: &str) -> Result<Shown> {
        let mut parts = without_reason(file).splitn(3, '/');
        let (split, folder) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = name(file);
        let mut shown = Shown { picture: None, file: file.to_owned(), name: name.to_owned(), class: String::new() };
        let Some((split, pack)) = self.data.packs.get_key_value(split) else { return Ok(shown) };
        let labelled = !pack.images.labels.is_empty();
        let wanted = if labelled { format!("{folder}/{name}") } else { name.to_owned() };
        let Some(index) = self.places.get(&(split.as_str(), wanted)).copied() else { return Ok(shown) };
        if labelled {
            let class = pack.images.labels.get(index).and_then(|c| pack.names.get(*c as usize));
            shown.class = class.cloned().unwrap_or_default();
        }
        if self.left > 0 {
            self.left -= 1;
            let alt = if shown.class.is_empty() { file.to_owned() } else { format!("{}, {file}", shown.class) };
            shown.picture = Some(Picture { source: thumbnail(pack, index)?, alt });
        }
        Ok(shown)
    }
}

/// "wnid/file" of a labelled image, "file" of any other.
fn key(pack: &Pack, index: usize, file: &str) -> String {
    match pack.images.labels.get(index).and_then(|class| pack.wnids.get(*class as usize)) {
        Some(wnid) => format!("{wnid}/{file}"),
        None => file.to_owned(),
    }
}

/// A file of a finding without the reason that may follow it.
fn without_reason(file: &str) -> &str {
    file.split_once(": ").map_or(file, |(file, _)| file)
}

fn name(file: &str) -> &str {
    without_reason(file).rsplit('/').next().unwrap_or_default()
}
