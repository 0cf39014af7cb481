//! Data-parallel training: ranks that train the same network on parts of the same batches, and add their gradients.
//!
//! [`launch`] finds out whether this process is one of several, [`ranks`] is its part among them from the [`handshake`] to
//! the end, with a [`watch`] over those that cannot tell of theirs ([`processes`]).
//! [`link`] says how bytes get from rank to rank: between processes and machines by MPI (`mpi`, with the feature of that name),
//! between threads of one process ([`threads`]), on which everything but MPI itself is tested. [`exchange`] is the ranks as an
//! engine knows them ([`crate::engine::peers`]); it adds gradients by [`sum`] and asks for everyone's [`words`]. Nothing here knows of
//! networks, engines or files.
//!
//! **To add a transport**: implement [`link::Link`], and let `tests/distributed/` run over it.

pub mod exchange;
pub mod handshake;
pub mod launch;
pub mod link;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod processes;
pub mod ranks;
pub mod sum;
pub mod threads;
pub mod watch;
pub mod words;
