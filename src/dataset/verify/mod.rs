//! Is a data set what it claims to be, and what is in it? Prepared data: packs against checksums, class folders against
//! packs. A zip or folder that is yet to be prepared: lists against images. Of both every image is decoded, and compared
//! with all others.
//!
//! Reads everything, changes nothing; whoever calls writes `verify.json`. Prepared data is not compared with its source,
//! which may be gone.

use std::time::Instant;

use super::finding::Findings;
pub use super::finding::{Finding, Severity};
use crate::error::Result;
use crate::files;

mod duplicates;
mod folders;
mod look;
pub mod near;
mod official;
mod packs;
mod prepared;
mod quality;
mod raw;
mod request;
mod seen;
mod verification;

pub use request::{Request, Target};
use seen::Seen;
pub use verification::{Counts, SCHEMA, Verification};

/// Verifies a data set. What is wrong with it is a finding; an error is only what leaves nothing to look at: nothing
/// there, a data folder that was never prepared, or one that was prepared anew meanwhile.
pub fn verify(request: &Request) -> Result<Verification> {
    let begun = Instant::now();
    let (Target::Prepared(path) | Target::Source(path)) = &request.target;
    let mut result = Verification {
        schema: SCHEMA.into(),
        vggkit: env!("CARGO_PKG_VERSION").into(),
        created: files::now(),
        data: path.display().to_string(),
        ..Verification::default()
    };
    let mut findings = Findings::default();
    super::workers(request.threads)?.install(|| {
        match &request.target {
            Target::Prepared(data) => {
                if let Some(prepared) = prepared::open(data, &mut findings)? {
                    let seen = prepared.check(request, &mut result, &mut findings);
                    compare(&seen, request, &mut findings);
                    prepared.still_there()?;
                }
            }
            Target::Source(path) => {
                if let Some(raw) = raw::open(path, &mut findings)? {
                    let seen = raw.check(request, &mut result, &mut findings);
                    compare(&seen, request, &mut findings);
                }
            }
        }
        Ok(())
    })?;
    findings.0.sort_by_key(|f| f.severity); // stable: in the order of the checks
    result.findings = findings.0;
    if result.findings.iter().any(|finding| finding.code == "own-images") {
        result.splits.values_mut().for_each(|counts| counts.official = 0);
    }
    result.fit = result.count(Severity::Error) == 0;
    result.seconds = begun.elapsed().as_secs_f64();
    Ok(result)
}

fn compare(seen: &Seen, request: &Request, findings: &mut Findings) {
    let groups = duplicates::check(&seen.looks, &*seen.pixels, findings);
    if let Some(most) = request.near {
        near::check(&seen.looks, &groups, (most.min(near::MOST), seen.size), &*seen.pixels, findings);
    }
    quality::check(&seen.looks, findings);
}
