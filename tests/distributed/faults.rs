//! A rank that fails is told of once, by its name, and nobody waits for it.

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use vggkit::distributed::handshake::{self, Member};
use vggkit::distributed::ranks::Ranks;
use vggkit::engine::peers::Peers;
use vggkit::error::{Error, Kind, Result};

use super::ranks::{UNEVEN, over_links};

/// What three ranks end with, and in how long; `body` is given the exchange.
fn run(
    tell: fn(&Error),
    body: impl Fn(usize, &dyn Peers) -> Result<()> + Clone + Send + 'static,
) -> (Vec<Result<String, Error>>, Duration) {
    let begun = Instant::now();
    let ended = over_links(3, UNEVEN, move |link| {
        let ended = Ranks::new(link).run(tell, |ranks| {
            let exchange = ranks.exchange(4)?;
            body(ranks.rank(), &exchange).map(|()| ExitCode::SUCCESS)
        });
        ended.map(|code| format!("{code:?}"))
    });
    (ended, begun.elapsed())
}

/// A step of training: a sum and the metrics.
fn step(peers: &dyn Peers) -> Result<()> {
    let nodes = peers.leaves(12).map(|_| vec![1.0; 5000]).collect();
    peers.begin(0, 12, 5000, nodes)?;
    peers.finish()?;
    peers.all(&[1.0, 2.0])?;
    Ok(())
}

#[test]
fn the_error_of_one_rank_ends_all_and_is_told_once() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let tell = |error: &Error| TOLD.lock().expect("no panic").push(error.to_string());
    let (ended, took) = run(tell, |rank, peers| {
        step(peers)?;
        if rank == 2 {
            return Err(Error::new(Kind::Diverged, "the loss is no number"));
        }
        (0..1000).try_for_each(|_| step(peers))
    });
    assert!(took < Duration::from_secs(5), "{took:?}");
    let host = vggkit::distributed::handshake::host();
    let expected = format!("rank 2 (on {host}): the loss is no number");
    assert_eq!(TOLD.lock().expect("no panic").join("\n"), expected);
    let kinds: Vec<_> = ended.iter().map(|end| end.as_ref().map_err(Error::kind)).collect();
    assert_eq!(kinds, [Err(Kind::PeerLost), Err(Kind::PeerLost), Err(Kind::Diverged)]);
    assert_eq!(ended[2].as_ref().expect_err("diverged").to_string(), expected);
}

#[test]
fn of_an_error_of_all_rank_0_tells() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let tell = |error: &Error| TOLD.lock().expect("no panic").push(error.to_string());
    let (ended, took) = run(tell, |_, peers| {
        step(peers)?;
        Err(Error::new(Kind::Diverged, "the loss is no number"))
    });
    assert!(ended.iter().all(Result::is_err) && took < Duration::from_secs(5), "{ended:?}, {took:?}");
    let told = TOLD.lock().expect("no panic");
    assert!(told.len() == 1 && told[0].starts_with("rank 0 (on "), "{told:?}");
}

#[test]
fn a_rank_that_is_gone_without_a_word_is_named_by_the_others() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let tell = |error: &Error| TOLD.lock().expect("no panic").push(error.to_string());
    let ended = over_links(3, UNEVEN, move |link| {
        if link.rank() == 1 {
            return None; // killed
        }
        let run = |ranks: &Ranks| {
            let exchange = ranks.exchange(4)?;
            exchange.all(&[1.0]).map(|_| ExitCode::SUCCESS)
        };
        Some(Ranks::new(link).run(tell, run).expect_err("rank 1 is gone").to_string())
    });
    let told = TOLD.lock().expect("no panic");
    assert!(told.len() == 1 && told[0].ends_with("rank 1 is gone"), "{told:?}");
    assert!(ended[1].is_none() && ended[0].is_some() && ended[2].is_some());
}

#[test]
fn a_rank_that_gives_no_sign_of_life_is_named_by_the_next_one() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let tell = |error: &Error| {
        assert!(error.help().is_some_and(|help| help.contains("VGGKIT_PATIENCE")), "{error:?}");
        TOLD.lock().expect("no panic").push(error.to_string());
    };
    let begun = Instant::now();
    let ended = over_links(4, UNEVEN, move |link| {
        if link.rank() == 2 {
            // Stopped after it has greeted, without a beat.
            let member = Member { host: "c".into(), engine: "cpu".into(), ..Member::default() };
            handshake::greet(&*link, &member, &[]).expect("alike");
            while !link.ended() {
                thread::sleep(Duration::from_millis(10));
            }
            return None;
        }
        let run = |ranks: &Ranks| {
            ranks.greet(Member::default(), &[])?;
            let exchange = ranks.exchange(4)?;
            exchange.all(&[1.0]).map(|_| ExitCode::SUCCESS)
        };
        let ranks = Ranks::new(link).with_patience(Duration::from_secs(2));
        Some(ranks.run(tell, run).expect_err("rank 2 hangs").kind())
    });
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(*TOLD.lock().expect("no panic"), ["rank 2 (on c) has given no sign of life for 2 s"]);
    assert_eq!(ended, [Some(Kind::PeerLost), Some(Kind::PeerLost), None, Some(Kind::PeerLost)]);
}

#[test]
fn a_rank_that_computes_for_longer_than_the_others_have_patience_is_alive() {
    let ended = over_links(3, UNEVEN, |link| {
        let ranks = Ranks::new(link).with_patience(Duration::from_secs(3));
        let tell = |error: &Error| panic!("{error}");
        let ended = ranks.run(tell, |ranks| {
            let exchange = ranks.exchange(4)?;
            step(&exchange)?;
            if ranks.rank() == 1 {
                thread::sleep(Duration::from_secs(5));
            }
            step(&exchange).map(|()| ExitCode::SUCCESS)
        });
        ended.map(|_| ())
    });
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
}

#[test]
fn a_signal_that_comes_unevenly_stops_all_at_the_same_step_and_rank_0_tells() {
    static STEPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let tell = |error: &Error| TOLD.lock().expect("no panic").push(error.to_string());
    let (ended, _) = run(tell, |rank, peers| {
        for number in 0u32.. {
            let signal = if rank == 1 && number >= 7 { 15.0 } else { 0.0 };
            let signal = peers.largest(signal)?;
            if signal > 0.0 {
                STEPS.lock().expect("no panic").push(number);
                if rank == 0 {
                    thread::sleep(Duration::from_millis(700)); // saves, and the others wait for it
                }
                return Err(Error::new(Kind::Interrupted(signal as i32), "stopped"));
            }
            step(peers)?;
        }
        Ok(())
    });
    assert_eq!(*STEPS.lock().expect("no panic"), [7, 7, 7]);
    assert!(TOLD.lock().expect("no panic").is_empty(), "who called it tells");
    let codes: Vec<_> = ended.iter().map(|end| end.as_ref().map_err(Error::exit_code)).collect();
    let done = format!("{:?}", ExitCode::SUCCESS);
    assert_eq!(codes, [Err(143), Ok(&done), Ok(&done)]);
}
