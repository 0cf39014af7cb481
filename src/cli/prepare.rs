//! `vggkit prepare`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::arguments::shared::Shared;
use super::arguments::values;
use super::output;
use crate::dataset::classes::Classes;
use crate::dataset::manifest::{Manifest, PrepareSettings, Split};
use crate::dataset::names::OFFICIAL_URL;
use crate::dataset::prepare::{Input, Request, Summary, prepare};
use crate::dataset::{demo, manifest};
use crate::error::{Error, Result};

/// As many files as a list shows.
const MOST_FILES: usize = 20;

const EXAMPLES: &str = "\
Examples:
  vggkit prepare                                     what lies in data/; downloads the official archive if nothing does
  vggkit prepare --url http://my.mirror/tiny.zip     from a mirror
  vggkit prepare --source tiny-imagenet-200.zip      a zip or a folder in the official layout
  vggkit prepare --classes 10 --per-class 100        a small part of it: the first
  vggkit prepare --classes 10 --seed 1               ten drawn classes; the same seed draws the same
  vggkit prepare --classes goldfish,n02123045        these; or a file with a class a line
  vggkit prepare --source pets --val-share 0.2       own images: pets/<class>/*.jpg, a fifth of each for validation
  vggkit prepare --skip-corrupt --drop-leaks         without broken files, and train images that val or test have too
  vggkit prepare --demo                              a drawn data set in data/demo: no download

Official archive: http://cs231n.stanford.edu/tiny-imagenet-200.zip (248 MB)";

/// Tiny ImageNet, or own images -> verified class folders and packs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Zip or folder in the official layout, or of own images in a folder for each class [default: the one in the data folder; where there is none, it is downloaded]
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Where to download from when no source is there, by http or https [default: the official address]
    #[arg(long, value_name = "URL", conflicts_with_all = ["source", "demo"])]
    url: Option<String>,
    /// What the MD5 of the download must be [default: the official archive's]
    #[arg(long, value_name = "HEX", requires = "url", value_parser = md5)]
    md5: Option<String>,
    /// Draw a synthetic set into <data>/demo instead: shapes and textures, 10 classes
    #[arg(long, conflicts_with = "source")]
    demo: bool,
    /// Only some classes: the first N in sorted order, those listed in FILE, or these, by wnid, folder or readable name
    #[arg(long, value_name = "N|FILE|NAME,...", value_parser = Classes::parse)]
    classes: Option<Classes>,
    /// Only the first N train images of each class (the official archive has 500)
    #[arg(long, value_name = "N", value_parser = values::whole(NonZeroUsize::MIN), allow_negative_numbers = true)]
    per_class: Option<NonZeroUsize>,
    /// Share of each class's train images that becomes val, where the source has none, drawn by --seed [default: 0.1]
    #[arg(long, value_name = "SHARE", conflicts_with = "demo", value_parser = share, allow_negative_numbers = true)]
    val_share: Option<f64>,
    /// Pixels a side of the images in the packs, 8 to 512 [default: as most of the images are, up to 256; else 64]
    #[arg(long, value_name = "N", conflicts_with = "demo", value_parser = values::within(8..=512u32, "pixels"),
          allow_negative_numbers = true)]
    size: Option<u32>,
    /// Draw what --classes N and --per-class N take instead of taking the first, and what is held out as val; with --demo: of
    /// the images [default: 0]
    #[arg(long, value_name = "N", value_parser = values::whole(0u64), allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Leave out files that cannot be used, and record them in the manifest, instead of preparing nothing
    #[arg(long)]
    skip_corrupt: bool,
    /// Leave out train images that also stand in val or test, and record them in the manifest
    #[arg(long)]
    drop_leaks: bool,
    /// Write packs only, no class folders
    #[arg(long)]
    no_folders: bool,
    /// Prepare even if nothing changed, and remove what stands in the way, though prepare did not write it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    shared: Shared,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    data: &'a Path,
    unchanged: bool,
    seconds: f64,
    foreign: &'a [String],
    removed: &'a [String],
    manifest: &'a Manifest,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { source, url, md5, demo, shared, .. } = arguments;
    let Arguments { classes, per_class, seed, val_share, size, skip_corrupt, drop_leaks, no_folders, force, .. } =
        arguments;
    let size = size.map(|side| side as usize);
    let per_class = per_class.map(NonZeroUsize::get);
    let mut settings =
        PrepareSettings { classes, per_class, seed, val_share, size, no_folders, skip_corrupt, drop_leaks };
    let (data, input) = if demo {
        let usual = demo::DemoSettings::default();
        let demo = demo::DemoSettings {
            classes: match &settings.classes {
                None => usual.classes,
                Some(Classes::Count(count)) => *count,
                Some(Classes::Named(_)) => return Err(Error::usage("--demo takes --classes N: it draws the first N")),
            },
            per_class: per_class.unwrap_or(usual.per_class),
            seed: seed.unwrap_or(usual.seed),
        };
        demo.check()?;
        settings.seed = Some(demo.seed);
        (shared.data().join("demo"), Input::Demo(demo))
    } else {
        let draws = per_class.is_some() || val_share.is_some() || matches!(settings.classes, Some(Classes::Count(_)));
        if seed.is_some() && !draws {
            let what = "--seed draws what --classes N, --per-class N and --val-share take; none of them is there";
            return Err(Error::usage(what));
        }
        let url = url.unwrap_or_else(|| OFFICIAL_URL.into());
        (shared.data().to_path_buf(), source.map_or(Input::Found { url, md5 }, Input::Given))
    };
    let request =
        Request { data, input, settings, force, threads: shared.threads(), quiet: shared.quiet || shared.json };
    let summary = prepare(&request)?;
    if shared.json {
        let Summary { manifest, foreign, removed, unchanged, seconds, .. } = &summary;
        let (schema, data) = ("vggkit/prepare/1", &request.data);
        output::json(&Report { schema, data, unchanged: *unchanged, seconds: *seconds, foreign, removed, manifest })?;
    } else if !shared.quiet {
        output::print(&text(&request.data, &summary));
    }
    Ok(ExitCode::SUCCESS)
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a share is a number such as 0.1")?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err("a share lies between 0 and 1, both left out".into()) }
}

fn md5(text: &str) -> std::result::Result<String, String> {
    if text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_owned())
    } else {
        Err("an MD5 has 32 hexadecimal digits".into())
    }
}

fn text(data: &Path, summary: &Summary) -> String {
    let Summary { manifest, notes, foreign, removed, unchanged, seconds } = summary;
    let Manifest { classes, height, width, synthetic, .. } = manifest;
    let count = output::count;
    let mut text = if *unchanged {
        format!("Already prepared, nothing changed: {}\n", data.display())
    } else {
        format!("Prepared {} in {seconds:.1} s\n", data.display())
    };
    let kind = match (*synthetic, manifest.is_of_imagenet()) {
        (true, _) => "SYNTHETIC (drawn, not photographed)",
        (_, true) => "Tiny ImageNet",
        _ => "own images",
    };
    text += &format!("\n  {kind}: {} classes, {width} x {height} pixels\n", count(classes.len()));
    text += &format!("  from {}\n\n", manifest.source.path);
    text += "  split     images   a class   greyscale\n";
    for name in manifest::SPLITS {
        let Some(split) = manifest.splits.get(name) else { continue };
        let each = if split.labelled {
            format!("{:.0}", split.images as f64 / classes.len().max(1) as f64)
        } else {
            "-".into()
        };
        text += &format!("  {name:<6} {:>9} {each:>9} {:>11}\n", count(split.images), count(split.greyscale));
    }
    let all = |number: fn(&Split) -> usize| manifest.splits.values().map(number).sum::<usize>();
    let resized = all(|s| s.resized);
    if resized > 0 {
        text += &format!("\n  note: {} images of other sizes were resized in the packs\n", count(resized));
    }
    for (images, what) in [
        (all(|s| s.turned), "turned in the packs as the EXIF orientation says; the files stay as they are"),
        (all(|s| s.transparent), "transparent in places, where the packs have white"),
        (all(|s| s.animated), "animated, of which the packs have the first picture"),
    ] {
        if images > 0 {
            text += &format!("\n  note: {} {} {what}\n", count(images), if images == 1 { "image" } else { "images" });
        }
    }
    notes.iter().for_each(|note| text += &format!("\n  note: {note}\n"));
    if !manifest.left_out.is_empty() {
        let lines = manifest.left_out.iter().map(|manifest::LeftOut { path, reason }| format!("{path}: {reason}"));
        let lines: Vec<_> = lines.collect();
        text += &list(&format!("left out, and listed in manifest.json: {} files", count(lines.len())), &lines);
    }
    text += &list(&format!("not in the manifest, and left as they are: {}", count(foreign.len())), foreign);
    let gone = "removed as --force asks, though `vggkit prepare` did not write them";
    text += &list(&format!("{gone}: {}", count(removed.len())), removed);
    let [r, g, b] = manifest.mean;
    let [sr, sg, sb] = manifest.std;
    text += &format!("\n  mean of train {r:.4} {g:.4} {b:.4}, deviation {sr:.4} {sg:.4} {sb:.4}\n");
    let folders = if manifest.splits.values().all(|split| split.files_sha256.is_empty()) {
        ""
    } else {
        "{train,val,test}/ (ImageFolder), "
    };
    text += &format!("  in {}: {folders}packs/, manifest.json\n", data.display());
    let flag = if data == Path::new("data") { String::new() } else { format!(" --data {}", data.display()) };
    text += &format!("\nNext: vggkit verify{flag}, then vggkit train{flag}\n");
    text
}

/// A heading and the first files; nothing where there are none.
fn list(heading: &str, files: &[String]) -> String {
    if files.is_empty() {
        return String::new();
    }
    let shown: String = files.iter().take(MOST_FILES).map(|file| format!("    {file}\n")).collect();
    let more = files.len().saturating_sub(MOST_FILES);
    let more = if more > 0 { format!("    ... and {} more\n", output::count(more)) } else { String::new() };
    format!("\n  {heading}\n{shown}{more}")
}
