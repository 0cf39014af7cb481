//! `vggkit export`: a run's best network as an ONNX file, or as weights and Python for PyTorch.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Shared, output};
use crate::error::{Error, Result};
use crate::export::onnx::{self, Input, Options};
use crate::export::{Trained, torch};
use crate::inference::model;
use crate::progress;

/// Write a run's best network for other programs: ONNX, or PyTorch
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit export vgg16                                runs/vgg16/network.onnx, for onnxruntime and others
  vggkit export vgg16 --input u8 --out cats.onnx     takes images as they are: u8, RGB, channels last
  vggkit export vgg16 --half                         half the size
  vggkit export vgg16 --format torch                 runs/vgg16/torch/: weights.safetensors and network.py

ONNX files have opset 17, any batch size, class names and preprocessing in their metadata, and logits as output; dropout is
left out. --half rounds weights to f16 and computes in it, while input, output and local response normalisation stay f32.
The weights are those that evaluate and predict take: of a training with --ema the averaged ones.")]
pub struct Arguments {
    /// A run's name or folder
    #[arg(value_name = "RUN")]
    run_given: PathBuf,
    /// What to write
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    format: Format,
    /// The ONNX file, or the folder for PyTorch [default: network.onnx or torch in the run's folder]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// What the ONNX graph is given
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    input: Input,
    /// Keep batch normalisation as nodes of the ONNX graph, where it otherwise goes into the convolutions
    #[arg(long)]
    no_fold: bool,
    /// Weights and layers of the ONNX graph in f16
    #[arg(long)]
    half: bool,
    /// Replace what is there, even if it is no export
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    shared: Shared,
}

/// What a network is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One file, for onnxruntime and whatever else reads ONNX
    #[default]
    Onnx,
    /// A folder with weights.safetensors and a network.py that builds the network and loads them
    Torch,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let shared = &arguments.shared;
    let options = Options { input: arguments.input, fold: !arguments.no_fold, half: arguments.half };
    if arguments.format == Format::Torch && options != Options::default() {
        return Err(Error::usage("--input, --no-fold and --half are of ONNX graphs")
            .with_help("leave them out, or give --format onnx"));
    }
    let folder = model::find(&shared.runs, &arguments.run_given)?;
    let trained = Trained::load(&folder)?;
    let about = trained.describe();
    let (format, out, bytes) = match arguments.format {
        Format::Onnx => {
            let out = arguments.out.clone().unwrap_or_else(|| folder.join("network.onnx"));
            let bytes = write_onnx(&out, trained, &options, &arguments)?;
            ("onnx", out, bytes)
        }
        Format::Torch => {
            let out = arguments.out.clone().unwrap_or_else(|| folder.join("torch"));
            let bytes = torch::write(&out, &trained, arguments.force)?;
            ("torch", out, bytes)
        }
    };
    if shared.json {
        let (schema, run, out) = ("vggkit/export/1", model::name(&folder), out.display().to_string());
        let summary = serde_json::json!({ "schema": schema, "run": run, "format": format, "out": out, "bytes": bytes });
        output::line(&summary.to_string());
    } else if !shared.quiet {
        output::line(&format!("{about}\n  -> {} ({:.1} MB)", out.display(), bytes as f64 / 1e6));
    }
    Ok(ExitCode::SUCCESS)
}

fn write_onnx(out: &Path, trained: Trained, options: &Options, arguments: &Arguments) -> Result<u64> {
    let quiet = arguments.shared.quiet || arguments.shared.json;
    let model = onnx::model(trained, options)?;
    let bar = progress::bytes("export", None, quiet);
    let length = onnx::write(out, &model, arguments.force, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    Ok(length as u64)
}
