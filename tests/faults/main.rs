//! Every file operation of a command fails once, and the process is killed ahead of each: what is told, what is left, and
//! that the same command then works. `VGGKIT_FAULT` makes them fail (`src/files/fault.rs`).
//!
//! A command takes every so manieth; `make torture` takes all (`TORTURE=all`), and kills at random moments too.

#![allow(clippy::print_stderr, reason = "a test of minutes tells how far it is")]

mod place;
mod torture;

use std::sync::OnceLock;

use place::{COMMANDS, Place, Words, told};
use vggkit::training::run::Run;

/// How many operations are passed over, so that ordinary tests take seconds.
fn stride(usual: usize) -> usize {
    if std::env::var("TORTURE").is_ok_and(|how| how == "all") { 1 } else { usual }
}

fn template() -> &'static Place {
    static TEMPLATE: OnceLock<Place> = OnceLock::new();
    TEMPLATE.get_or_init(Place::new)
}

/// What `VGGKIT_FAULT` said: the operation that failed, if one did, and how many there were, if the command came to its end.
fn fault(told: &str) -> (Option<(&str, &str)>, Option<usize>) {
    let mut lines = told.lines().filter_map(|line| line.strip_prefix("VGGKIT_FAULT: "));
    let hit = lines.clone().find_map(|line| line.split_once(": "));
    (hit, lines.find_map(|line| line.strip_suffix(" file operations in all")?.parse().ok()))
}

/// Does this to the command's n-th file operation for every n, or every so manieth.
fn every(name: &str, what: &str, usual: usize) {
    let (_, words, again) = *COMMANDS.iter().find(|(known, ..)| *known == name).expect("a command");
    let counted = template().copy().command(words).env("VGGKIT_FAULT", "file:0").output().expect("it runs");
    let count = fault(&told(&counted)).1.unwrap_or_else(|| panic!("{name}: {}", told(&counted)));
    assert!(counted.status.success() && count > 5, "{name}: {count}: {}", told(&counted));
    let (mut numbers, mut hits) = (0, 0);
    for number in (1..=count).step_by(stride(usual)) {
        numbers += 1;
        hits += usize::from(once(name, words, again, &format!("{what}:{number}")));
    }
    eprintln!("{name}: {count} file operations, {what}: {numbers} tried, {hits} met");
    assert!(hits * 10 >= numbers * 9, "only {hits} of {numbers}"); // threads share a command's work, so the count may differ a little
}

/// One command with one fault, then the same again without. Whether the fault was met.
fn once(name: &str, words: Words, again: Words, provoked: &str) -> bool {
    let place = template().copy();
    let output = place.command(words).env("VGGKIT_FAULT", provoked).output().expect("it runs");
    let (text, at) = (told(&output), format!("{name}, {provoked}"));
    let (hit, _) = fault(&text);
    assert!(!text.contains("panicked"), "{at}: {text}");
    match output.status.code() {
        Some(0) => {} // what is for speed alone, or is named on the page
        Some(1) => {
            let (_, path) = hit.unwrap_or_else(|| panic!("{at}: {text}"));
            let mut message = text.lines().filter(|line| !line.starts_with("VGGKIT_FAULT: "));
            assert!(message.any(|line| line.contains(path)), "{at}: no word of {path}: {text}");
        }
        None => assert!(provoked.starts_with("kill:") && hit.is_some(), "{at}: {text}"),
        code => panic!("{at} ended with {code:?}: {text}"),
    }
    place.check();
    // What the message advises: the command again, or the one that it names.
    let run = |name: &str| Run::load(&place.runs().join(name)).ok();
    match name {
        "train" if run("demo-b").is_some() => place.ok(&["train", "--resume", "demo-b"]),
        "train --resume" if run("demo-a").is_some_and(|run| run.training.epochs == 4) => {
            place.ok(&["train", "--resume", "demo-a"]); // the epochs are written down already
        }
        _ => place.ok(again),
    }
    place.check();
    hit.is_some()
}

macro_rules! every {
    ($($test:ident, $kill:ident: $name:literal by $usual:literal;)*) => {$(
        #[test]
        fn $test() {
            every($name, "file", $usual);
        }

        #[cfg(unix)]
        #[test]
        fn $kill() {
            every($name, "kill", $usual);
        }
    )*};
}

every! {
    prepare_survives_every_failure, prepare_survives_every_kill: "prepare" by 17;
    prepare_anew_survives_every_failure, prepare_anew_survives_every_kill: "prepare --force" by 29;
    train_survives_every_failure, train_survives_every_kill: "train" by 5;
    resume_survives_every_failure, resume_survives_every_kill: "train --resume" by 7;
    evaluate_survives_every_failure, evaluate_survives_every_kill: "evaluate" by 3;
    predict_survives_every_failure, predict_survives_every_kill: "predict" by 3;
    features_survive_every_failure, features_survive_every_kill: "predict --features" by 2;
    export_survives_every_failure, export_survives_every_kill: "export" by 1;
    torch_export_survives_every_failure, torch_export_survives_every_kill: "export --format torch" by 1;
    report_survives_every_failure, report_survives_every_kill: "report" by 7;
}

#[test]
fn each_kind_of_operation_fails_on_its_own_and_a_full_disk_says_how_to_go_on() {
    for kind in ["open", "write", "sync", "rename", "map"] {
        for (name, words, again) in COMMANDS {
            once(name, words, again, &format!("{kind}:2"));
        }
    }
    let place = template().copy();
    let full = |words: &[&str], provoked: &str| {
        let output = place.command(words).env("VGGKIT_FAULT", provoked).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", told(&output));
        told(&output)
    };
    // Its first write is the checkpoint ahead of run.toml: nothing has begun. A later one is of a training that has.
    let error = full(&["train", "--run", "demo-b"], "write:1");
    assert!(error.contains("disk is full") && error.contains("run the same command again"), "{error}");
    let error = full(&["train", "--run", "demo-b"], "write:9");
    assert!(
        error.contains("disk is full") && error.contains("go on with `vggkit train --resume runs/demo-b"),
        "{error}"
    );
    place.ok(&["train", "--resume", "demo-b"]);
    let error = full(&["predict"], "write:1");
    assert!(error.contains("predictions.csv") && error.contains("run the same command again"), "{error}");
}
