//! Trainings that several ranks do together, here threads of this process: the files are those of one process that computes the same
//! micro-batches, to the bit, whatever the number of ranks, also where that changes on the way.

use std::path::Path;
use std::thread;

use vggkit::distributed::ranks::Ranks;
use vggkit::distributed::threads::{Wire, links};
use vggkit::engine::gpu;
use vggkit::engines::{Choice, Target};
use vggkit::error::{Error, Kind, Result};
use vggkit::training::beginning;
use vggkit::training::changes::Changes;
use vggkit::training::ending::Ending;
use vggkit::training::history::Epoch;
use vggkit::training::observer::{Live, Observer};
use vggkit::training::packs::Packs;
use vggkit::training::session::{Options, Session};
use vggkit::training::stop::Stop;

use crate::{data, fails, history, ok, resume, settings, train};

/// Hears nothing, but asks to stop when it is told of so many steps of an epoch.
struct Silent<'a> {
    stop: &'a Stop,
    at: Option<usize>,
}

impl Observer for Silent<'_> {
    fn progress(&mut self, live: &Live) {
        if self.at.is_some_and(|at| live.batch >= at) {
            self.stop.request(15);
        }
    }
    fn validating(&mut self, _: usize, _: usize) {}
    fn epoch(&mut self, _: &Epoch, _: bool) {}
}

fn on_cpu(_: usize) -> Target {
    Target { choice: Choice::Cpu, ..Target::default() }
}

/// All but the first have no room for images on the device.
fn on_gpu(rank: usize) -> Target {
    let fault = (rank > 0).then_some(gpu::Fault::Images);
    let gpu = gpu::Options { adapter: Some("llvmpipe".into()), fault, ..gpu::Options::default() };
    Target { choice: Choice::Gpu, gpu, ..Target::default() }
}

/// Of a rank on `engine`.
fn options_on(engine: Target, ranks: &Ranks) -> Options {
    Options {
        engine,
        threads: 1,
        checkpoint_every: 0,
        log_steps: false,
        tensorboard: None,
        command: String::new(),
        ranks: Some(ranks.clone()),
    }
}

/// The only rank.
fn single() -> Ranks {
    let [link] = <[_; 1]>::try_from(links(1, Wire::default())).expect("one");
    Ranks::new(std::sync::Arc::new(link))
}

fn options(ranks: &Ranks) -> Options {
    options_on(on_cpu(0), ranks)
}

/// What a new training of `run` would begin with: that of the run `like`.
fn begin(run: &Path, like: &Path, ranks: &Ranks) -> Result<Session> {
    begin_with(run, like, options(ranks))
}

fn begin_with(run: &Path, like: &Path, options: Options) -> Result<Session> {
    let settings = settings(like);
    let packs = Packs::open(data(), "train", "val")?;
    Session::new(run.to_owned(), &settings.network, &settings.training, &packs, true, options, &Stop::default())
}

/// `count` ranks on the CPU engine, of which the first has its session from `lead`. Rank `asked` is asked to stop at a step. How each
/// ended.
fn together(
    count: usize,
    lead: impl Fn(&Ranks) -> Result<Session> + Sync,
    asked: Option<(usize, usize)>,
) -> Vec<Result<Ending>> {
    together_on(on_cpu, count, lead, asked)
}

/// The same where each rank but the first trains on an engine of its own.
fn together_on(
    engine: impl Fn(usize) -> Target + Sync,
    count: usize,
    lead: impl Fn(&Ranks) -> Result<Session> + Sync,
    asked: Option<(usize, usize)>,
) -> Vec<Result<Ending>> {
    let (lead, engine) = (&lead, &engine);
    thread::scope(|scope| {
        let ranks: Vec<_> = links(count, Wire::default())
            .into_iter()
            .enumerate()
            .map(|(rank, link)| {
                scope.spawn(move || {
                    let ranks = Ranks::new(std::sync::Arc::new(link));
                    let stop = Stop::default();
                    let at = asked.filter(|(who, _)| *who == rank).map(|(_, step)| step);
                    if rank == 0 {
                        let ending = lead(&ranks)?.train(&stop, &mut Silent { stop: &stop, at })?;
                        beginning::tell_end(&ranks)?;
                        return Ok(ending);
                    }
                    let mut last = Err(Error::new(Kind::Engine, "there was no training"));
                    while let Some(mut session) = Session::follow(None, options_on(engine(rank), &ranks))? {
                        last = session.train(&stop, &mut Silent { stop: &stop, at });
                    }
                    last
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

/// The numbers of a file of weights, without what is said of them.
fn numbers(run: &Path, file: &str) -> Vec<u8> {
    let bytes = std::fs::read(run.join(file)).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8 + header..].to_vec()
}

/// The same network, history and scores.
fn assert_same(run: &Path, other: &Path, what: &str) {
    for file in ["last.safetensors", "best.safetensors"] {
        assert!(numbers(run, file) == numbers(other, file), "{what}: {file}");
    }
    let told =
        |run| history(run).into_iter().map(|e| (e.step, e.train_loss, e.val_loss, e.val_top5)).collect::<Vec<_>>();
    assert_eq!(told(run), told(other), "{what}");
}

/// 27 images in batches of 8 have a tail of 3: one micro-batch, so that ranks have nothing to do.
#[test]
fn any_number_of_ranks_writes_what_one_process_does() {
    let runs = tempfile::tempdir().expect("a folder");
    let alone = runs.path().join("demo-alone");
    for more in [&["--no-batch-norm"][..], &[], &["--sync-batch-norm", "--ema", "0.9"]] {
        let flags = [&["-e", "2", "--micro-batch", "3", "--image-size", "32:0,37:1", "--overwrite"], more].concat();
        ok(train(runs.path(), "demo-alone", &flags));
        for count in [2, 3] {
            let run = runs.path().join("demo-together");
            let endings = together(count, |ranks| begin(&run, &alone, ranks), None);
            assert!(endings.iter().all(|e| matches!(e, Ok(Ending::Epochs))), "{endings:?}");
            assert_same(&run, &alone, &format!("{count} ranks, {more:?}"));
            assert_eq!(settings(&run).training, settings(&alone).training);
        }
    }
}

/// Two ranks on one software adapter, then one alone; and a GPU with a processor, whose validation is shared out, too.
#[test]
fn gpus_train_together_and_with_processors() {
    let runs = tempfile::tempdir().expect("a folder");
    let [like, alone, run] = ["demo-like", "demo-alone", "demo-together"].map(|name| runs.path().join(name));
    ok(train(runs.path(), "demo-like", &["-e", "2", "--micro-batch", "3", "--ema", "0.9"]));
    let lead = |run: &Path| begin_with(run, &like, Options { ranks: None, ..options_on(on_gpu(0), &single()) });
    let ending = lead(&alone).and_then(|mut session| {
        let stop = Stop::default();
        session.train(&stop, &mut Silent { stop: &stop, at: None })
    });
    assert!(matches!(ending, Ok(Ending::Epochs)), "{ending:?}");
    let on = |ranks: &Ranks| begin_with(&run, &like, options_on(on_gpu(0), ranks));
    let endings = together_on(on_gpu, 2, on, None);
    assert!(endings.iter().all(|e| matches!(e, Ok(Ending::Epochs))), "{endings:?}");
    assert_same(&run, &alone, "two ranks on one adapter");
    let endings = together_on(on_cpu, 2, on, None);
    assert!(endings.iter().all(|e| matches!(e, Ok(Ending::Epochs))), "{endings:?}");
    let loss = |run: &Path| history(run).last().map(|epoch| (epoch.step, epoch.train_loss, epoch.val_loss));
    let (found, expected) = (loss(&run).expect("epochs"), loss(&alone).expect("epochs"));
    assert_eq!(found.0, expected.0);
    assert!((found.1 - expected.1).abs() < 1e-3 && (found.2 - expected.2).abs() < 1e-3, "{found:?} {expected:?}");
}

#[test]
fn all_stop_at_the_same_step_and_another_number_of_ranks_goes_on() {
    let runs = tempfile::tempdir().expect("a folder");
    let [alone, run] = ["demo-alone", "demo-together"].map(|name| runs.path().join(name));
    ok(train(runs.path(), "demo-alone", &["-e", "4", "--micro-batch", "2"]));
    // Signals may come to any rank alone.
    let endings = together(3, |ranks| begin(&run, &alone, ranks), Some((2, 1)));
    assert!(endings.iter().all(|e| matches!(e, Ok(Ending::Signal(15)))), "{endings:?}");
    let on = |ranks: &Ranks| Session::resume(run.clone(), None, &Changes::default(), options(ranks));
    let endings = together(2, on, Some((0, 1)));
    assert!(endings.iter().all(|e| matches!(e, Ok(Ending::Signal(15)))), "{endings:?}");
    ok(resume(runs.path(), "demo-together", &[]));
    assert_same(&run, &alone, "three ranks, then two, then one");
    assert_eq!(settings(&run).changes, []);
}

#[test]
fn micro_batches_follow_from_the_ranks_and_are_written_down() {
    let runs = tempfile::tempdir().expect("a folder");
    let [alone, run] = ["demo-alone", "demo-together"].map(|name| runs.path().join(name));
    ok(train(runs.path(), "demo-alone", &["-e", "1", "--max-steps", "1"]));
    together(4, |ranks| begin(&run, &alone, ranks), None);
    assert_eq!(settings(&run).training.micro_batch, 2);
    // One that one process began goes on with two.
    let on = |ranks: &Ranks| Session::resume(alone.clone(), None, &Changes::default(), options(ranks));
    let endings = together(2, on, None);
    assert!(endings.iter().all(|e| matches!(e, Ok(Ending::Epochs))), "{endings:?}");
    let settings = settings(&alone);
    assert_eq!((settings.training.micro_batch, settings.changes.len()), (4, 1));
    assert_eq!(settings.changes[0].setting, "micro_batch");
    let error = fails(resume(runs.path(), "demo-together", &["--micro-batch", "4"]), 2);
    assert!(error.contains("--micro-batch"), "{error}");
}

#[test]
fn other_data_is_told_by_every_rank() {
    let runs = tempfile::tempdir().expect("a folder");
    let [alone, run, others] = ["demo-alone", "demo-together", "others"].map(|name| runs.path().join(name));
    ok(train(runs.path(), "demo-alone", &["-e", "1", "--max-steps", "1"]));
    let mut prepare = crate::vggkit(&["prepare", "--demo", "--quiet", "--classes", "3", "--per-class", "8", "--data"]);
    prepare.arg(&others);
    ok(prepare);
    let errors: Vec<Error> = thread::scope(|scope| {
        let [first, second] = <[_; 2]>::try_from(links(2, Wire::default())).expect("two");
        let (run, alone, others) = (&run, &alone, others.join("demo"));
        let lead = scope.spawn(move || begin(run, alone, &Ranks::new(std::sync::Arc::new(first))).err());
        let follow = scope.spawn(move || {
            let ranks = Ranks::new(std::sync::Arc::new(second));
            Session::follow(Some(&others), options(&ranks)).err()
        });
        [lead, follow].into_iter().map(|rank| rank.join().expect("a rank").expect("refused")).collect()
    });
    for error in errors {
        assert!(error.to_string().contains("rank 1") && error.to_string().contains("data set"), "{error}");
    }
}
