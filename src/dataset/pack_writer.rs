//! Writes a pack: the file is laid out in full before the first pixel is known, so that images can be written in
//! parallel to their places in the file. The same content always gives the same bytes.
//!
//! Never holds a pack in memory, and never touches an existing pack before the new one is complete.

use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::pack::SCHEMA;
use crate::engine::Normalisation;
use crate::error::{Error, Result};
use crate::files;
use crate::files::fs::{self, Writing};

/// Room for the digits of `mean` and `std`, which are known only when all pixels are.
const ROOM_FOR_STATISTICS: usize = 256;
/// The header is padded with spaces to a multiple of this, so that every tensor is aligned.
const ALIGNMENT: usize = 64;

/// Everything in a pack but its pixels and their statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct PackHeader {
    /// "train", "val" or "test".
    pub split: String,
    /// Drawn, not photographed.
    pub synthetic: bool,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// In class-index order.
    pub wnids: Vec<String>,
    /// Readable names, same order.
    pub names: Vec<String>,
    /// File name of each image; its length is the number of images.
    pub files: Vec<String>,
    /// Class index of each image, where the split has labels.
    pub labels: Option<Vec<i64>>,
    /// x0, y0, x1, y1 of each image, where any has one.
    pub boxes: Option<Vec<[i16; 4]>>,
}

#[derive(Serialize)]
struct Tensor {
    dtype: &'static str,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl PackHeader {
    fn pixel_bytes(&self) -> usize {
        self.files.len() * self.height * self.width * 3
    }

    /// The safetensors header as JSON; labels come first and pixels last, by falling alignment as the format asks.
    fn json(&self, statistics: Option<Normalisation>) -> serde_json::Result<String> {
        let mut metadata = BTreeMap::from([
            ("schema", SCHEMA.to_owned()),
            ("split", self.split.clone()),
            ("synthetic", self.synthetic.to_string()),
            ("wnids", serde_json::to_string(&self.wnids)?),
            ("names", serde_json::to_string(&self.names)?),
            ("files", serde_json::to_string(&self.files)?),
        ]);
        if let Some(Normalisation { mean, std }) = statistics {
            metadata.insert("mean", serde_json::to_string(&mean)?);
            metadata.insert("std", serde_json::to_string(&std)?);
        }
        let (count, mut end) = (self.files.len(), 0);
        let mut tensors = Vec::new();
        let mut add = |name: &str, dtype, shape: Vec<usize>, bytes: usize| {
            tensors.push((name.to_owned(), Tensor { dtype, shape, data_offsets: [end, end + bytes] }));
            end += bytes;
        };
        if self.labels.is_some() {
            add("labels", "I64", vec![count], count * 8);
        }
        if self.boxes.is_some() {
            add("boxes", "I16", vec![count, 4], count * 8);
        }
        add("images", "U8", vec![count, self.height, self.width, 3], self.pixel_bytes());
        // By hand: one object with `__metadata__` first and the tensors in the order of their offsets.
        let mut json = format!("{{\"__metadata__\":{}", serde_json::to_string(&metadata)?);
        for (name, tensor) in &tensors {
            json += &format!(",\"{name}\":{}", serde_json::to_string(tensor)?);
        }
        json.push('}');
        Ok(json)
    }
}

/// A pack in the making.
pub struct PackWriter {
    path: PathBuf,
    header: PackHeader,
    header_bytes: usize,
    file: NamedTempFile,
    pixels_at: usize,
}

impl PackWriter {
    /// Lays the file out beside `path` (whose folder is created) and writes labels and boxes; the pixels are black.
    pub fn create(path: &Path, header: &PackHeader) -> Result<Self> {
        let count = header.files.len();
        let fits = header.labels.as_ref().is_none_or(|l| l.len() == count)
            && header.boxes.as_ref().is_none_or(|b| b.len() == count);
        if !fits || count == 0 {
            return Err(Error::data(path, format!("labels or boxes do not fit the {count} images to be packed")));
        }
        let folder = files::parent(path);
        fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
        let failed = |e| Error::io("cannot write", path, e);
        let json = header.json(None).map_err(|e| Error::data(path, e))?;
        let header_bytes = (json.len() + ROOM_FOR_STATISTICS).next_multiple_of(ALIGNMENT);
        let mut file = files::temporary_beside(path)?;
        {
            let mut writer = BufWriter::with_capacity(1 << 20, Writing { file: file.as_file_mut(), path });
            let fill = |w: &mut BufWriter<_>| -> std::io::Result<()> {
                w.seek(SeekFrom::Start(8 + header_bytes as u64))?;
                for label in header.labels.iter().flatten() {
                    w.write_all(&label.to_le_bytes())?;
                }
                for side in header.boxes.iter().flatten().flatten() {
                    w.write_all(&side.to_le_bytes())?;
                }
                w.flush()
            };
            fill(&mut writer).map_err(failed)?;
        }
        let tables = 8 * (header.labels.as_ref().map_or(0, Vec::len) + header.boxes.as_ref().map_or(0, Vec::len));
        let pixels_at = 8 + header_bytes + tables;
        let length = (pixels_at + header.pixel_bytes()) as u64;
        files::reserve(file.as_file(), path, length).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), header: header.clone(), header_bytes, file, pixels_at })
    }

    /// Bytes of an image, u8 RGB [height, width, 3].
    pub fn image_bytes(&self) -> usize {
        self.header.height * self.header.width * 3
    }

    /// Writes whole images, u8 RGB [n, height, width, 3], from image `first` on; from any thread. Writing in pieces of
    /// about a megabyte instead of through a map saves the kernel a fault and a page of zeros for every 4 KiB.
    pub fn write(&self, first: usize, pixels: &[u8]) -> Result<()> {
        let offset = self.pixels_at + first * self.image_bytes();
        fs::write_all_at(self.file.as_file(), &self.path, pixels, offset as u64)
            .map_err(|e| Error::io("cannot write", &self.path, e))
    }

    /// Reads one image back, u8 RGB [height, width, 3].
    pub fn read(&self, image: usize) -> Result<Vec<u8>> {
        let mut pixels = vec![0; self.image_bytes()];
        let offset = (self.pixels_at + image * pixels.len()) as u64;
        let mut file = fs::open(self.file.path()).map_err(|e| Error::io("cannot read", &self.path, e))?;
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut pixels));
        read.map_err(|e| Error::io("cannot read", &self.path, e))?;
        Ok(pixels)
    }

    /// Writes the header, syncs and renames; returns the file's SHA-256 as hexadecimal.
    pub fn finish(self, statistics: Normalisation) -> Result<String> {
        let path = self.path;
        let mut json = self.header.json(Some(statistics)).map_err(|e| Error::data(&path, e))?;
        if json.len() > self.header_bytes {
            return Err(Error::data(&path, format!("its header of {} bytes is too long", json.len())));
        }
        json.extend(std::iter::repeat_n(' ', self.header_bytes - json.len()));
        let failed = |e| Error::io("cannot write", &path, e);
        let mut start = (self.header_bytes as u64).to_le_bytes().to_vec();
        start.extend(json.as_bytes());
        fs::write_all_at(self.file.as_file(), &path, &start, 0).map_err(failed)?;
        // The disk writes while the processor reads.
        let (synced, sha256) = rayon::join(|| fs::sync(self.file.as_file(), &path), || files::sha256(self.file.path()));
        synced.map_err(failed)?;
        let sha256 = sha256?;
        fs::persist(self.file, &path).map_err(failed)?;
        files::sync_folder(&files::parent(&path))?;
        Ok(sha256)
    }
}
