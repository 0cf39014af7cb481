//! The loop: epochs of steps, validation, early stopping, checkpoints and history.
//!
//! It draws nothing on a screen; an [`Observer`] is told what happens.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint::{self, Classes, Progress};
use super::choices::Schedule;
use super::chosen::Chosen;
use super::ending::{Ending, over};
use super::history::{self, Epoch, HeldOut, StepLine};
use super::metrics::{self, Scores};
use super::observer::{Live, Observer};
use super::run::Recipe;
use super::sampler::Sampler;
use super::schedule::learning_rate;
use super::selection::{self, Judgement};
use super::stop::Stop;
use super::teaching::Teaching;
use super::tensorboard::{EventLog, Point};
use super::writer::{Checkpoint, Closed, Destination, Writer};
use crate::distributed::exchange::Exchange;
use crate::engine::peers::Peers;
use crate::engine::{Batch, Engine, Pick, Source, StepMetrics};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::trace;
use crate::vgg::Network;

/// Steps after which metrics that have arrived are taken in, and the time after which that happens at the latest: often
/// enough for a live display, also where a step takes seconds.
const POLL_EVERY: (u64, Duration) = (8, Duration::from_millis(250));

/// What a training needs besides the engine.
pub struct Job<'a> {
    /// The run's folder.
    pub folder: &'a Path,
    /// The network that is trained.
    pub network: &'a Network,
    /// How to train.
    pub recipe: &'a Recipe,
    /// Labels of the validation split.
    pub val_labels: &'a [u32],
    /// What the outputs mean.
    pub classes: &'a Classes,
    /// Which train images are trained on, and which are held out.
    pub chosen: &'a Chosen,
    /// Their width and height in pixels.
    pub train_extent: [usize; 2],
    /// What teachers say of the train images, where there are any.
    pub teaching: Option<&'a Teaching>,
    /// Steps between checkpoints within an epoch; 0 for none.
    pub checkpoint_every: u64,
    /// Whether `steps.jsonl` is written.
    pub log_steps: bool,
    /// The event file for TensorBoard, where one is written.
    pub events: Option<Arc<EventLog>>,
    /// The other ranks, where several train together: rank 0 alone writes.
    pub exchange: Option<&'a Exchange>,
    /// Asks to stop.
    pub stop: &'a Stop,
    /// Whether the data are still what they were, asked ahead of each epoch.
    pub check_data: &'a dyn Fn() -> Result<()>,
}

/// Trains from `progress` on until one of the [`Ending`]s, or, `None`, until images have another size than the engine is for.
/// The engine holds the matching state and has both splits attached. Whatever happens, the folder's `last.safetensors` is the
/// latest good state that was saved, and nobody writes any more when this returns.
pub fn train(
    job: &Job<'_>,
    engine: &mut dyn Engine,
    progress: Progress,
    observer: &mut dyn Observer,
) -> Result<Option<Ending>> {
    let sampler = Sampler::new(job.recipe, job.chosen.trained.clone(), job.train_extent);
    if sampler.images() == 0 {
        return Err(Error::new(Kind::Data, "there is no image to train on"));
    }
    let (rates, now) = (VecDeque::new(), Instant::now());
    let writer = Writer::new(Destination {
        folder: job.folder.to_owned(),
        plan: job.recipe.plan(job.network)?,
        optimizer: job.recipe.optimizer,
        classes: job.classes.clone(),
        events: job.events.clone(),
    });
    let mut trainer = Trainer {
        job,
        engine,
        observer,
        sampler,
        progress,
        writer,
        rows: Vec::new(),
        rates,
        epoch_started: now,
        polled: now,
    };
    trainer.start()?;
    let ending = trainer.run();
    trainer.finish_writing()?; // what went wrong there is older than what ended the training
    ending
}

struct Trainer<'a> {
    job: &'a Job<'a>,
    engine: &'a mut dyn Engine,
    observer: &'a mut dyn Observer,
    sampler: Sampler,
    progress: Progress,
    writer: Writer,
    /// What teachers say of the batch.
    rows: Vec<f32>,
    /// Learning rates of the steps whose metrics have not been read back.
    rates: VecDeque<f64>,
    epoch_started: Instant,
    /// When metrics were last asked for.
    polled: Instant,
}

impl Trainer<'_> {
    /// The logs lose what lies past the checkpoint, and the table follows.
    fn start(&mut self) -> Result<()> {
        if !self.leads() {
            return Ok(());
        }
        let Progress { step, epoch, .. } = self.progress;
        history::truncate::<Epoch>(&history::path(self.job.folder), |line| line.epoch < epoch)?;
        history::tabulate(self.job.folder)?;
        history::truncate::<StepLine>(&history::steps_path(self.job.folder), |line| line.step <= step)
    }

    fn run(&mut self) -> Result<Option<Ending>> {
        loop {
            if let Some(ending) = over(self.job.recipe, &self.progress) {
                return Ok(Some(ending));
            }
            if self.image_size(self.progress.epoch) != self.engine.plan().network.image_size {
                return Ok(None);
            }
            if let Some(ending) = self.epoch()? {
                return Ok(Some(ending));
            }
        }
    }

    /// Whether it writes the run's files.
    fn leads(&self) -> bool {
        self.job.exchange.is_none_or(|exchange| exchange.rank() == 0)
    }

    /// Why to stop now, if anybody was asked to: all ranks do between the same two steps.
    fn asked_to_stop(&self) -> Result<Option<Ending>> {
        let (signal, late) = (self.job.stop.signal(), self.job.stop.late());
        let Some(exchange) = self.job.exchange else {
            return Ok(signal.map(Ending::Signal).or(late.then_some(Ending::MaxMinutes)));
        };
        // The highest of all: nobody, the time, a signal.
        let asked = exchange.largest(signal.map_or(f64::from(u8::from(late)) * 0.5, f64::from))?;
        Ok(match asked {
            0.0 => None,
            0.5 => Some(Ending::MaxMinutes),
            #[expect(clippy::cast_possible_truncation, reason = "the number of a signal")]
            signal => Some(Ending::Signal(signal as i32)),
        })
    }

    fn image_size(&self, epoch: usize) -> usize {
        self.job.recipe.image_size(self.job.network, epoch)
    }

    /// What is left of the current epoch, then validation, history and checkpoints.
    fn epoch(&mut self) -> Result<Option<Ending>> {
        (self.job.check_data)()?;
        let _span = trace::span("epoch").with("epoch", self.progress.epoch as u64);
        self.epoch_started = Instant::now();
        let order = {
            let _span = trace::span("order");
            self.sampler.order(self.progress.epoch)
        };
        let mut picks = Vec::new();
        while self.progress.batch < self.sampler.steps() {
            if let Some(ending) = self.asked_to_stop()? {
                self.save()?;
                return Ok(Some(ending));
            }
            if self.job.recipe.max_steps.is_some_and(|most| self.progress.step >= most) {
                self.save()?;
                self.interim()?;
                return Ok(Some(Ending::MaxSteps));
            }
            {
                let _span = trace::span("picks");
                self.sampler.batch(self.progress.epoch, &order, self.progress.batch, &mut picks);
            }
            self.step(&picks)?;
            if self.writer.is_done() {
                self.finish_writing()?;
            }
        }
        self.drain()?;
        let trained = self.seconds();
        let scores = self.validate()?;
        let record = self.record(scores, trained);
        self.close(record)?;
        Ok(None)
    }

    fn step(&mut self, picks: &[Pick]) -> Result<()> {
        let rate = self.learning_rate(self.progress.step);
        {
            let _span = trace::span("step").with("step", self.progress.step + 1);
            let batch = match self.job.teaching {
                None => Batch::Picks(Source::Train, picks),
                Some(teaching) => {
                    teaching.rows(picks, self.engine.plan().network.image_size, &mut self.rows);
                    Batch::Taught(Source::Train, picks, &self.rows)
                }
            };
            #[expect(clippy::cast_possible_truncation, reason = "engines compute in f32")]
            self.engine.train_step(batch, rate as f32)?;
        }
        self.rates.push_back(rate);
        self.progress.step += 1;
        self.progress.batch += 1;
        let (steps, time) = POLL_EVERY;
        if self.progress.step.is_multiple_of(steps) || self.polled.elapsed() >= time {
            self.polled = Instant::now();
            let _span = trace::span("take metrics");
            let metrics = self.engine.poll_metrics()?;
            self.take(metrics)?;
        }
        let every = self.job.checkpoint_every;
        if every > 0 && self.progress.step.is_multiple_of(every) {
            self.save()?;
        }
        Ok(())
    }

    fn learning_rate(&self, step: u64) -> f64 {
        learning_rate(self.job.recipe, &self.progress.plateau, self.sampler.steps(), step)
    }

    /// Waits for the metrics of all steps so far.
    fn drain(&mut self) -> Result<()> {
        let _span = trace::span("wait for the steps");
        let metrics = self.engine.drain_metrics()?;
        self.take(metrics)
    }

    /// Adds metrics to the epoch's sums and the logs; a loss that is not finite ends the training.
    fn take(&mut self, metrics: Vec<StepMetrics>) -> Result<()> {
        let before = (self.progress.loss_sum, self.progress.top1, self.progress.samples);
        let mut last = None;
        for StepMetrics { step, samples, loss, top1, .. } in metrics {
            let lr = self.rates.pop_front().unwrap_or_default(); // there is one for every step
            let loss = f64::from(loss);
            if !loss.is_finite() {
                return Err(checkpoint::diverged(&format!("the loss of step {step} is {loss}")));
            }
            self.progress.loss_sum += loss * f64::from(samples);
            self.progress.top1 += u64::from(top1);
            self.progress.samples += u64::from(samples);
            last = Some((step, lr));
            if self.job.log_steps {
                files::append_json_line(&history::steps_path(self.job.folder), &StepLine { step, loss, lr })?;
            }
        }
        let (loss, top1) = self.means();
        let images_per_s = self.progress.samples as f64 / self.seconds().max(1e-9);
        if let (Some(events), Some((step, lr))) = (&self.job.events, last) {
            let samples = (self.progress.samples - before.2).max(1) as f64;
            let (loss, top1) = (self.progress.loss_sum - before.0, (self.progress.top1 - before.1) as f64);
            events.point(&Point { step, loss: loss / samples, top1: top1 / samples, lr, images_per_s })?;
        }
        self.observer.progress(&Live {
            epoch: self.progress.epoch,
            epochs: self.job.recipe.epochs,
            batch: self.progress.batch,
            batches: self.sampler.steps(),
            loss,
            top1,
            images_per_s,
        });
        Ok(())
    }

    fn means(&self) -> (f64, f64) {
        let samples = self.progress.samples.max(1) as f64;
        (self.progress.loss_sum / samples, self.progress.top1 as f64 / samples)
    }

    /// Seconds of training in this epoch, those before a resume included.
    fn seconds(&self) -> f64 {
        self.progress.seconds + self.epoch_started.elapsed().as_secs_f64()
    }

    /// Scores of the validation split, and of the train images that are held out where there are some.
    fn validate(&mut self) -> Result<(Scores, Option<HeldOut>)> {
        let _span = trace::span("validate");
        let Chosen { held_out, held_out_labels, .. } = self.job.chosen;
        let all = self.job.val_labels.len() + held_out.len();
        let held_out: Vec<Pick> = held_out.iter().copied().map(Pick::of).collect();
        let of_train = match held_out.as_slice() {
            [] => None,
            picks => Some(self.measure((Source::Train, picks), held_out_labels, (0, all))?),
        };
        let split = metrics::all(self.job.val_labels.len())?;
        let scores = self.measure((Source::Validation, &split), self.job.val_labels, (held_out.len(), all))?;
        Ok((scores, of_train.map(HeldOut::from)))
    }

    /// Scores of some images, `before` of `all` having been measured already.
    fn measure(&mut self, images: (Source, &[Pick]), labels: &[u32], (before, all): (usize, usize)) -> Result<Scores> {
        let observer = &mut *self.observer;
        let told = |done| observer.validating(before + done, all);
        let (recipe, peers) = (self.job.recipe, self.job.exchange.map(|exchange| exchange as &dyn Peers));
        let at_once = if recipe.micro_batch > 0 { recipe.micro_batch } else { recipe.batch_size };
        let scores = metrics::measure(self.engine, images, labels, at_once, peers, told)?;
        if scores.loss.is_finite() {
            Ok(scores)
        } else {
            Err(checkpoint::diverged("the validation loss is not finite"))
        }
    }

    /// The history line of the current epoch; `trained` is its seconds without validation.
    fn record(&self, (scores, held_out): (Scores, Option<HeldOut>), trained: f64) -> Epoch {
        let (train_loss, train_top1) = self.means();
        Epoch {
            epoch: self.progress.epoch,
            step: self.progress.step,
            lr: self.learning_rate(self.progress.step.saturating_sub(1)),
            train_loss,
            train_top1,
            val_loss: scores.loss,
            val_top1: scores.top1,
            val_top5: scores.top5,
            held_out,
            seconds: self.seconds(),
            images_per_s: self.progress.samples as f64 / trained.max(1e-9),
            time: files::now(),
        }
    }

    /// Ends an epoch with a checkpoint.
    fn close(&mut self, epoch: Epoch) -> Result<()> {
        let progress = &mut self.progress;
        let Judgement { keep, lower_loss } = selection::judge(progress, self.job.recipe.select, &epoch);
        if self.job.recipe.schedule == Schedule::Plateau {
            progress.plateau.epoch(self.job.recipe, lower_loss);
        }
        let next = progress.epoch + 1;
        if self.image_size(epoch.epoch) != self.image_size(next) {
            selection::begin_anew(&mut self.progress);
        }
        let progress = &self.progress;
        self.progress = Progress {
            step: progress.step,
            epoch: next,
            best_val_loss: progress.best_val_loss,
            best_top1: progress.best_top1,
            best_epoch: progress.best_epoch,
            epochs_without_improvement: progress.epochs_without_improvement,
            plateau: progress.plateau,
            ..Progress::default()
        };
        self.write(self.progress.clone(), Some(Closed { epoch, improved: keep }), true)
    }

    /// After `--max-steps` within the first epoch: a history line and a best network, so that there is one to use. The
    /// checkpoint knows nothing of them: a resumed run drops the line and replaces the network when it ends that epoch,
    /// and so is the run it would have been. Once an epoch has ended there is a best network, which could not be had
    /// back if the resumed run were to find none better.
    fn interim(&mut self) -> Result<()> {
        if self.progress.best_val_loss.is_some() || self.progress.samples == 0 {
            return Ok(());
        }
        let trained = self.seconds();
        let scores = self.validate()?;
        let epoch = self.record(scores, trained);
        self.write(self.progress.clone(), Some(Closed { epoch, improved: true }), false)
    }

    /// Saves `last.safetensors` between two steps.
    fn save(&mut self) -> Result<()> {
        self.drain()?;
        let mut progress = self.progress.clone();
        progress.seconds = self.seconds();
        self.write(progress, None, true)
    }

    /// Has the state of now written while the training goes on, after the checkpoint before. `last` says that a resumed
    /// training is to start from it.
    fn write(&mut self, progress: Progress, closed: Option<Closed>, last: bool) -> Result<()> {
        if !self.leads() {
            return Ok(());
        }
        self.finish_writing()?;
        let snapshot = {
            let _span = trace::span("copy the state");
            self.engine.snapshot()?
        };
        self.writer.begin(Checkpoint { snapshot, progress, closed, last })
    }

    /// Waits for the checkpoint under way, if there is one, and tells of the epoch that it closed.
    fn finish_writing(&mut self) -> Result<()> {
        let _span = trace::span("wait for the checkpoint");
        if let Some(Closed { epoch, improved }) = self.writer.finish()? {
            self.observer.epoch(&epoch, improved);
        }
        Ok(())
    }
}
