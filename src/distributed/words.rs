//! Everyone's bytes to everyone, of any length: statistics, flags, greetings. And those of rank 0: the state in which a training
//! begins.

use super::link::{Channel, Incoming, Link, Outgoing};
use crate::error::{Error, Kind, Result};

/// What a first message has room for: most of what is said comes in one message a pair of ranks.
const FIRST: usize = 8192;

/// Bytes ahead of what is said: how long it is.
const LENGTH: usize = 8;

/// Bytes that are passed on at once: few enough for several to be under way between ranks, and for a beat between two of them.
const CHUNK: usize = 4 << 20;

/// More than anybody says: whoever announces it is no rank of this program.
const LONGEST: usize = 1 << 30;

/// What each rank says, in order of rank, and how many bytes this one sent. Errors: another rank is gone, or speaks otherwise.
pub fn all(link: &dyn Link, channel: Channel, mine: &[u8]) -> Result<(Vec<Vec<u8>>, u64)> {
    let (me, ranks) = (link.rank(), link.ranks());
    let (first, rest) = (first_of(mine), mine.get(FIRST - LENGTH..).unwrap_or_default());
    let mut heads = vec![[0; FIRST]; ranks];
    let sent = send_to_all(link, channel, &first, heads.iter_mut().map(|head| &mut head[..]))?;
    let mut said = Vec::with_capacity(ranks);
    for (rank, head) in heads.into_iter().enumerate() {
        said.push(begun_by(&head, rank)?);
    }
    said[me] = mine.to_vec();
    let rests = said.iter_mut().map(|said| said.get_mut(FIRST - LENGTH..).unwrap_or_default());
    let more = send_to_all(link, channel, rest, rests)?;
    Ok((said, sent + more))
}

/// What rank 0 says, on all ranks: `mine` there, and nothing on the others. Errors: another rank is gone, or speaks otherwise.
///
/// Ranks are a binomial tree: each hears it of one, and passes on what has come to those that hear it next while more comes. So it
/// takes as often as long as one rank takes to another as there are bits in the number of ranks, not as there are ranks.
pub fn of_first(link: &dyn Link, channel: Channel, mine: &[u8]) -> Result<Vec<u8>> {
    let (parent, children) = kin(link.rank(), link.ranks());
    let mut head = first_of(mine);
    head.resize(FIRST, 0);
    let pass_on = |bytes: &[u8], from: Option<usize>, place: &mut [u8]| {
        let outgoing = children.iter().filter(|_| !bytes.is_empty()).map(|to| Outgoing { to: *to, bytes });
        let from = from.filter(|_| !place.is_empty());
        let mut incoming: Vec<_> = from.map(|from| Incoming::new(from, place)).into_iter().collect();
        link.exchange(channel, &outgoing.collect::<Vec<_>>(), &mut incoming)
    };
    pass_on(&[], parent, &mut head)?;
    pass_on(&head, None, &mut [])?;
    let mut said = if parent.is_some() { begun_by(&head, 0)? } else { mine.to_vec() };
    let mut passed = said.len().min(FIRST - LENGTH);
    let mut here = if parent.is_some() { passed } else { said.len() };
    while passed < said.len() {
        let (known, rest) = said.split_at_mut(here);
        let more = rest.len().min(CHUNK);
        let next = known.len().min(passed + CHUNK);
        pass_on(&known[passed..next], parent, &mut rest[..more])?;
        (passed, here) = (next, here + more);
    }
    Ok(said)
}

/// Whom `rank` hears rank 0's words of, and who hears them of it: those with the most others behind them first.
fn kin(rank: usize, ranks: usize) -> (Option<usize>, Vec<usize>) {
    let behind = if rank == 0 { ranks.next_power_of_two() } else { rank & rank.wrapping_neg() };
    let steps = (0..behind.trailing_zeros()).rev().map(|bit| rank + (1 << bit));
    ((rank > 0).then(|| rank - behind), steps.filter(|child| *child < ranks).collect())
}

/// A first message of what is said: how long it is, and its begin.
fn first_of(said: &[u8]) -> Vec<u8> {
    [&(said.len() as u64).to_le_bytes(), &said[..said.len().min(FIRST - LENGTH)]].concat()
}

/// What `rank` says whose first message is `head`, with zeros where the rest will be. Errors: it announces more than anybody says.
fn begun_by(head: &[u8], rank: usize) -> Result<Vec<u8>> {
    let (length, first) = head.split_at(LENGTH);
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > LONGEST {
        return Err(Error::new(Kind::PeerLost, format!("rank {rank} is not a rank of this program")));
    }
    let mut words = first[..length.min(first.len())].to_vec();
    words.resize(length, 0);
    Ok(words)
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

#[cfg(test)]
mod tests {
    use super::kin;

    #[test]
    fn each_rank_hears_rank_0_once_and_soon() {
        for ranks in 1..70 {
            let mut heard = vec![0; ranks];
            for rank in 0..ranks {
                let (parent, children) = kin(rank, ranks);
                assert_eq!(parent.is_none(), rank == 0);
                // Whoever passes on has heard before, so that walking up comes to rank 0 in as many steps as a number has bits.
                let mut up = (rank, 0);
                while let (Some(parent), _) = kin(up.0, ranks) {
                    assert!(kin(parent, ranks).1.contains(&up.0) && parent < up.0);
                    up = (parent, up.1 + 1);
                }
                assert!(up.1 <= rank.count_ones() && children.len() <= ranks.next_power_of_two().ilog2() as usize);
                children.into_iter().for_each(|child| heard[child] += 1);
            }
            assert!(heard[0] == 0 && heard[1..].iter().all(|times| *times == 1), "{ranks}: {heard:?}");
        }
        assert_eq!(kin(0, 8), (None, vec![4, 2, 1]));
        assert_eq!(kin(4, 7), (Some(0), vec![6, 5]));
    }
}
