//! `vggkit export`: a run's best network as an ONNX file, or as weights and Python for PyTorch.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::arguments::shared::Shared;
use super::output;
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
    let line = progress::spinner("export", shared.quiet || shared.json);
    line.set_message(format!("reading {}", folder.display()));
    let trained = Trained::load(&folder)?;
    let about = trained.describe();
    let (format, name) = match arguments.format {
        Format::Onnx => ("onnx", "network.onnx"),
        Format::Torch => ("torch", "torch"),
    };
    let out = arguments.out.unwrap_or_else(|| folder.join(name));
    line.set_message(format!("writing {}", out.display()));
    let bytes = match arguments.format {
        Format::Onnx => onnx::write(&out, &onnx::model(trained, &options)?, arguments.force)?,
        Format::Torch => torch::write(&out, &trained, arguments.force)?,
    };
    line.finish_and_clear();
    if shared.json {
        let (schema, run, out) = ("vggkit/export/1", model::name(&folder), out.display().to_string());
        let summary = serde_json::json!({ "schema": schema, "run": run, "format": format, "out": out, "bytes": bytes });
        output::line(&summary.to_string());
    } else if !shared.quiet {
        output::line(&format!("{about}\n  -> {} ({:.1} MB)", out.display(), bytes as f64 / 1e6));
    }
    Ok(ExitCode::SUCCESS)
}
