//! `mpirun -n N vggkit train --engine gpu`: ranks on a software adapter, and one of them on the processor.

use std::path::Path;
use std::process::{Command, Stdio};

use super::launch::{Ended, start};
use super::named;
use super::training::{TINY, data, history, numbers};

const CARD: [&str; 4] = ["--engine", "gpu", "--adapter", "llvmpipe"];
const PROCESSOR: [&str; 2] = ["--engine", "cpu"];
/// No hardware has this name; on a machine without any the error is the same without it.
const NO_CARD: [&str; 4] = ["--engine", "gpu", "--adapter", "no such card"];

/// A training by a rank for each of `engines`, which are flags; one alone needs no `mpirun`.
fn train(runs: &Path, name: &str, engines: &[&[&str]]) -> Ended {
    let vggkit = assert_cmd::cargo::cargo_bin!("vggkit");
    let mut command = if engines.len() == 1 { Command::new(vggkit) } else { Command::new("mpirun") };
    for (rank, engine) in engines.iter().enumerate() {
        if engines.len() > 1 {
            command.args(if rank == 0 { &["--oversubscribe", "-n", "1"][..] } else { &[":", "-n", "1"] }).arg(vggkit);
        }
        command.args(["train", "--threads", "1", "--run", name, "-e", "2", "--micro-batch", "2"]);
        command.args(TINY).args(*engine).arg("--data").arg(data()).arg("--runs").arg(runs);
    }
    // Variants of kernels are chosen by measurement and kept: all are to find the same.
    command.env("VGGKIT_CACHE", runs.join("cache")).stdin(Stdio::null());
    start(command).wait()
}

fn ok(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

#[test]
fn ranks_on_cards_have_the_bits_of_one() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(&train(runs.path(), "demo-alone", &[&CARD]));
    for ranks in [2, 3] {
        let name = format!("demo-{ranks}");
        let ended = train(runs.path(), &name, &vec![&CARD[..]; ranks]);
        ok(&ended);
        assert!(ended.output.contains(&format!("{ranks} ranks, micro-batches")), "{ended:#?}");
        assert!(
            !ended.output.contains("share"),
            "a software adapter is no card that anybody could have more of: {ended:#?}"
        );
        let [alone, found] = ["demo-alone", &name].map(|name| numbers(&runs.path().join(name)));
        assert!(alone == found, "{ranks} ranks");
    }
}

#[test]
fn cards_and_processors_train_together() {
    let runs = tempfile::tempdir().expect("a folder");
    ok(&train(runs.path(), "demo-alone", &[&PROCESSOR]));
    let expected = history(&runs.path().join("demo-alone"));
    for (name, engines) in [("demo-one", [&CARD[..], &PROCESSOR]), ("demo-other", [&PROCESSOR, &CARD])] {
        ok(&train(runs.path(), name, &engines));
        let found = history(&runs.path().join(name));
        assert_eq!(found.len(), expected.len());
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-3 * b.abs();
        assert!(found.iter().zip(&expected).all(close), "{found:?} {expected:?}");
    }
}

#[test]
fn a_rank_without_a_card_ends_all() {
    let runs = tempfile::tempdir().expect("a folder");
    let ended = train(runs.path(), "demo-none", &[&PROCESSOR, &PROCESSOR, &NO_CARD]);
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:#?}");
    assert_eq!(ended.output.matches("error: ").count(), 1, "{ended:#?}");
    assert!(ended.output.contains(&named(2)) && ended.output.contains("no adapter"), "{ended:#?}");
    assert!(ended.took < super::SOON, "{:?}", ended.took);
}
