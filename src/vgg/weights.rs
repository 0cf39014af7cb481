//! Weight files: safetensors with torchvision's parameter names and OIHW layout, so that
//! `torch_model.load_state_dict(safetensors.torch.load_file(path))` works with no renaming.
//!
//! Tensors named `optimizer.*` or `averaged.*` and the metadata belong to the trainer and pass through unread. What PyTorch pickles is not
//! read, since a pickle is a program; the error says how to convert it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};

use super::operation::Operation;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::files::{self, Map};

/// A tensor beside the network's own: name, shape, values.
pub type Extra<'a> = (String, Vec<usize>, &'a [f32]);

/// A tensor of a file: name, type, shape, bytes.
pub type Entry<'a> = (String, Dtype, Vec<usize>, &'a [u8]);

/// What a weight file held.
#[derive(Clone, Debug, Default)]
pub struct LoadedWeights {
    /// In the order of [`Plan::tensors`].
    pub tensors: Vec<Vec<f32>>,
    /// `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// Those that [`is_extra`].
    pub extra: BTreeMap<String, Vec<f32>>,
}

/// Whether a tensor of this name is the trainer's own, beside the network's weights.
pub(super) fn is_extra(name: &str) -> bool {
    name.starts_with("optimizer.") || name.starts_with("averaged.")
}

/// At most this many names are listed in an error.
const LISTED: usize = 12;

/// Writes `tensors` (in the order of [`Plan::tensors`]), each batch normalisation's `num_batches_tracked` (= `step`),
/// `extra` and `metadata`, atomically; no other process may write `path` at the same time. The header is padded so that every
/// tensor is aligned.
pub fn save(
    path: &Path,
    plan: &Plan,
    tensors: &[Vec<f32>],
    step: u64,
    metadata: &BTreeMap<String, String>,
    extra: &[Extra<'_>],
) -> Result<()> {
    let counter = i64::try_from(step).unwrap_or(i64::MAX).to_le_bytes();
    let mut entries: Vec<Entry<'_>> = Vec::new();
    // The 8-byte counters come first, so that they and the 4-byte floats behind them are aligned.
    for layer in plan.layers.iter().filter(|l| l.operation == Operation::BatchNorm2d) {
        entries.push((format!("{}.num_batches_tracked", layer.name), Dtype::I64, Vec::new(), &counter));
    }
    for (spec, values) in plan.tensors().into_iter().zip(tensors) {
        entries.push((spec.name, Dtype::F32, spec.shape, bytemuck::cast_slice(values)));
    }
    for (name, shape, values) in extra {
        entries.push((name.clone(), Dtype::F32, shape.clone(), bytemuck::cast_slice(values)));
    }
    let header = header(path, &entries, metadata)?;
    files::write_atomic_locked(path, |file| {
        file.write_all(&header)?;
        entries.iter().try_for_each(|(_, _, _, bytes)| file.write_all(bytes))
    })
}

/// What stands ahead of the bytes of `tensors` in a safetensors file, its own length included. It is padded so that the tensors are
/// aligned where those of the longest numbers come first, and its keys are sorted: the same state gives the same bytes.
pub fn header(path: &Path, tensors: &[Entry<'_>], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut offset = 0;
    let infos = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let data_offsets = (offset, offset + bytes.len());
            offset = data_offsets.1;
            (name.clone(), TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets })
        })
        .collect();
    let broken = |e: &dyn std::fmt::Display| Error::data(path, format!("cannot be laid out: {e}"));
    let header = Metadata::new(None, infos).map_err(|e| broken(&e))?;
    let mut header = serde_json::to_value(&header).map_err(|e| broken(&e))?;
    if let Some(object) = header.as_object_mut() {
        object.insert("__metadata__".to_owned(), serde_json::to_value(metadata).map_err(|e| broken(&e))?);
    }
    let mut text = header.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

/// `__metadata__` of a weight file, whose tensors stay unread.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    metadata_in(path, &map(path)?)
}

pub(super) fn map(path: &Path) -> Result<Map> {
    let file = files::fs::open(path).map_err(|e| Error::io("cannot read", path, e))?;
    Map::of(file, path, "restore it from a backup, or train again")
}

fn metadata_in(path: &Path, map: &[u8]) -> Result<BTreeMap<String, String>> {
    let (_, header) = SafeTensors::read_metadata(map).map_err(|e| damaged(path, map, &e))?;
    Ok(header.metadata().clone().unwrap_or_default().into_iter().collect())
}

/// All tensors of a file by torchvision's names: without what a wrapper (`module.`, `model.`) put ahead of each.
pub(super) fn tensors<'a>(path: &Path, map: &'a [u8]) -> Result<BTreeMap<String, TensorView<'a>>> {
    let file = SafeTensors::deserialize(map).map_err(|e| damaged(path, map, &e))?;
    let tensors = file.tensors();
    let ours = |name: &str| !is_extra(name);
    let ahead = |name: &str| ["features.", "classifier."].iter().filter_map(|part| name.find(part)).min();
    let wrapper =
        tensors.iter().filter(|(name, _)| ours(name)).filter_map(|(name, _)| Some(&name[..ahead(name)?])).min();
    let wrapper = wrapper.filter(|wrapper| wrapper.ends_with('.')).unwrap_or_default().to_owned();
    let short = |name: String| match name.strip_prefix(&wrapper) {
        Some(short) if ours(&name) => short.to_owned(),
        _ => name,
    };
    Ok(tensors.into_iter().map(|(name, view)| (short(name), view)).collect())
}

fn damaged(path: &Path, bytes: &[u8], e: &safetensors::SafeTensorError) -> Error {
    if is_pickle(bytes) {
        let new = path.with_extension("safetensors");
        let help = format!(
            "a pickle is a program, so it is not read. These two lines of Python convert it:\n    \
             import torch, safetensors.torch\n    \
             safetensors.torch.save_file(torch.load({path:?}, map_location=\"cpu\", weights_only=True), {new:?})\n  \
             (where it holds more than weights, name their key behind torch.load(...): often [\"state_dict\"])"
        );
        return Error::data(path, "is a file of torch.save, not safetensors").with_help(help);
    }
    Error::data(path, format!("is not a whole safetensors file ({e})"))
        .with_help("it is damaged or something else: restore it from a backup, or train again")
}

/// Reads a weight file for `plan`; f16, bf16 and f64 become f32. Errors name the file and list everything that does
/// not fit: missing, unexpected and wrongly shaped tensors.
pub fn load(path: &Path, plan: &Plan) -> Result<LoadedWeights> {
    let map = map(path)?;
    let metadata = metadata_in(path, &map)?;
    let mut unread = tensors(path, &map)?;
    for layer in plan.layers.iter().filter(|l| l.operation == Operation::BatchNorm2d) {
        unread.remove(&format!("{}.num_batches_tracked", layer.name)); // counts steps, decides nothing
    }
    let mut tensors = Vec::new();
    let mut problems = Vec::new();
    for spec in plan.tensors() {
        let Some(view) = unread.remove(&spec.name) else {
            problems.push(format!("{} is missing", spec.name));
            continue;
        };
        if view.shape() != spec.shape {
            problems.push(format!("{} has shape {:?}, the network needs {:?}", spec.name, view.shape(), spec.shape));
            continue;
        }
        match floats(view.dtype(), view.data()) {
            Some(values) => tensors.push(values),
            None => problems.push(format!("{} holds {:?}, not floating point", spec.name, view.dtype())),
        }
    }
    let mut extra = BTreeMap::new();
    for (name, view) in unread {
        if is_extra(&name) {
            match floats(view.dtype(), view.data()) {
                Some(values) => drop(extra.insert(name, values)),
                None => problems.push(format!("{name} holds {:?}, not floating point", view.dtype())),
            }
        } else {
            problems.push(format!("{name} is not part of the network"));
        }
    }
    if problems.is_empty() {
        Ok(LoadedWeights { tensors, metadata, extra })
    } else {
        Err(misfit(path, plan, &problems))
    }
}

fn misfit(path: &Path, plan: &Plan, problems: &[String]) -> Error {
    Error::data(path, format!("does not fit {}: {}", plan.network.title(), listed(problems))).with_help(
        "depth, width, classes and batch normalisation must be those that the weights were trained with; a training \
                    takes the layers that fit with --init-partial",
    )
}

/// At most [`LISTED`] of them, and how many more there are.
pub(super) fn listed(problems: &[String]) -> String {
    let shown = problems[..problems.len().min(LISTED)].join("; ");
    if problems.len() > LISTED { format!("{shown}; and {} more", problems.len() - LISTED) } else { shown }
}

/// Whether `torch.save` wrote it: a zip that begins with a pickle or, before PyTorch 1.6, a pickle of its magic number.
fn is_pickle(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(256)];
    let zipped = head.starts_with(b"PK\x03\x04") && head.windows(8).any(|name| name == b"data.pkl");
    zipped || matches!(head, [0x80, 2..=5, ..])
}

/// Little-endian numbers as f32; `None` for integers.
pub(super) fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounding f64 to f32 is what is asked for")]
    match dtype {
        Dtype::F32 => Some(each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        Dtype::F16 => Some(each(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(each(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::{Network, initialisation};

    fn plan() -> Plan {
        Network { width: 0.05, image_size: 32, classes: 3, ..Network::default() }.plan().expect("a plan")
    }

    #[test]
    fn what_is_saved_is_loaded() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        let tensors = initialisation::initialise(&plan(), 1);
        let metadata = BTreeMap::from([("a".to_owned(), "ü\"\n".to_owned())]);
        let extra = [1.0, -2.5];
        let extras =
            [("optimizer.x".into(), vec![2], &extra[..]), ("averaged.features.0.bias".into(), vec![2], &extra)];
        save(&path, &plan(), &tensors, 9, &metadata, &extras)?;
        let first = std::fs::read(&path).expect("bytes");
        let loaded = load(&path, &plan())?;
        assert_eq!(loaded.tensors, tensors);
        assert_eq!(loaded.metadata, metadata);
        assert_eq!([&loaded.extra["optimizer.x"][..], &loaded.extra["averaged.features.0.bias"]], [extra, extra]);
        let file = SafeTensors::deserialize(&first).expect("safetensors");
        let counter = file.tensor("features.1.num_batches_tracked").expect("there");
        assert_eq!((counter.data(), counter.shape()), (&9_i64.to_le_bytes()[..], &[][..]));
        save(&path, &plan(), &tensors, 9, &metadata, &extras)?;
        assert_eq!(std::fs::read(&path).expect("bytes"), first);
        Ok(())
    }

    #[test]
    fn every_misfit_is_listed() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        save(&path, &plan(), &initialisation::initialise(&plan(), 1), 0, &BTreeMap::new(), &[])?;
        let other = Network { classes: 4, batch_norm: false, ..plan().network }.plan()?;
        let error = load(&path, &other).expect_err("other classes").to_string();
        for part in
            ["w.safetensors", "classifier.6.bias has shape [3], the network needs [4]", "features.3.weight is missing"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        Ok(())
    }

    #[test]
    fn half_precision_becomes_single() {
        assert_eq!(floats(Dtype::F16, &half::f16::from_f32(1.5).to_le_bytes()), Some(vec![1.5]));
        assert_eq!(floats(Dtype::BF16, &half::bf16::from_f32(-2.0).to_le_bytes()), Some(vec![-2.0]));
        assert_eq!(floats(Dtype::F64, &0.25_f64.to_le_bytes()), Some(vec![0.25]));
        assert_eq!(floats(Dtype::I64, &[0; 8]), None);
    }

    #[test]
    fn files_of_others_are_read_and_what_they_have_too_much_is_named() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        let tensors = initialisation::initialise(&plan(), 1);
        // As PyTorch saves a model without batch counters, in half precision, with one tensor of its own.
        let halves: Vec<Vec<u8>> =
            tensors.iter().map(|t| t.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()).collect();
        let views = |extra: Option<&'static str>| {
            let specs = plan().tensors();
            let own = specs.into_iter().zip(&halves).map(|(s, b)| (s.name, s.shape, b.as_slice()));
            let other = extra.map(|name| (name.to_owned(), vec![1], &[0_u8; 2][..]));
            let view = |shape, bytes| safetensors::tensor::TensorView::new(Dtype::F16, shape, bytes).expect("a view");
            own.chain(other).map(|(name, shape, bytes)| (name, view(shape, bytes))).collect::<Vec<_>>()
        };
        std::fs::write(&path, safetensors::serialize(views(None), None).expect("bytes")).expect("written");
        let loaded = load(&path, &plan())?;
        assert_eq!(loaded.tensors[0][0], half::f16::from_f32(tensors[0][0]).to_f32());
        for name in ["ema.decay", "features.0.num_batches_tracked"] {
            std::fs::write(&path, safetensors::serialize(views(Some(name)), None).expect("bytes")).expect("written");
            let error = load(&path, &plan()).expect_err("one too many").to_string();
            assert!(error.contains(&format!("{name} is not part of the network")), "{error}");
        }
        Ok(())
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("w.safetensors");
        save(&path, &plan(), &initialisation::initialise(&plan(), 1), 0, &BTreeMap::new(), &[])?;
        let whole = std::fs::read(&path).expect("bytes");
        let header = 8 + u64::from_le_bytes(*whole.first_chunk().expect("8 bytes")) as usize;
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).expect("written");
            let error = load(&path, &plan()).err().unwrap_or_else(|| panic!("{what}: accepted"));
            assert!(error.to_string().contains("w.safetensors"), "{what}: {error}");
        };
        for length in [0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1, whole.len() - 1] {
            refused(&whole[..length], &format!("cut to {length} bytes"));
        }
        refused(&[&whole[..], &[0]].concat(), "a byte too many");
        for length in [u64::MAX, 1 << 40, whole.len() as u64] {
            refused(&[&length.to_le_bytes()[..], &whole[8..]].concat(), "a header longer than the file");
        }
        refused(&[0; 4096], "zeros");
        refused(b"PK\x03\x04 a zip, as torch.save writes it", "a zip");
        // A tensor that claims to be larger than memory, in a header that parses.
        let huge = br#"{"features.0.weight":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}    "#;
        refused(&[&(huge.len() as u64).to_le_bytes()[..], huge, &[0; 4]].concat(), "a huge shape");
        // A byte of the header changed: an error or the same network, never a panic.
        for position in (8..header).step_by(13) {
            let mut bytes = whole.clone();
            bytes[position] ^= 0x11;
            std::fs::write(&path, &bytes).expect("written");
            if let Ok(loaded) = load(&path, &plan()) {
                assert_eq!(loaded.tensors.len(), plan().tensors().len());
            }
        }
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("a folder of that name");
        assert!(load(&path, &plan()).is_err());
        Ok(())
    }
}
