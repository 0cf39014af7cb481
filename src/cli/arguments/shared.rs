//! The flags that all commands share, and what they become.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::values;
use crate::cache;
use crate::cli::output;
use crate::distributed::launch;
use crate::engine::{Optimizer, Precision, Settings, gpu};
use crate::engines::{Choice, Target};
use crate::error::{Kind, Result};
use crate::inference::model::Model;
use crate::training::run::Recipe;

/// Flags that all commands share.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "All commands")]
pub struct Shared {
    /// Folder of the data set [default: data; with --resume and evaluate: the run's own]
    #[arg(long = "data", value_name = "DIR", global = true)]
    data_folder: Option<PathBuf>,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "runs", global = true)]
    pub runs: PathBuf,
    /// Worker threads (default: all processors); never changes a result
    #[arg(long, value_name = "N", global = true, value_parser = values::threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// What computes: gpu, cpu, or auto: a hardware GPU where there is one, else the CPU
    #[arg(long, value_name = "NAME", default_value = "auto", global = true, value_parser = values::engine)]
    pub engine: Choice,
    /// Which GPU the GPU engine takes: its index in `vggkit devices` or a part of its name. The CPU engine ignores it
    #[arg(long, value_name = "NAME|INDEX", global = true, env = "VGGKIT_ADAPTER")]
    pub adapter: Option<String>,
    /// Samples computed at once on a GPU; 0 for the whole batch, or as many as fit. In a training, on any engine: samples of a
    /// micro-batch, over which gradients are added up in an order of their own, and which batch normalisation sees each by
    /// itself; with the same N the same bits by one process and by several ranks on the same kind of device
    #[arg(long, value_name = "N", global = true, default_value_t = Recipe::default().micro_batch,
          value_parser = values::whole(0usize), allow_negative_numbers = true)]
    micro_batch: usize,
    /// What a GPU multiplies: f32, or f16 by matrix units (tensor cores) where it has them, with sums and weights in f32
    /// and a scaled loss [default: f32; with --resume: as before]
    #[arg(long, value_name = "NAME", global = true, value_parser = values::precision)]
    pub precision: Option<Precision>,
    /// Keep to the most exact kernels: no Winograd F(4x4, 3x3)
    #[arg(long, global = true)]
    pub precise: bool,
    /// Print JSON on standard output instead of text: one object, or one a line from train, evaluate and predict --image
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Shared {
    /// Folder of the data set: as given, or `data`.
    pub fn data(&self) -> &Path {
        self.data_given().unwrap_or(Path::new("data"))
    }

    /// Folder of the data set, if one was given.
    pub fn data_given(&self) -> Option<&Path> {
        self.data_folder.as_deref()
    }

    /// Samples computed at once, where anything but the whole batch is asked for.
    pub fn micro_batch(&self) -> Option<usize> {
        (self.micro_batch > 0).then_some(self.micro_batch)
    }

    /// The engine and what was chosen of it.
    pub fn target(&self) -> Target {
        Target {
            choice: self.engine,
            precise: self.precise,
            together: None,
            gpu: gpu::Options {
                adapter: self.adapter.clone(),
                turn: launch::local_rank(|name| std::env::var(name).ok()),
                precision: self.precision.unwrap_or_default(),
                micro_batch: self.micro_batch(),
                tune: true,
                tell: (!self.quiet && !self.json).then(|| Arc::new(|line: &str| output::note(line)) as gpu::Tell),
                store: cache::Cache::of_user().map(|cache| Arc::new(cache) as Arc<dyn gpu::Store>),
                fault: values::fault(),
                ..gpu::Options::default()
            },
        }
    }

    /// Settings of a network that is measured or planned, not trained on data.
    pub fn settings(&self, batch_size: usize, optimizer: Option<Optimizer>) -> Settings {
        Settings { optimizer, precise: self.precise, ..Settings::inference(batch_size, self.threads()) }
    }

    /// The best network of the run in `folder`; of a damaged run that nobody `named`, nothing once that is told.
    pub fn open(&self, folder: &Path, named: bool) -> Result<Option<Model>> {
        match Model::open(folder, &self.target(), self.threads()) {
            Err(error) if !named && matches!(error.kind(), Kind::Data | Kind::Io) => {
                output::left_out(&error);
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    /// Worker threads: as asked for, or all processors.
    pub fn threads(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(all, NonZeroUsize::get)
    }
}
