//! What is kept between runs for speed alone, in the user's cache folder: tuned variants and compiled pipelines.
//! Deleting it loses nothing but time, so nothing here is an error.

use std::io::Write;
use std::path::PathBuf;

use crate::engine::gpu::Store;
use crate::files::{self, fs};

/// A folder of such files.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Where.
    pub folder: PathBuf,
}

impl Cache {
    /// `VGGKIT_CACHE`, or `vggkit` in the system's folder for caches (`~/.cache` on Linux); `None` where there is none.
    pub fn of_user() -> Option<Self> {
        let given = std::env::var_os("VGGKIT_CACHE").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let folder = given.or_else(|| dirs::cache_dir().map(|folder| folder.join("vggkit")))?;
        Some(Self { folder })
    }
}

impl Store for Cache {
    fn load(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.join(name)).ok()
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        let _ = files::write_atomic(&self.folder.join(name), |file| file.write_all(bytes));
    }
}
