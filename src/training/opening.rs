//! How a training's engine is opened: alone, in micro-batches, or with the other ranks, of whom it is made sure that they train the
//! same.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::beginning;
use super::checkpoint::{Checkpoint, Classes, Progress};
use super::choices::TrivialAugment;
use super::first_weights;
use super::packs::Packs;
use super::run::{Recipe, Run};
use super::tensorboard;
use crate::dataset::Pack;
use crate::distributed::exchange::Exchange;
use crate::distributed::handshake::{self, Member};
use crate::distributed::ranks::Ranks;
use crate::engine::peers::{Peers, Together};
use crate::engine::{Engine, Images, Settings, Source, State, WeightSet};
use crate::engines::{self, Choice, Target};
use crate::error::{Error, Result};
use crate::trace;
use crate::vgg::{Network, Plan};

/// What to compute with and what to keep; the same for a new and for a resumed training.
#[derive(Clone)]
pub struct Options {
    /// Which engine.
    pub engine: Target,
    /// Worker threads.
    pub threads: usize,
    /// Steps between checkpoints within an epoch; 0 for none.
    pub checkpoint_every: u64,
    /// Whether `steps.jsonl` is written.
    pub log_steps: bool,
    /// Where event files for TensorBoard go; `None` for none, or of a run that goes on: as before.
    pub tensorboard: Option<tensorboard::Wanted>,
    /// The command line, for the record.
    pub command: String,
    /// This rank, where several train together.
    pub ranks: Option<Ranks>,
}

/// The plan of `network` for the size that it sees images in in `epoch`.
pub fn plan_of(network: &Network, recipe: &Recipe, epoch: usize) -> Result<Plan> {
    let image_size = recipe.image_size(network, epoch);
    recipe.plan(&Network { image_size, ..network.clone() })
}

/// An engine with the first weights of a training, which is no run's. Errors: as [`Session::new`].
pub fn open_anew(network: &Network, recipe: &Recipe, packs: &Packs, options: &Options) -> Result<Box<dyn Engine>> {
    let plan = recipe.plan(network)?;
    let state = State::new(first_weights::of(recipe, &plan)?.tensors);
    open(&plan, recipe, [&packs.train, &packs.val], state, options, None)
}

/// Samples of a micro-batch: as the recipe says, or so that each rank has one.
pub fn micro_batch_of(recipe: &Recipe, options: &Options) -> usize {
    match &options.ranks {
        Some(ranks) if recipe.micro_batch == 0 => recipe.batch_size.div_ceil(ranks.ranks()),
        _ => recipe.micro_batch,
    }
}

/// The others of this rank.
pub fn exchange(recipe: &Recipe, options: &Options) -> Result<Option<Arc<Exchange>>> {
    let Some(ranks) = &options.ranks else { return Ok(None) };
    ranks.exchange(recipe.micro_batch).map(|exchange| Some(Arc::new(exchange)))
}

/// Makes sure that all ranks train the same, and says who they are. Errors: the first difference.
pub fn greet(ranks: &Ranks, engine: &dyn Engine, run: &Run, choice: Choice) -> Result<Vec<String>> {
    let same = [("data set", run.data.content_sha256.clone())];
    let members = ranks.greet(Member::on(engine.device(), engine.card()), &same)?;
    let on = |member: &Member| {
        let Member { host, engine, adapter, .. } = member;
        format!("{host} ({})", if engine == "gpu" { adapter } else { engine })
    };
    if let Some((rank, other)) = members.iter().enumerate().find(|(_, member)| member.engine != members[0].engine)
        && choice == Choice::Auto
    {
        let what = format!("rank {rank} trains on {}, and rank 0 on {}", on(other), on(&members[0]));
        return Err(Error::usage(what).with_help("give --engine cpu; or to each rank the one that it is to take"));
    }
    let each: Vec<String> = members.iter().map(on).collect();
    let Recipe { batch_size, micro_batch, .. } = run.training;
    let busy = batch_size.div_ceil(micro_batch.max(1));
    let mut notes = vec![format!("{} ranks, micro-batches of {micro_batch}: {}", members.len(), each.join(", "))];
    if members.iter().any(|member| (&member.engine, &member.adapter) != (&members[0].engine, &members[0].adapter)) {
        notes.push("they are of several kinds: which rank computes what shows in the last bits".to_owned());
    }
    notes.extend(handshake::shared_cards(&members));
    if busy < members.len() {
        notes.push(format!(
            "a batch of {batch_size} has {busy} micro-batches: some ranks have nothing to do (--micro-batch)"
        ));
    }
    Ok(notes)
}

/// The engine of a training of `recipe`, with its images. Errors: the engine's own.
pub fn open<'a>(
    plan: &Plan,
    recipe: &Recipe,
    [train, val]: [&Pack; 2],
    state: impl Into<Cow<'a, State>>,
    options: &Options,
    exchange: Option<&Arc<Exchange>>,
) -> Result<Box<dyn Engine>> {
    let settings = Settings {
        batch_size: recipe.batch_size,
        normalisation: recipe.normalisation,
        optimizer: Some(recipe.optimizer),
        update: recipe.update(),
        label_smoothing: recipe.label_smoothing,
        taught: if recipe.distill.is_empty() { 0.0 } else { recipe.distill_weight as f32 },
        seed: recipe.seed,
        enhances: recipe.trivial_augment == TrivialAugment::Wide,
        threads: options.threads,
        precise: options.engine.precise,
    };
    let mut target = options.engine.clone();
    target.gpu.precision = recipe.precision;
    let sync_batch_norm = recipe.sync_batch_norm;
    target.together = match (exchange, recipe.micro_batch) {
        (Some(exchange), _) => Some(Together { peers: Arc::clone(exchange) as Arc<dyn Peers>, sync_batch_norm }),
        (None, 0) => None,
        (None, micro_batch) => Some(Together::alone(micro_batch, sync_batch_norm)),
    };
    [train, val].into_iter().for_each(|pack| read_ahead(&pack.images));
    let opening = trace::span("open the engine");
    let mut engine = engines::open(&target, plan.clone(), settings, state)?;
    drop(opening);
    if recipe.update().ema.is_some() {
        engine.infer_with(WeightSet::Averaged)?;
    }
    let _span = trace::span("attach the images");
    engine.attach(Source::Train, train.images.clone())?;
    engine.attach(Source::Validation, val.images.clone())?;
    Ok(engine)
}

/// [`open`] for the training of `run` in `folder` where `checkpoint` leaves it, of which rank 0 then tells the others, where there are
/// `ranks`. Errors: also theirs.
pub fn open_and_tell(
    (folder, run): (&Path, &Run),
    packs: [&Pack; 2],
    checkpoint: Checkpoint,
    options: &Options,
    exchange: Option<&Arc<Exchange>>,
    ranks: Option<&Ranks>,
) -> Result<(Box<dyn Engine>, Progress, Classes)> {
    let Checkpoint { mut state, progress, classes, .. } = checkpoint;
    let plan = plan_of(&run.network, &run.training, progress.epoch)?;
    let Some(ranks) = ranks else {
        return Ok((open(&plan, &run.training, packs, state, options, exchange)?, progress, classes));
    };
    let engine = open(&plan, &run.training, packs, &state, options, exchange)?;
    state.variants.clone_from(engine.variants());
    beginning::tell(ranks, (folder, run), &progress, &classes, &state)?;
    Ok((engine, progress, classes))
}

/// Has the system read the pixels and map them, on a thread of its own while the engine is opened, which takes seconds on
/// a GPU: the upload that follows would wait for each page in turn. Without the thread it does that.
fn read_ahead(images: &Images) {
    const PAGE: usize = 4096; // the smallest that there are
    let pixels = Arc::clone(&images.pixels);
    let touch = move || {
        let _span = trace::span("read ahead");
        let bytes: &[u8] = (*pixels).as_ref();
        std::hint::black_box(bytes.iter().step_by(PAGE).fold(0, |all, byte| all ^ byte));
    };
    let _ = thread::Builder::new().name("images".into()).spawn(touch);
}
