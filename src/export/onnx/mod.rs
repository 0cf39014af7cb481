//! An ONNX file: the graph of a network with its weights, and in its metadata what the outputs mean and how an image becomes
//! the input.
//!
//! Opset 17, a free batch. It is one file: weights beyond protobuf's 2 GiB are refused.

use std::io::{Read, Write};
use std::path::Path;

use prost::Message;

use super::{Trained, in_the_way, json};
use crate::error::{Error, Kind, Result};
use crate::files::{self, fs};

pub mod graph;
pub mod messages;
mod options;

use messages::{Model, OperatorSet, Property};
pub use options::{Input, Options};

/// The value of `schema` in the metadata.
pub const SCHEMA: &str = "vggkit/onnx/1";
/// The operators' version: the oldest that is asked for, so that older runtimes read the file too.
pub const OPSET: i64 = 17;
/// The format's version that came with it.
pub const IR_VERSION: i64 = 8;
/// The largest message that protobuf can have.
const LARGEST: usize = i32::MAX as usize;

/// The whole file. Errors: weights that are not finite once folded, or beyond f16 where that is what is asked for.
pub fn model(trained: Trained, options: &Options) -> Result<Model> {
    let doc_string = format!("{}. Input: {}. Output: logits.", trained.describe(), options.input.describe());
    let metadata_props = metadata(&trained, options)?;
    Ok(Model {
        ir_version: IR_VERSION,
        producer_name: "vggkit".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string,
        graph: Some(graph::build(trained, options)?),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props,
    })
}

/// Keys and values, as docs/formats.md has them.
fn metadata(trained: &Trained, options: &Options) -> Result<Vec<Property>> {
    let network = &trained.plan.network;
    let (input, layout) = match options.input {
        Input::Float => ("float", "NCHW"),
        Input::U8 => ("u8", "NHWC"),
    };
    let pairs = [
        ("schema", SCHEMA.to_owned()),
        ("run", trained.run.clone()),
        ("step", trained.step.to_string()),
        ("digest", trained.digest.clone()),
        ("network", json(network)?),
        ("wnids", json(&trained.classes.wnids)?),
        ("names", json(&trained.classes.names)?),
        ("input", input.to_owned()),
        ("layout", layout.to_owned()),
        ("color_order", "RGB".to_owned()),
        ("image_size", network.image_size.to_string()),
        ("resize", "bilinear, antialiased".to_owned()),
        ("mean", json(&trained.normalisation.mean)?),
        ("std", json(&trained.normalisation.std)?),
        ("batch_norm", batch_norm(network.batch_norm, options.fold).to_owned()),
        ("precision", if options.half { "f16" } else { "f32" }.to_owned()),
    ];
    Ok(pairs.into_iter().map(|(key, value)| Property { key: key.to_owned(), value }).collect())
}

fn batch_norm(there: bool, fold: bool) -> &'static str {
    match (there, fold) {
        (false, _) => "none",
        (true, true) => "folded",
        (true, false) => "kept",
    }
}

/// Writes `model` to `path`, atomically. Its size in bytes. Errors: larger than protobuf can have, something in the way that is no
/// export (unless `force`), what the system refuses.
pub fn write(path: &Path, model: &Model, force: bool) -> Result<u64> {
    let length = model.encoded_len();
    check_length(length)?;
    if !force && !is_free(path)? {
        return Err(in_the_way(path));
    }
    files::write_atomic(path, |file| file.write_all(&model.encode_to_vec()))?;
    Ok(length as u64)
}

fn check_length(length: usize) -> Result<()> {
    if length <= LARGEST {
        return Ok(());
    }
    let gib = length as f64 / f64::from(1 << 30);
    Err(Error::new(Kind::Data, format!("the ONNX file would have {gib:.1} GiB, and protobuf allows 2"))
        .with_help("export it with --half, or as --format torch"))
}

/// Whether nothing is lost where `path` is written: nothing is there, nothing is in it, an export, a pipe or a device.
fn is_free(path: &Path) -> Result<bool> {
    if !path.is_file() {
        return Ok(true);
    }
    let cannot = |e| Error::io("cannot read", path, e);
    let mut head = Vec::new();
    fs::open(path).map_err(cannot)?.take(64).read_to_end(&mut head).map_err(cannot)?;
    let ours = Model { ir_version: IR_VERSION, producer_name: "vggkit".to_owned(), ..Model::default() };
    Ok(head.is_empty() || head.starts_with(&ours.encode_to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beyond_protobuf_is_refused() {
        assert!(check_length((1 << 31) - 1).is_ok());
        let error = check_length(1 << 31).expect_err("too large");
        assert!(error.to_string().contains("2.0 GiB") && error.help().is_some_and(|help| help.contains("--half")));
    }
}
