//! What everyone says comes to everyone, as long as it is.

use super::ranks::{UNEVEN, over_exchanges, over_links};
use vggkit::distributed::link::Channel;
use vggkit::distributed::words;
use vggkit::engine::peers::Peers;

#[test]
fn words_of_any_length_come_in_order_of_rank() {
    // None, one message's worth to the byte, one byte more, and far more.
    let lens = [0usize, 8184, 8185, 100_000, 3];
    let say = move |rank: usize, shift: usize| -> Vec<u8> {
        (0..lens[(rank + shift) % lens.len()]).map(|at| (at * 31 + rank * 7 + shift) as u8).collect()
    };
    let heard = over_links(5, UNEVEN, move |link| {
        let ask = |shift| words::all(&*link, Channel::Words, &say(link.rank(), shift)).expect("said");
        (0..5).map(|shift| ask(shift).0).collect::<Vec<_>>()
    });
    let expected: Vec<Vec<Vec<u8>>> = (0..5).map(|shift| (0..5).map(|rank| say(rank, shift)).collect()).collect();
    assert!(heard.iter().all(|rank| *rank == expected));
}

#[test]
fn numbers_keep_their_bits_and_the_largest_is_agreed_on() {
    let numbers = [f64::MIN_POSITIVE, -0.0, f64::INFINITY, 1.0 / 3.0];
    let heard = over_exchanges(4, 1, move |peers| {
        let mine = &numbers[..peers.rank()];
        let all = peers.all(mine).expect("said");
        let bits: Vec<Vec<u64>> = all.iter().map(|rank| rank.iter().map(|v| v.to_bits()).collect()).collect();
        let stop = peers.largest(if peers.rank() == 2 { 15.0 } else { 0.0 }).expect("said");
        (bits, stop)
    });
    for (bits, stop) in heard {
        let expected = |rank: usize| numbers[..rank].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits, (0..4).map(expected).collect::<Vec<_>>());
        assert_eq!(stop, 15.0, "what rank 2 was asked to do, all do");
    }
}
