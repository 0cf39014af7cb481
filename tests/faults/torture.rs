//! `make torture`: kill -9 at random moments of random commands, one after the other in the same folder, so that each starts
//! from what the one before left. After every kill all that is kept must be whole, and now and then every command is run to its
//! end. `TORTURE_MINUTES` says for how long, `TORTURE_SEED` repeats what is drawn.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use walkdir::WalkDir;

use crate::place::{Place, Words, told};

/// What is killed. All leave the same data behind, so that the runs stay usable.
const VICTIMS: [(&str, Words); 9] = [
    ("prepare", &["prepare", "--demo", "--classes", "2", "--per-class", "6"]),
    ("prepare --force", &["prepare", "--demo", "--classes", "2", "--per-class", "6", "--force"]),
    ("verify", &["verify"]),
    ("train", &["train", "--run", "demo-t", "--overwrite"]),
    ("train --all", &["train", "--all", "--run", "demo-all", "--max-steps", "3"]),
    ("train --resume", &["train", "--resume", "demo-a", "--checkpoint-every", "1"]),
    ("evaluate", &["evaluate", "demo-a"]),
    ("predict", &["predict"]),
    ("report", &["report", "--split-assets"]),
];

/// How often all commands are run to their ends, in kills.
const WHOLE: usize = 50;

/// Sizes and times of all files: what a command has done.
fn content(folder: &Path) -> BTreeMap<String, (u64, Option<SystemTime>)> {
    let files = WalkDir::new(folder).into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    let about = |entry: &walkdir::DirEntry| entry.metadata().ok().map(|about| (about.len(), about.modified().ok()));
    files.filter_map(|entry| Some((entry.path().display().to_string(), about(&entry)?))).collect()
}

/// How far a command came, as the folder shows it.
fn phase(before: &BTreeMap<String, (u64, Option<SystemTime>)>, place: &Place, words: &[&str]) -> &'static str {
    let after = content(place.path());
    // What an earlier kill left half written does not count.
    let half = |(name, about): (&String, &(u64, Option<SystemTime>))| {
        (name.contains(".partial") || name.contains(".replaced")) && before.get(name) != Some(about)
    };
    if *before == after {
        "ahead of its first write"
    } else if after.iter().any(half) {
        "within a write"
    } else if words[0] == "train" {
        "between two steps"
    } else {
        "between two files"
    }
}

#[test]
#[ignore = "takes minutes: `make torture`"]
fn random_kills_of_random_commands_break_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = number("TORTURE_SEED").unwrap_or_else(clock);
    let limit = Duration::from_secs(60 * number("TORTURE_MINUTES").unwrap_or(10));
    eprintln!("TORTURE_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let place = Place::new();
    let mut usual = BTreeMap::new();
    for (name, words) in VICTIMS {
        let begun = Instant::now();
        run_to_its_end(&place, words);
        usual.insert(name, begun.elapsed());
    }
    let (begun, mut kills, mut ends) = (Instant::now(), 0, 0);
    let mut tally: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut epochs = 4;
    while begun.elapsed() < limit {
        let (name, words) = VICTIMS[rng.random_range(0..VICTIMS.len())];
        let before = content(place.path());
        let mut command = place.command(words);
        if name == "train --resume" {
            epochs += 1; // so that there is always something left to train
            command.args(["-es", "0", "-e", &epochs.to_string()]);
        }
        if name == "train --all" && rng.random_ratio(1, 3) {
            command.arg("--overwrite");
        }
        let mut child = command.spawn().expect("it starts");
        std::thread::sleep(usual[name].mul_f64(rng.random_range(0.0..1.1)));
        let ended = child.try_wait().expect("a child").is_some();
        child.kill().expect("SIGKILL");
        let output = child.wait_with_output().expect("ends");
        if ended {
            ends += 1;
            let completes = name == "prepare" || output.status.success();
            let pending = !place.data().join("manifest.json").exists();
            assert!(completes || pending, "seed {seed}, kill {kills}, {name}: {}", told(&output));
        } else {
            kills += 1;
            *tally.entry((name, phase(&before, &place, words))).or_default() += 1;
        }
        place.check();
        if !place.data().join("manifest.json").exists() && rng.random_ratio(1, 3) {
            place.ok(VICTIMS[0].1); // completes the change that was decided; until then others say that there is no data
        }
        if kills % WHOLE == WHOLE - 1 && !ended {
            VICTIMS.iter().for_each(|(_, words)| run_to_its_end(&place, words));
            eprintln!("{kills} kills, {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    VICTIMS.iter().for_each(|(_, words)| run_to_its_end(&place, words));
    for ((name, phase), count) in &tally {
        eprintln!("{name:<16} {phase:<26} {count:>5}");
    }
    eprintln!("{kills} kills, {ends} commands that ended before theirs, 0 broken; TORTURE_SEED={seed}");
    assert!(kills > 0);
}

/// A command from what kills left to its end; a run that there is goes on.
fn run_to_its_end(place: &Place, words: &[&str]) {
    place.ok(words);
    place.check();
}
