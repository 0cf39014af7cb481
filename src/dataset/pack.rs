//! A split as one safetensors file: `images` u8 [N,H,W,3], `labels` i64 [N] (absent for test), `boxes` i16 [N,4]
//! where known (x0, y0, x1, y1 in pixels; -1 in all four where one image has none), and in `__metadata__`
//! `schema`, `split`, `synthetic`, and as JSON `wnids`, `names`, `files`, `mean`, `std`.
//!
//! A pack is memory-mapped, never read whole. Opening checks everything but the pixels themselves;
//! those are checked against their checksum by `vggkit verify`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use super::manifest::Manifest;
use super::prepare_command::prepare_command;
use crate::engine::{Images, Normalisation};
use crate::error::{Error, Kind, Result};
use crate::files::{Map, fs};

/// The value of `schema` in the metadata.
pub const SCHEMA: &str = "vggkit/pack/1";

/// Stands in `boxes` for an image without one.
pub const NO_BOX: [i16; 4] = [-1; 4];

/// An open pack.
#[derive(Clone)]
pub struct Pack {
    /// Where it lies.
    pub path: PathBuf,
    /// Pixels and labels as engines take them.
    pub images: Images,
    /// In class-index order.
    pub wnids: Vec<String>,
    /// Readable names, same order.
    pub names: Vec<String>,
    /// File name of each image.
    pub files: Vec<String>,
    /// Mean and standard deviation of train, in 0..1.
    pub normalisation: Normalisation,
    /// x0, y0, x1, y1 of each image ([`NO_BOX`] where one has none); empty where the pack has none.
    pub boxes: Vec<[i16; 4]>,
    /// Drawn, not photographed.
    pub synthetic: bool,
    map: Arc<Map>,
}

impl Pack {
    /// `<data>/packs/<split>.safetensors`.
    pub fn path_of(data: &Path, split: &str) -> PathBuf {
        data.join("packs").join(format!("{split}.safetensors"))
    }

    /// Maps the pack of a split. Errors: missing (says to run `vggkit prepare`), not a pack, tensors that do not fit
    /// each other, labels outside the classes.
    pub fn open(data: &Path, split: &str) -> Result<Self> {
        let path = Self::path_of(data, split);
        let file = match fs::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(missing(data, split, &path)),
            Err(e) => return Err(Error::io("cannot read", &path, e)),
        };
        let anew = format!("run `{}` again to write the packs anew", prepare_command(data));
        let map = Map::of(
            file,
            &path,
            &format!("{anew}, with --force where its size is right; a training then goes on with --resume"),
        )?;
        Self::from_map(path, map, &anew)
    }

    /// Errors: the file has been cut or written to since it was opened.
    pub fn check(&self) -> Result<()> {
        self.map.check()
    }

    /// The RGB pixels of one image, [height, width, 3].
    ///
    /// # Panics
    /// When `index` is not below `images.count`, as indexing a slice does.
    pub fn pixels(&self, index: usize) -> &[u8] {
        let size = self.images.height * self.images.width * 3;
        let all: &[u8] = (*self.images.pixels).as_ref();
        &all[index * size..(index + 1) * size]
    }

    /// A name for each image that no other of the pack has: its file name or, where files of several classes have that, with
    /// the class ahead of it, as `<wnid>/<file>`.
    pub fn image_names(&self) -> Vec<String> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        self.files.iter().for_each(|file| *seen.entry(file).or_default() += 1);
        let class = |index: usize| self.images.labels.get(index).and_then(|label| self.wnids.get(*label as usize));
        let name = |(index, file): (usize, &String)| match class(index).filter(|_| seen[file.as_str()] > 1) {
            Some(class) => format!("{class}/{file}"),
            None => file.clone(),
        };
        self.files.iter().enumerate().map(name).collect()
    }

    fn from_map(path: PathBuf, map: Map, anew: &str) -> Result<Self> {
        let broken = |what: String| Error::data(&path, what).with_help(anew);
        let tensors =
            SafeTensors::deserialize(&map).map_err(|e| broken(format!("not a whole safetensors file ({e})")))?;
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|e| broken(e.to_string()))?;
        let metadata = Metadata { path: &path, map: header.metadata().clone().unwrap_or_default() };
        let schema = metadata.text("schema")?;
        if schema != SCHEMA {
            return Err(broken(format!("its schema is `{schema}`, this version reads `{SCHEMA}`")));
        }
        let wnids: Vec<String> = metadata.json("wnids")?;
        let names: Vec<String> = metadata.json("names")?;
        let files: Vec<String> = metadata.json("files")?;
        let normalisation = Normalisation { mean: metadata.json("mean")?, std: metadata.json("std")? };
        let synthetic: bool = metadata.json("synthetic")?;
        if names.len() != wnids.len() {
            return Err(broken(format!("{} names for {} classes", names.len(), wnids.len())));
        }
        if normalisation.std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            return Err(broken("its standard deviation is not positive".into()));
        }

        let images = tensors.tensor("images").map_err(|_| broken("it has no tensor `images`".into()))?;
        let &[count, height, width, 3] = images.shape() else {
            return Err(broken(format!("`images` has shape {:?} instead of [N, height, width, 3]", images.shape())));
        };
        if images.dtype() != Dtype::U8 {
            return Err(broken(format!("`images` is {:?} instead of U8", images.dtype())));
        }
        if count == 0 || height == 0 || width == 0 {
            return Err(broken(format!("`images` is empty: shape {:?}", images.shape())));
        }
        if u32::try_from(count).is_err() {
            return Err(broken(format!("{count} images are more than an index of 32 bits can name")));
        }
        if files.len() != count {
            return Err(broken(format!("{} file names for {count} images", files.len())));
        }

        let labels = match tensors.tensor("labels") {
            Err(_) => Vec::new(),
            Ok(labels) => {
                if labels.dtype() != Dtype::I64 || labels.shape() != [count] {
                    let (dtype, shape) = (labels.dtype(), labels.shape());
                    return Err(broken(format!("`labels` is {dtype:?} {shape:?} instead of I64 [{count}]")));
                }
                let (numbers, _) = labels.data().as_chunks::<8>();
                let labels: Vec<i64> = numbers.iter().map(|b| i64::from_le_bytes(*b)).collect();
                if let Some(i) = labels.iter().position(|&l| usize::try_from(l).map_or(true, |l| l >= wnids.len())) {
                    let classes = wnids.len();
                    return Err(broken(format!(
                        "`{}` has label {}, but there are {classes} classes",
                        files[i], labels[i]
                    )));
                }
                labels.into_iter().map(|l| l as u32).collect() // checked above: below the number of classes
            }
        };
        let boxes = match tensors.tensor("boxes") {
            Err(_) => Vec::new(),
            Ok(boxes) => {
                if boxes.dtype() != Dtype::I16 || boxes.shape() != [count, 4] {
                    let (dtype, shape) = (boxes.dtype(), boxes.shape());
                    return Err(broken(format!("`boxes` is {dtype:?} {shape:?} instead of I16 [{count}, 4]")));
                }
                let (boxes, _) = boxes.data().as_chunks::<8>();
                boxes.iter().map(|b| [0, 2, 4, 6].map(|i| i16::from_le_bytes([b[i], b[i + 1]]))).collect()
            }
        };

        // The tensor borrows the map: its place in the file is what outlives that borrow.
        let start = images.data().as_ptr() as usize - map.as_ptr() as usize;
        let range = start..start + images.data().len();
        let map = Arc::new(map);
        let images = Images {
            pixels: Arc::new(Mapped { map: Arc::clone(&map), range }),
            count,
            height,
            width,
            labels: labels.into(),
        };
        Ok(Self { path, images, wnids, names, files, normalisation, boxes, synthetic, map })
    }
}

/// The pixels' part of a mapped file.
struct Mapped {
    map: Arc<Map>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

/// `__metadata__`: text by name, some of it JSON.
struct Metadata<'a> {
    path: &'a Path,
    map: HashMap<String, String>,
}

impl Metadata<'_> {
    fn text(&self, key: &str) -> Result<&str> {
        self.map.get(key).map(String::as_str).ok_or_else(|| {
            Error::data(self.path, format!("not a pack of vggkit: `__metadata__` has no `{key}`"))
                .with_help("packs are written by `vggkit prepare`")
        })
    }

    fn json<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        serde_json::from_str(self.text(key)?)
            .map_err(|e| Error::data(self.path, format!("`{key}` of `__metadata__` cannot be read: {e}")))
    }
}

/// No pack: says what is there instead.
fn missing(data: &Path, split: &str, path: &Path) -> Error {
    let error = Error::new(Kind::Data, format!("there is no split `{split}` in {}", data.display()))
        .with_source(std::io::Error::new(std::io::ErrorKind::NotFound, format!("{} is missing", path.display())));
    let packs: Vec<String> = path
        .parent()
        .and_then(|folder| folder.read_dir().ok())
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
        .collect();
    if !packs.is_empty() {
        let mut packs = packs;
        packs.sort();
        return error.with_help(format!("there is {}", packs.join(", ")));
    }
    let (prepare, demo) = (prepare_command(data), data.join("demo"));
    error.with_help(if prepare.contains("--demo") {
        format!("run `{prepare}` first")
    } else if Manifest::path(&demo).exists() {
        format!("run `{prepare}` first, or use the demo set with `--data {}`", demo.display())
    } else {
        format!("run `{prepare}` first (`vggkit prepare --demo` makes a data set in data/demo without download)")
    })
}

#[cfg(test)]
mod tests {
    use super::super::pack_writer::{PackHeader, PackWriter};
    use super::*;
    use crate::test_support::pack_header;

    fn header() -> PackHeader {
        PackHeader {
            synthetic: true,
            height: 2,
            width: 3,
            wnids: vec!["n1".into(), "n2".into()],
            names: vec!["one".into(), "zwei, \"drei\"\t\u{fc}".into()],
            files: vec!["a.JPEG".into(), "b.JPEG".into(), "c.JPEG".into()],
            labels: Some(vec![0, 1, 1]),
            boxes: Some(vec![[0, 0, 2, 1], NO_BOX, [1, 0, 2, 1]]),
            ..pack_header("train")
        }
    }

    fn write(data: &Path, header: &PackHeader) -> String {
        let path = Pack::path_of(data, &header.split);
        let writer = PackWriter::create(&path, header).unwrap();
        let pixels: Vec<u8> = (0..54).map(|i| (i * 7 % 251) as u8).collect();
        writer.write(1, &pixels[18..]).unwrap(); // in any order
        writer.write(0, &pixels[..18]).unwrap();
        writer.finish(Normalisation { mean: [0.1, 0.25, 1.0 / 3.0], std: [0.2, 0.3, 0.4] }).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let data = tempfile::tempdir().unwrap();
        let header = header();
        let sha256 = write(data.path(), &header);
        let pack = Pack::open(data.path(), "train").unwrap();
        assert_eq!(sha256, crate::files::sha256(&pack.path).unwrap());
        assert_eq!((pack.images.count, pack.images.height, pack.images.width), (3, 2, 3));
        assert_eq!(*pack.images.labels, [0, 1, 1]);
        assert_eq!(pack.boxes, header.boxes.clone().unwrap());
        assert_eq!((&pack.wnids, &pack.names, &pack.files), (&header.wnids, &header.names, &header.files));
        assert_eq!(pack.normalisation.mean, [0.1, 0.25, 1.0 / 3.0]);
        assert!(pack.synthetic);
        assert_eq!(pack.pixels(2), (36..54).map(|i: usize| (i * 7 % 251) as u8).collect::<Vec<_>>());
        let again = tempfile::tempdir().unwrap();
        assert_eq!(sha256, write(again.path(), &header), "the same content gives the same bytes");
    }

    #[test]
    fn a_test_split_has_no_labels() {
        let data = tempfile::tempdir().unwrap();
        write(data.path(), &PackHeader { split: "test".into(), labels: None, boxes: None, ..header() });
        let pack = Pack::open(data.path(), "test").unwrap();
        assert!(pack.images.labels.is_empty() && pack.boxes.is_empty());
        let error = Pack::open(data.path(), "val").err().unwrap();
        assert!(error.to_string().contains("no split `val`"), "{error}");
        assert_eq!(error.help(), Some("there is test"));
    }

    #[test]
    fn damage_is_named() {
        let data = tempfile::tempdir().unwrap();
        let path = Pack::path_of(data.path(), "train");
        let failure = |header: &PackHeader| {
            write(data.path(), header);
            Pack::open(data.path(), "train").err().unwrap().to_string()
        };
        let wrong = failure(&PackHeader { labels: Some(vec![0, 2, 1]), ..header() });
        assert!(wrong.contains("`b.JPEG` has label 2, but there are 2 classes"), "{wrong}");
        let wrong = failure(&PackHeader { names: vec!["one".into()], ..header() });
        assert!(wrong.contains("1 names for 2 classes"), "{wrong}");

        write(data.path(), &header());
        let whole = std::fs::read(&path).unwrap();
        let mean = whole.windows(5).position(|bytes| bytes == b",0.25").unwrap();
        std::fs::write(&path, [&whole[..mean], b",9e99", &whole[mean + 5..]].concat()).unwrap();
        let error = Pack::open(data.path(), "train").err().unwrap().to_string();
        assert!(error.contains("`mean` of `__metadata__` cannot be read: number out of range"), "{error}");
        for cut in [0, 4, 8, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Pack::open(data.path(), "train").err().unwrap().to_string();
            assert!(error.contains("train.safetensors"), "cut at {cut}: {error}");
        }
        std::fs::write(&path, safetensors_of_something_else()).unwrap();
        let error = Pack::open(data.path(), "train").err().unwrap().to_string();
        assert!(error.contains("not a pack of vggkit"), "{error}");
    }

    fn safetensors_of_something_else() -> Vec<u8> {
        let view = safetensors::tensor::TensorView::new(Dtype::U8, vec![2], &[1, 2]).unwrap();
        safetensors::serialize([("images", view)], None).unwrap()
    }
}
