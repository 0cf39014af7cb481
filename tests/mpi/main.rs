//! Ranks that are processes under `mpirun`: what `make mpi` runs, with the feature `mpi`.
//!
//! Each test starts `mpirun` on this very program, of which each process then does [`rank::rank`], or, in `training`, on vggkit.

#![allow(missing_docs, reason = "a test")]

mod bench;
mod cards;
mod launch;
mod rank;
mod training;

use std::time::Duration;

use rustix::process::Signal;

use launch::{Ended, mpirun};

/// Within seconds, on a machine that does other things too.
const SOON: Duration = Duration::from_secs(20);

/// What rank `rank` of this machine is called in messages.
fn named(rank: usize) -> String {
    format!("rank {rank} (on {})", vggkit::distributed::handshake::host())
}

impl Ended {
    /// One line of all ranks tells, and it is `expected`.
    fn tells(&self, expected: &str) {
        let told: Vec<&str> = self.output.lines().filter(|line| line.contains("told: ")).collect();
        assert!(told.len() == 1 && told[0].contains(expected), "{expected} in {self:#?}");
        assert!(self.took < SOON, "{:?}", self.took);
    }
}

#[test]
fn any_number_of_processes_has_the_bits_of_one() {
    let mut digests = Vec::new();
    for ranks in [1, 2, 3, 4] {
        let ended = mpirun(ranks, "sums").wait();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let lines = ended.output.lines();
        let mut told: Vec<String> = lines.filter_map(|line| line.split("digest: ").nth(1)).map(Into::into).collect();
        assert_eq!(told.len(), ranks, "{ended:#?}");
        digests.append(&mut told);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn the_error_of_one_process_ends_all() {
    let ended = mpirun(3, "error").wait();
    assert_eq!(ended.code, Some(2), "the exit code of the error: {ended:#?}");
    ended.tells(&format!("{}: no such thing", named(1)));
}

#[test]
fn an_error_of_all_is_told_by_rank_0() {
    let ended = mpirun(3, "error of all").wait();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.tells(&format!("{}: nobody can", named(0)));
}

#[test]
fn a_panic_in_any_thread_ends_all() {
    let ended = mpirun(3, "panic").wait();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.tells(&format!("{} broke down", named(2)));
    assert!(ended.output.contains("a thread came upon the unexpected"), "{ended:#?}");
}

#[test]
fn a_process_that_is_killed_ends_all_and_mpirun_names_it() {
    let ended = mpirun(3, "killed").wait();
    assert!(ended.code.is_none_or(|code| code != 0), "{ended:#?}");
    assert!(ended.output.contains("rank 1") && ended.output.contains("signal 9"), "{ended:#?}");
    assert!(!ended.output.contains("told: ") && ended.took < SOON, "{ended:#?}");
}

#[test]
fn a_process_with_other_data_is_named() {
    let ended = mpirun(3, "data").wait();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    ended.tells(&format!("{} has another data set: y, and not x as rank 0", named(2)));
}

#[test]
fn ctrl_c_stops_all_at_the_same_step() {
    for signal in [Signal::INT, Signal::TERM] {
        let started = mpirun(3, "stop");
        started.wait_for("step 20");
        started.signal(signal);
        let ended = started.wait();
        assert_ne!(ended.code, Some(0), "{ended:#?}");
        let lines = ended.output.lines();
        let steps: Vec<&str> = lines.filter_map(|line| line.split("stopped at step ").nth(1)).collect();
        assert!(steps.len() == 3 && steps.iter().all(|step| *step == steps[0]), "{signal:?}: {ended:#?}");
        assert_eq!(ended.output.matches("saved").count(), 1, "{ended:#?}");
    }
}
