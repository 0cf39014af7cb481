//! Ranks that add their gradients, as threads of one process: what they come to, and what happens where one fails.

#![allow(missing_docs, reason = "a test")]

mod faults;
mod handshake;
mod ranks;
mod sums;
mod words;
