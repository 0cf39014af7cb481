//! What everyone says comes to everyone, as long as it is.

use std::time::Instant;

use super::ranks::{UNEVEN, over_exchanges, over_links};
use vggkit::distributed::link::Channel;
use vggkit::distributed::threads::Wire;
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

#[test]
fn what_rank_0_says_comes_to_any_number_of_ranks() {
    // Nothing, one message's worth to the byte, one byte more, one chunk with it, and several.
    let lens = [0usize, 8184, 8185, 8184 + (4 << 20), 8184 + (4 << 20) + 1, 13_000_003];
    let said = move |number: usize| -> Vec<u8> { (0..lens[number]).map(|at| (at % 251 + number) as u8).collect() };
    for ranks in 1..=9 {
        let heard = over_links(ranks, UNEVEN, move |link| {
            (0..lens.len()).all(|number| {
                let mine = if link.rank() == 0 { said(number) } else { Vec::new() };
                let heard = words::of_first(&*link, Channel::Words, &mine).expect("said");
                let of_all = words::all(&*link, Channel::Words, &[link.rank() as u8]).expect("said").0;
                heard == said(number) && of_all.len() == ranks
            })
        });
        assert_eq!(heard, vec![true; ranks]);
    }
}

/// Rank 0 has the same line whatever the number of ranks: twice as many take one time more, not twice as long.
#[test]
fn many_ranks_hear_rank_0_nearly_as_soon_as_few() {
    let (bytes, bytes_per_second) = (24_000_000, 240e6);
    let wire = Wire { bytes_per_second: Some(bytes_per_second), ..Wire::default() };
    let took = |ranks: usize| {
        let begun = Instant::now();
        let said = over_links(ranks, wire, move |link| {
            let mine = if link.rank() == 0 { vec![7; bytes] } else { Vec::new() };
            words::of_first(&*link, Channel::Words, &mine).expect("said").len()
        });
        assert_eq!(said, vec![bytes; ranks]);
        begun.elapsed().as_secs_f64()
    };
    let once = bytes as f64 / bytes_per_second;
    // A busy machine is late now and then; from rank 0 to each in turn it would be 1.5 s.
    let best = (0..5).map(|_| took(16)).fold(f64::INFINITY, f64::min);
    assert!(best >= 3.9 * once && best < 10.0 * once, "{best} s, and {once} s for one");
}
