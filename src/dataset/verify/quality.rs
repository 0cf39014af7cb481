//! Images that teach little: blank, nearly blank, very dark, very blurred; those without colour; and those whose pixels are
//! not simply their file's.
//!
//! Of the official 120,000 images the limits name 2 as nearly blank, 54 as dark and 1 as blurred.

use super::look::Look;
use crate::dataset::finding::{Findings, Severity};

/// Standard deviation of luminance below which an image is nearly blank.
const LEAST_DEVIATION: f32 = 6.0;
/// Mean luminance below which an image is very dark.
const LEAST_MEAN: f32 = 12.0;
/// Variance of the Laplacian below which an image that is not nearly blank is very blurred.
const LEAST_SHARPNESS: f32 = 12.0;

/// Adds a finding for each kind.
pub fn check(looks: &[Look], findings: &mut Findings) {
    let mut note = |severity, code, what: &str, is: &dyn Fn(&Look) -> bool| {
        let files = looks.iter().filter(|look| is(look)).map(|look| look.file.clone()).collect();
        findings.about(severity, code, files, |n| format!("{n} {what}"));
    };
    let nearly_blank = |l: &Look| !l.measures.blank && l.measures.deviation < LEAST_DEVIATION;
    let dark = |l: &Look| !l.measures.blank && l.measures.mean < LEAST_MEAN;
    let blurred =
        |l: &Look| !l.measures.blank && !nearly_blank(l) && !dark(l) && l.measures.sharpness < LEAST_SHARPNESS;
    note(Severity::Warning, "blank", "of a single colour", &|l| l.measures.blank);
    note(Severity::Note, "nearly-blank", &format!("with a contrast below {LEAST_DEVIATION} of 255"), &nearly_blank);
    note(Severity::Note, "dark", &format!("with a mean luminance below {LEAST_MEAN} of 255"), &dark);
    note(
        Severity::Note,
        "blurred",
        &format!("with a sharpness (variance of the Laplacian) below {LEAST_SHARPNESS}"),
        &blurred,
    );
    note(Severity::Note, "greyscale-images", "with one component (greyscale)", &|l| l.greyscale);
    note(Severity::Note, "grey-pixels", "in colour, with grey pixels only", &|l| !l.greyscale && l.measures.grey);
    let turned = "turned as the EXIF orientation says; torchvision's ImageFolder does not turn them";
    note(Severity::Note, "turned", turned, &|l| l.adapted.turned);
    note(Severity::Note, "transparent", "transparent in places, seen over white", &|l| l.adapted.over_white);
    note(Severity::Note, "animated", "animated, of which the first picture is taken", &|l| l.adapted.first_picture);
}
