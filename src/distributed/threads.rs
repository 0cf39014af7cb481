//! Ranks that are threads of one process: the link on which everything is tested that is not MPI itself.
//!
//! A [`Wire`] makes it as slow as a network, or its messages late by chance. None is lost: the transports that ranks are joined by
//! lose none either, and say when a rank is gone, as this one does of a link that was dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::link::{Channel, Incoming, Link, Outgoing};
use crate::error::{Error, Kind, Result};

/// What lies between two ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wire {
    /// How long each message is under way.
    pub latency: Duration,
    /// What a rank sends in a second, to all others together; none for no limit.
    pub bytes_per_second: Option<f64>,
    /// By how much more a message is late at most, drawn for each.
    pub jitter: Duration,
}

/// One rank's end. Dropping it is the rank's end.
#[derive(Debug)]
pub struct Thread {
    rank: usize,
    ranks: usize,
    hub: Arc<Hub>,
}

/// What all ranks share.
#[derive(Debug)]
struct Hub {
    wire: Wire,
    state: Mutex<State>,
    changed: Condvar,
}

/// Sender, receiver and channel.
type Way = (usize, usize, Channel);

#[derive(Debug)]
struct State {
    /// Messages under way, with the time of their arrival.
    under_way: HashMap<Way, VecDeque<(Instant, Vec<u8>)>>,
    /// Until when each rank is sending what it was given.
    sending: Vec<Instant>,
    gone: Vec<bool>,
    aborted: bool,
    chance: ChaCha8Rng,
}

/// The links of `ranks` ranks with `wire` between them, in order of rank.
pub fn links(ranks: usize, wire: Wire) -> Vec<Thread> {
    let state = State {
        under_way: HashMap::new(),
        sending: vec![Instant::now(); ranks],
        gone: vec![false; ranks],
        aborted: false,
        chance: ChaCha8Rng::seed_from_u64(0),
    };
    let hub = Arc::new(Hub { wire, state: Mutex::new(state), changed: Condvar::new() });
    (0..ranks).map(|rank| Thread { rank, ranks, hub: Arc::clone(&hub) }).collect()
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, from: usize, channel: Channel, message: &Outgoing<'_>) {
        let mut state = self.state();
        let begun = state.sending[from].max(Instant::now());
        let seconds = self.wire.bytes_per_second.map_or(0.0, |rate| message.bytes.len() as f64 / rate);
        let sent = begun + Duration::from_secs_f64(seconds);
        state.sending[from] = sent;
        let late = self.wire.jitter.mul_f64(state.chance.random());
        let way = state.under_way.entry((from, message.to, channel)).or_default();
        // No message overtakes the one before.
        let arrives = way.back().map_or(sent, |(before, _)| sent.max(*before)).max(sent + self.wire.latency + late);
        way.push_back((arrives, message.bytes.to_vec()));
        drop(state);
        self.changed.notify_all();
    }

    fn receive(&self, to: usize, channel: Channel, from: usize) -> Result<Vec<u8>> {
        let mut state = self.state();
        loop {
            if state.aborted {
                return Err(Error::new(Kind::PeerLost, "another rank ended the training"));
            }
            let way = state.under_way.entry((from, to, channel)).or_default();
            let now = Instant::now();
            match way.front().map(|(arrives, _)| arrives.saturating_duration_since(now)) {
                Some(Duration::ZERO) => {}
                Some(wait) => {
                    let woken = self.changed.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
                None if state.gone[from] => {
                    return Err(Error::new(Kind::PeerLost, format!("rank {from} is gone")));
                }
                None => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            if let Some((_, bytes)) = way.pop_front() {
                return Ok(bytes);
            }
        }
    }
}

impl Link for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    /// Messages are copied as they are sent, so that only receiving waits.
    fn exchange(&self, channel: Channel, outgoing: &[Outgoing<'_>], incoming: &mut [Incoming<'_>]) -> Result<()> {
        outgoing.iter().for_each(|message| self.hub.send(self.rank, channel, message));
        for message in incoming {
            let bytes = self.hub.receive(self.rank, channel, message.from)?;
            let Some(place) = message.bytes.get_mut(..bytes.len()) else {
                let (came, room) = (bytes.len(), message.bytes.len());
                let what = format!("rank {} sent {came} bytes where {room} were expected", message.from);
                return Err(Error::new(Kind::PeerLost, what));
            };
            place.copy_from_slice(&bytes);
            message.len = bytes.len();
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.hub.state().aborted
    }

    fn abort(&self, _code: u8) {
        self.hub.state().aborted = true;
        self.hub.changed.notify_all();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.hub.state().gone[self.rank] = true;
        self.hub.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Sends `bytes` to `to`, and nothing else.
    fn send(link: &Thread, to: usize, bytes: &[u8]) {
        link.exchange(Channel::Words, &[Outgoing { to, bytes }], &mut []).expect("sending waits for nobody");
    }

    /// Receives a message of at most `room` bytes.
    fn receive(link: &Thread, from: usize, room: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; room];
        let mut incoming = [Incoming::new(from, &mut bytes)];
        link.exchange(Channel::Words, &[], &mut incoming)?;
        let len = incoming[0].len;
        bytes.truncate(len);
        Ok(bytes)
    }

    #[test]
    fn late_messages_arrive_in_their_order_on_their_channel() {
        let wire = Wire { jitter: Duration::from_millis(3), ..Wire::default() };
        let ends = links(2, wire);
        for number in 0..20 {
            send(&ends[0], 1, &vec![number; usize::from(number)]);
        }
        let other = Outgoing { to: 1, bytes: &[77] };
        ends[0].exchange(Channel::Sums, &[other], &mut []).expect("sent");
        for number in 0..20 {
            assert_eq!(receive(&ends[1], 0, 32).expect("sent"), vec![number; usize::from(number)]);
        }
        let mut byte = [0];
        ends[1].exchange(Channel::Sums, &[], &mut [Incoming::new(0, &mut byte)]).expect("sent");
        assert_eq!(byte, [77]);
    }

    #[test]
    fn a_wire_takes_its_time() {
        let wire = Wire { latency: Duration::from_millis(20), bytes_per_second: Some(1e5), jitter: Duration::ZERO };
        let ends = links(2, wire);
        let begun = Instant::now();
        send(&ends[0], 1, &[0; 2000]);
        send(&ends[0], 1, &[0; 2000]);
        receive(&ends[1], 0, 2000).expect("sent");
        receive(&ends[1], 0, 2000).expect("sent");
        assert!(begun.elapsed() >= Duration::from_millis(60), "4000 bytes at 1e5 a second, and 20 ms");
    }

    #[test]
    fn whoever_waits_for_a_rank_that_is_gone_hears_of_it() {
        let mut ends = links(3, Wire::default());
        send(&ends[2], 0, b"farewell");
        let waiting = ends.remove(0);
        let waiter = thread::spawn(move || {
            assert_eq!(receive(&waiting, 2, 8).expect("sent before"), b"farewell");
            receive(&waiting, 2, 8)
        });
        drop(ends.remove(1));
        let error = waiter.join().expect("no panic").expect_err("gone");
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::PeerLost, "rank 2 is gone"));
    }

    #[test]
    fn an_end_wakes_all_and_a_message_that_is_too_long_is_an_error() {
        let mut ends = links(3, Wire::default());
        send(&ends[1], 0, &[0; 9]);
        let error = receive(&ends[0], 1, 8).expect_err("too long");
        assert!(error.to_string().contains("rank 1 sent 9 bytes where 8 were expected"), "{error}");
        let waiting = ends.remove(0);
        let waiter = thread::spawn(move || receive(&waiting, 1, 8));
        ends[1].abort(1);
        assert_eq!(waiter.join().expect("no panic").expect_err("ended").kind(), Kind::PeerLost);
    }
}
