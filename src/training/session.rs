//! From settings or a stopped run to a training that goes: folders, engine, first weights, `run.toml`.
//!
//! Parses no flags and draws nothing on a screen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::beginning::{self, Beginning};
use super::changes::{self, Changes};
use super::checkpoint::{self, Classes, Progress};
use super::chosen::Chosen;
use super::ending::{Ending, ended};
use super::first_weights;
use super::folder;
use super::history::{self, Epoch};
use super::observer::Observer;
use super::occupied::{self, Occupied};
pub use super::opening::Options;
use super::opening::{exchange, greet, micro_batch_of, open, open_and_tell, plan_of};
use super::packs::Packs;
use super::run::{self, Origin, Recipe, Run};
use super::stop::Stop;
use super::teaching::Teaching;
use super::tensorboard::EventLog;
use super::trainer::{self, Job};
use crate::dataset::{Manifest, Pack};
use crate::distributed::exchange::Exchange;
use crate::engine::peers::Peers;
use crate::engine::{Engine, State};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::trace;
use crate::vgg::Network;
use crate::vgg::transfer::First;

/// A training about to start or to go on.
pub struct Session {
    /// The run's folder.
    pub folder: PathBuf,
    /// Its settings.
    pub run: Run,
    /// Where it stands.
    pub progress: Progress,
    /// The network on its device, in the state of `progress`.
    pub engine: Box<dyn Engine>,
    /// What a person should know of the settings that it goes on with.
    pub notes: Vec<String>,
    train: Pack,
    val: Pack,
    classes: Classes,
    chosen: Chosen,
    options: Options,
    teaching: Option<Arc<Teaching>>,
    exchange: Option<Arc<Exchange>>,
    /// Nobody else trains here; of rank 0 alone.
    _occupied: Option<Occupied>,
}

impl Session {
    /// A new training in `runs/name`. An existing run stays unless `overwrite`, and stays too where a signal came
    /// before the engine was open.
    pub fn new(
        folder: PathBuf,
        network: &Network,
        recipe: &Recipe,
        packs: &Packs,
        overwrite: bool,
        options: Options,
        stop: &Stop,
    ) -> Result<Self> {
        let recipe = &Recipe { micro_batch: micro_batch_of(recipe, &options), ..recipe.clone() };
        let plan = plan_of(network, recipe, 1)?;
        folder::refuse_a_run(&folder, overwrite)?;
        let exchange = exchange(recipe, &options)?;
        let chosen = Chosen::new(recipe, &packs.train.images.labels)?;
        let drawing = trace::span("first weights");
        let First { tensors, sha256, taken, drawn, unused } = first_weights::of(recipe, &plan)?;
        drop(drawing);
        let mut state = State::new(tensors);
        let engine = open(&plan, recipe, [&packs.train, &packs.val], &state, &options, exchange.as_ref())?;
        let run = Run {
            schema: run::SCHEMA.to_owned(),
            network: network.clone(),
            training: recipe.clone(),
            data: packs.data.clone(),
            origin: Origin {
                command: options.command.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: crate::build_info::commit().to_owned(),
                device: engine.device().clone(),
                started: files::now(),
                init_sha256: sha256,
                init_taken: taken,
                init_drawn: drawn,
                init_unused: unused,
                tensorboard: options.tensorboard.clone(),
                ..Origin::default()
            },
            changes: Vec::new(),
        };
        if options.ranks.is_none() {
            stop.check(&folder)?; // opening the engine can have taken minutes
        }
        let events = options.tensorboard.as_ref().map(|wanted| wanted.folder_of(&folder));
        let occupied = folder::clear(&folder, overwrite, events.as_deref())?;
        // The checkpoint before run.toml: a folder with run.toml is a run that can be resumed.
        let classes = Classes { wnids: packs.train.wnids.clone(), names: packs.train.names.clone() };
        let _span = trace::span("first checkpoint");
        state.variants.clone_from(engine.variants());
        let sealed = checkpoint::Sealed::new(&state)?;
        checkpoint::save_last(&folder, &plan, &sealed, &recipe.optimizer, &Progress::default(), &classes)?;
        folder::begin_step_log(&folder, options.log_steps)?;
        files::write_toml(&Run::path(&folder), &run)?;
        let mut notes: Vec<String> = first_weights::note(recipe).into_iter().collect();
        if let Some(ranks) = &options.ranks {
            beginning::tell(ranks, (&folder, &run), &Progress::default(), &classes, &state)?;
            notes.extend(greet(ranks, engine.as_ref(), &run, options.engine.choice)?);
        }
        Ok(Self {
            folder,
            run,
            progress: Progress::default(),
            engine,
            notes,
            train: packs.train.clone(),
            val: packs.val.clone(),
            classes,
            chosen,
            options,
            teaching: None,
            exchange,
            _occupied: Some(occupied),
        })
    }

    /// The training that rank 0 begins or goes on with, on data in `data` or where rank 0 has it; none where it has none any
    /// more. Errors: other data, what an engine refuses.
    pub fn follow(data: Option<&Path>, options: Options) -> Result<Option<Self>> {
        let Some(ranks) = &options.ranks else { return Ok(None) };
        let Some(beginning) = beginning::hear(ranks)? else { return Ok(None) };
        let Beginning { folder, run, progress, classes, state } = beginning;
        let there = data.unwrap_or(Path::new(&run.data.folder));
        let packs = Packs::open(there, &run.data.train, &run.data.val)?;
        let chosen = Chosen::new(&run.training, &packs.train.images.labels)?;
        let plan = plan_of(&run.network, &run.training, progress.epoch)?;
        let exchange = exchange(&run.training, &options)?;
        let engine = open(&plan, &run.training, [&packs.train, &packs.val], state, &options, exchange.as_ref())?;
        let own = Run { data: packs.data.clone(), ..run.clone() };
        greet(ranks, engine.as_ref(), &own, options.engine.choice)?;
        Ok(Some(Self {
            folder,
            run,
            progress,
            engine,
            notes: Vec::new(),
            train: packs.train,
            val: packs.val,
            classes,
            chosen,
            options,
            teaching: None,
            exchange,
            _occupied: None,
        }))
    }

    /// Whether this rank has the run's folder, and tells of the training.
    fn leads(&self) -> bool {
        self.exchange.as_ref().is_none_or(|exchange| exchange.rank() == 0)
    }

    /// The run in `folder`, as its last checkpoint left it, with `changes` to what it was told before. `data` replaces the
    /// data folder, which must hold the same data.
    pub fn resume(folder: PathBuf, data: Option<&Path>, changes: &Changes, options: Options) -> Result<Self> {
        // Read once nobody can replace it: what it says goes over the run's settings below.
        let occupied = occupied::occupy(&folder)?;
        let mut run = Run::load(&folder)?;
        if let Some(data) = data {
            run.data.folder = data.display().to_string();
        }
        let plan = run.training.plan(&run.network)?;
        let recorded = PathBuf::from(&run.data.folder);
        let there = data.unwrap_or(&recorded); // what is no UTF-8 cannot be recorded
        let elsewhere = || {
            format!(
                "prepare the same data there again, or name the folder that has it: --resume {} --data DIR",
                folder.display()
            )
        };
        let packs = Packs::open(there, &run.data.train, &run.data.val);
        let packs = packs.map_err(|e| if Manifest::path(there).exists() { e } else { e.with_help(elsewhere()) })?;
        if !run.data.is(&packs.identity) {
            let what = "is not the data set this run began with";
            return Err(Error::data(Manifest::path(there), what).with_help(elsewhere()));
        }
        run.data.content_sha256 = packs.identity.content_sha256; // a run of an older version has none
        let path = checkpoint::last_path(&folder);
        let reading = trace::span("read the checkpoint");
        let mut checkpoint = checkpoint::load(&path, &plan, Some(&run.training.optimizer))?;
        drop(reading);
        let precision = run.training.precision;
        let chosen = Chosen::new(&run.training, &packs.train.images.labels)?;
        let steps = chosen.trained.len().div_ceil(run.training.batch_size.max(1));
        let mut notes = changes.carry_out(&mut run, &mut checkpoint.progress, steps, (&folder, &options.command))?;
        if run.training.precision != precision {
            checkpoint.state.variants.clear(); // those of the other precision
        }
        let goes_on = ended(&run, &checkpoint.progress).is_none();
        if goes_on {
            let micro_batch = micro_batch_of(&run.training, &options);
            changes::share_out(&mut run, &checkpoint.progress, micro_batch, &options.command);
        }
        let (exchange, both) = (exchange(&run.training, &options)?, [&packs.train, &packs.val]);
        let ranks = options.ranks.as_ref().filter(|_| goes_on);
        let (engine, progress, classes) =
            open_and_tell((&folder, &run), both, checkpoint, &options, exchange.as_ref(), ranks)?;
        if let Some(ranks) = ranks {
            notes.extend(greet(ranks, engine.as_ref(), &run, options.engine.choice)?);
        }
        let mut session = Self {
            folder,
            run,
            progress,
            engine,
            notes,
            train: packs.train,
            val: packs.val,
            classes,
            chosen,
            options,
            teaching: None,
            exchange,
            _occupied: Some(occupied),
        };
        if goes_on {
            let origin = &mut session.run.origin;
            origin.stopped_by.clear();
            origin.finished.clear();
            origin.best_sha256.clear();
            origin.device = session.engine.device().clone();
            if let Some(wanted) = &session.options.tensorboard {
                origin.tensorboard = Some(wanted.clone().over(origin.tensorboard.take()));
            }
            folder::begin_step_log(&session.folder, session.options.log_steps)?;
        }
        files::write_toml(&Run::path(&session.folder), &session.run)?;
        Ok(session)
    }

    /// The images that it trains on.
    pub fn train_pack(&self) -> &Pack {
        &self.train
    }

    /// Gives it what the teachers say that its recipe names. Errors: others than those that it began with, other images.
    pub fn teach(&mut self, teaching: Arc<Teaching>) -> Result<()> {
        let origin = &mut self.run.origin;
        if teaching.images() != self.chosen.trained {
            return Err(Error::new(Kind::Data, "the teachers were asked about other images than are trained on"));
        }
        if !origin.teachers.is_empty() && origin.teachers != teaching.digests {
            let names = self.run.training.distill.join(", ");
            return Err(Error::data(&self.folder, format!("was taught by other weights than {names} have now"))
                .with_help("restore the best.safetensors of these runs, or begin another run"));
        }
        origin.teachers.clone_from(&teaching.digests);
        self.teaching = Some(teaching);
        if self.leads() { files::write_toml(&Run::path(&self.folder), &self.run) } else { Ok(()) }
    }

    /// How the training ended that was resumed with nothing left to do; `None` where there is something.
    pub fn ended(&self) -> Option<Ending> {
        ended(&self.run, &self.progress)
    }

    /// Why there was nothing left to do, and how it goes on all the same.
    pub fn way_on(&self) -> String {
        let (recipe, progress, folder) = (&self.run.training, &self.progress, &self.folder);
        format!(
            "{}: {}",
            changes::ended(recipe, progress, folder),
            changes::way_on(recipe, recipe.schedule, progress, folder)
        )
    }

    /// The epoch whose network was kept before this session.
    pub fn best(&self) -> Option<Epoch> {
        let lines: Vec<Epoch> = files::read_json_lines(&history::path(&self.folder)).ok()?;
        lines.into_iter().find(|line| line.epoch == self.progress.best_epoch)
    }

    /// Number of train images an epoch sees, and of those that are held out.
    pub fn train_images(&self) -> (usize, usize) {
        (self.chosen.trained.len(), self.chosen.held_out.len())
    }

    /// Trains to the end and writes down how it ended. A graphics device that is lost on the way is opened anew, once,
    /// and the training goes on from its last checkpoint.
    pub fn train(&mut self, stop: &Stop, observer: &mut dyn Observer) -> Result<Ending> {
        if let Some(ending) = self.ended() {
            history::tabulate(&self.folder)?; // a run of an older version has none
            return Ok(ending); // with what run.toml says of it
        }
        let mut lost = false;
        let ending = loop {
            match self.run_trainer(stop, observer) {
                Ok(Some(ending)) => break Ok(ending),
                Ok(None) => {}
                Err(error) if error.kind() == Kind::DeviceLost && !lost && self.exchange.is_none() => {
                    lost = true;
                    observer.note(&format!("{error}; opening it again and going on from the last checkpoint"));
                }
                Err(error) => break Err(error),
            }
            let before = self.engine.plan().network.image_size;
            if let Err(error) = self.reopen() {
                break Err(error);
            }
            let size = self.engine.plan().network.image_size;
            if size != before {
                observer.note(&format!("images of {size} x {size} pixels from epoch {} on", self.progress.epoch));
            }
        };
        if !self.leads() {
            return ending;
        }
        self.run.origin.stopped_by = match &ending {
            Ok(ending) => ending.name().to_owned(),
            Err(error) if error.kind() == Kind::Diverged => "diverged".to_owned(),
            Err(_) => "error".to_owned(),
        };
        self.run.origin.finished = files::now();
        let best = checkpoint::best_path(&self.folder);
        if best.is_file() // a pipe or device would have no end
            && let Ok(sha256) = files::sha256(&best)
        {
            self.run.origin.best_sha256 = sha256;
        }
        let written = files::write_toml(&Run::path(&self.folder), &self.run);
        let ending = ending?; // the first error is the one to tell
        written?;
        Ok(ending)
    }

    /// A new engine in the state of the last checkpoint, for the size that images have from there on.
    fn reopen(&mut self) -> Result<()> {
        self.options.engine.gpu.fault = None; // a provoked loss happens once
        let (run, packs) = (&self.run, [&self.train, &self.val]);
        let (ranks, exchange) = (self.options.ranks.as_ref(), self.exchange.as_ref());
        if !self.leads() {
            let heard = ranks.map(beginning::hear).transpose()?.flatten();
            let Beginning { state, progress, .. } =
                heard.ok_or_else(|| Error::new(Kind::PeerLost, "rank 0 has ended"))?;
            let plan = plan_of(&run.network, &run.training, progress.epoch)?;
            self.engine = open(&plan, &run.training, packs, state, &self.options, exchange)?;
            self.progress = progress;
            return Ok(());
        }
        let last = checkpoint::last_path(&self.folder);
        let mut read = checkpoint::load(&last, &run.training.plan(&run.network)?, Some(&run.training.optimizer))?;
        if run.training.image_size(&run.network, read.progress.epoch) != self.engine.plan().network.image_size {
            read.state.forget_layers(); // chosen for another size
        }
        let opened = open_and_tell((&self.folder, run), packs, read, &self.options, exchange, ranks)?;
        (self.engine, self.progress, _) = opened;
        Ok(())
    }

    /// To the end, or to the last epoch of a size of images.
    fn run_trainer(&mut self, stop: &Stop, observer: &mut dyn Observer) -> Result<Option<Ending>> {
        if self.teaching.is_none() && !self.run.training.distill.is_empty() {
            return Err(Error::new(Kind::Engine, "the teachers were not asked"));
        }
        let labels = Arc::clone(&self.val.images.labels);
        let job = Job {
            folder: &self.folder,
            network: &self.run.network,
            recipe: &self.run.training,
            val_labels: &labels,
            classes: &self.classes,
            chosen: &self.chosen,
            teaching: self.teaching.as_deref(),
            train_extent: [self.train.images.width, self.train.images.height],
            checkpoint_every: self.options.checkpoint_every,
            log_steps: self.leads() && history::steps_path(&self.folder).exists(),
            events: if self.leads() { self.begin_events()? } else { None },
            exchange: self.exchange.as_deref(),
            stop,
            check_data: &|| [&self.train, &self.val].into_iter().try_for_each(Pack::check),
        };
        trainer::train(&job, self.engine.as_mut(), self.progress.clone(), observer)
    }

    /// The event file of what is trained now, where one is asked for.
    fn begin_events(&self) -> Result<Option<Arc<EventLog>>> {
        let Some(wanted) = &self.run.origin.tensorboard else { return Ok(None) };
        let settings = toml::to_string(&self.run).map_err(|e| Error::data(Run::path(&self.folder), e))?;
        let folder = wanted.folder_of(&self.folder);
        EventLog::begin(&folder, wanted.histograms, self.progress.step, &settings).map(|log| Some(Arc::new(log)))
    }
}
