//! Bytes from rank to rank: what a transport has to do, and no more.

use std::fmt::Debug;

use crate::error::Result;

/// Who uses a link at the same time: messages of one never come to another. One thread of a rank a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Sums of gradients, under way while the others compute.
    Sums,
    /// Words that somebody waits for.
    Words,
    /// That a rank has come to its end.
    End,
    /// That a rank is alive.
    Beats,
}

/// A message to another rank.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Whom to.
    pub to: usize,
    /// What it says.
    pub bytes: &'a [u8],
}

/// A message from another rank, received into its place.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Whom from.
    pub from: usize,
    /// Where it goes: room for what comes, or more.
    pub bytes: &'a mut [u8],
    /// How many bytes came.
    pub len: usize,
}

impl<'a> Incoming<'a> {
    /// One from `from` that goes to `bytes`.
    pub fn new(from: usize, bytes: &'a mut [u8]) -> Self {
        Self { from, bytes, len: 0 }
    }
}

/// How one rank reaches the others. Messages from one rank to another arrive in the order in which they were sent on their
/// channel, and none is lost: a rank that is gone is an error.
pub trait Link: Send + Sync + Debug {
    /// Which rank this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are, this one included.
    fn ranks(&self) -> usize;

    /// Sends and receives at once, and returns when all of it is done: no order of calls among ranks is a deadlock as long as
    /// each message has its counterpart. Nobody sends to itself.
    ///
    /// Errors ([`Kind::PeerLost`](crate::error::Kind::PeerLost)): another rank is gone, or sent more than there is room for.
    fn exchange(&self, channel: Channel, outgoing: &[Outgoing<'_>], incoming: &mut [Incoming<'_>]) -> Result<()>;

    /// Whether another rank ended all of them, and has told why. Where ranks are processes, this one ends with that.
    fn ended(&self) -> bool;

    /// Ends all ranks, the waiting ones too. Does not return where ranks are processes, which end with `code`.
    fn abort(&self, code: u8);
}
