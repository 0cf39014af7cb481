//! What a process under `mpirun` does: the part that [`PART`] names.

use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use sha2::{Digest, Sha256};
use vggkit::distributed::handshake::Member;
use vggkit::distributed::launch;
use vggkit::distributed::ranks::Ranks;
use vggkit::engine::peers::{Alone, Peers};
use vggkit::engine::tree::{self, Stack};
use vggkit::error::{Error, Kind, Result};
use vggkit::training::stop::Stop;

/// The variable that says which part a process has.
pub const PART: &str = "VGGKIT_TEST_PART";

/// Prints a line at once: several processes write to where it goes.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("somebody reads");
}

/// Tells as the command line does, but for a mark.
fn tell(error: &Error) {
    say(&format!("told: {error}"));
}

#[test]
#[ignore = "the other tests start it under mpirun"]
fn rank() {
    let part = std::env::var(PART).expect("the other tests start it, and say which part it has");
    let Some(link) = launch::join().expect("MPI") else {
        assert_eq!(part, "sums", "alone");
        say(&format!("digest: {}", digest(&Alone::new(4)).expect("nobody to wait for")));
        return;
    };
    let ranks = Ranks::new(link);
    ranks.watch_panics(tell);
    let ended = ranks.run(tell, |ranks| act(&part, ranks).map(|()| ExitCode::SUCCESS));
    if let Err(error) = ended {
        tell(&error);
        std::process::exit(i32::from(error.exit_code()));
    }
}

fn act(part: &str, ranks: &Ranks) -> Result<()> {
    let data = if part == "data" && ranks.rank() == 2 { "y" } else { "x" };
    let members = ranks.greet(Member::default(), &[("data set", data.into())])?;
    assert_eq!(members.len(), ranks.ranks());
    let peers = ranks.exchange(4)?;
    match part {
        "sums" => {
            say(&format!("digest: {}", digest(&peers)?));
            return Ok(());
        }
        "error of all" => {
            step(&peers)?;
            return Err(Error::new(Kind::Engine, "nobody can"));
        }
        "stop" => return until_stopped(&peers),
        _ => step(&peers)?,
    }
    match (part, ranks.rank()) {
        ("error", 1) => Err(Error::usage("no such thing")),
        ("panic", 2) => {
            let _ = thread::spawn(|| panic!("a thread came upon the unexpected")).join();
            forever(&peers)
        }
        ("killed", 1) => {
            rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).expect("kill");
            forever(&peers)
        }
        _ => forever(&peers),
    }
}

/// A step of training: a sum and the metrics.
fn step(peers: &dyn Peers) -> Result<()> {
    let nodes = tree::nodes(peers.leaves(20)).into_iter().map(|_| vec![1.0; 5000]).collect();
    peers.begin(0, 20, 5000, nodes)?;
    peers.finish()?;
    peers.all(&[1.0, 2.0])?;
    Ok(())
}

fn forever(peers: &dyn Peers) -> Result<()> {
    loop {
        step(peers)?;
    }
}

/// Trains until a signal comes to any rank; rank 0 then saves for longer than the others take to end.
fn until_stopped(peers: &dyn Peers) -> Result<()> {
    let stop = Stop::on_signals()?;
    for number in 1.. {
        step(peers)?;
        if number == 20 && peers.rank() == 0 {
            say(&format!("step {number}"));
        }
        let signal = peers.largest(f64::from(stop.signal().unwrap_or_default()))?;
        if signal > 0.0 {
            say(&format!("stopped at step {number}"));
            if peers.rank() == 0 {
                thread::sleep(Duration::from_secs(3));
                say("saved");
            }
            return Err(Error::new(Kind::Interrupted(signal as i32), "stopped"));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What all ranks come to, of several batches with buckets of all sizes, in which every order of additions shows.
fn digest(peers: &dyn Peers) -> Result<String> {
    let mut digest = Sha256::new();
    for samples in [64, 49, 8, 1, 64] {
        let lens = [300_000, 3, 1025, 70_001];
        for (bucket, len) in lens.into_iter().enumerate() {
            let mut stack = Stack::default();
            for leaf in peers.leaves(samples) {
                let value = |at: usize| {
                    let drawn = (at + 1).wrapping_mul(2_654_435_761).wrapping_add(leaf * 40_503 + bucket) % 10_007;
                    (drawn as f32 - 5000.0) * 10f32.powi((drawn % 9) as i32 - 4)
                };
                stack.push(leaf..leaf + 1, (0..len).map(value).collect(), |mut left: Vec<f32>, right| {
                    tree::add(&mut left, &right);
                    left
                });
            }
            peers.begin(bucket, samples, len, stack.into_nodes())?;
        }
        for _ in lens {
            let (bucket, sum) = peers.finish()?;
            digest.update((bucket as u64).to_le_bytes());
            sum.iter().for_each(|value| digest.update(value.to_le_bytes()));
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
