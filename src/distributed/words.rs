//! Everyone's bytes to everyone, of any length: statistics, flags, greetings.

use super::link::{Channel, Incoming, Link, Outgoing};
use crate::error::{Error, Kind, Result};

/// What a first message has room for: most of what is said comes in one message a pair of ranks.
const FIRST: usize = 8192;

/// Bytes ahead of what is said: how long it is.
const LENGTH: usize = 8;

/// More than anybody says: whoever announces it is no rank of this program.
const LONGEST: usize = 1 << 30;

/// What each rank says, in order of rank, and how many bytes this one sent. Errors: another rank is gone, or speaks otherwise.
pub fn all(link: &dyn Link, channel: Channel, mine: &[u8]) -> Result<(Vec<Vec<u8>>, u64)> {
    let (me, ranks) = (link.rank(), link.ranks());
    let (first, rest) = mine.split_at(mine.len().min(FIRST - LENGTH));
    let first = [&(mine.len() as u64).to_le_bytes(), first].concat();
    let mut heads = vec![[0; FIRST]; ranks];
    let sent = send_to_all(link, channel, &first, heads.iter_mut().map(|head| &mut head[..]))?;
    let mut said = Vec::with_capacity(ranks);
    for (rank, head) in heads.into_iter().enumerate() {
        let (length, first) = head.split_at(LENGTH);
        let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
        if length > LONGEST {
            return Err(Error::new(Kind::PeerLost, format!("rank {rank} is not a rank of this program")));
        }
        let mut words = first[..length.min(first.len())].to_vec();
        words.resize(length, 0);
        said.push(words);
    }
    said[me] = mine.to_vec();
    let rests = said.iter_mut().map(|said| said.get_mut(FIRST - LENGTH..).unwrap_or_default());
    let more = send_to_all(link, channel, rest, rests)?;
    Ok((said, sent + more))
}

/// Sends `mine` to all others, where there is anything, and receives into `places`, one for each rank, what fits there.
fn send_to_all<'a>(
    link: &dyn Link,
    channel: Channel,
    mine: &[u8],
    places: impl Iterator<Item = &'a mut [u8]>,
) -> Result<u64> {
    let (me, ranks) = (link.rank(), link.ranks());
    let others = (0..ranks).filter(|rank| *rank != me && !mine.is_empty());
    let outgoing: Vec<_> = others.map(|to| Outgoing { to, bytes: mine }).collect();
    let awaited = places.enumerate().filter(|(rank, place)| *rank != me && !place.is_empty());
    let mut incoming: Vec<_> = awaited.map(|(from, place)| Incoming::new(from, place)).collect();
    link.exchange(channel, &outgoing, &mut incoming)?;
    Ok((outgoing.len() * mine.len()) as u64)
}
