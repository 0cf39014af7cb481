//! Any number of ranks comes to the bits of one.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use vggkit::distributed::exchange::Exchange;
use vggkit::distributed::threads::Wire;
use vggkit::engine::peers::{Alone, Peers};
use vggkit::engine::tree::{self, Stack};

use super::ranks::{over_exchanges, over_links};

/// What a micro-batch's gradient of a bucket is: numbers whose sum depends on the order of additions.
fn gradient(bucket: usize, leaf: usize, len: usize) -> Vec<f32> {
    let mut chance = ChaCha8Rng::seed_from_u64((bucket * 1000 + leaf) as u64);
    (0..len).map(|_| chance.random_range(-1.0f32..1.0) * 10f32.powi(chance.random_range(-6..6))).collect()
}

/// This rank's nodes of a bucket, in buffers of `peers`.
fn nodes(peers: &dyn Peers, bucket: usize, samples: usize, len: usize) -> Vec<Vec<f32>> {
    let mut stack = Stack::default();
    for leaf in peers.leaves(samples) {
        let mut buffer = peers.buffer(len);
        buffer.copy_from_slice(&gradient(bucket, leaf, len));
        stack.push(leaf..leaf + 1, buffer, |mut left: Vec<f32>, right| {
            tree::add(&mut left, &right);
            peers.give_back(right);
            left
        });
    }
    stack.into_nodes()
}

/// A bit pattern for each value of each bucket of each batch: `lens` are the buckets' lengths.
fn train(peers: &dyn Peers, batches: &[usize], lens: &[usize]) -> Vec<u32> {
    let mut bits = Vec::new();
    for samples in batches {
        for (bucket, len) in lens.iter().enumerate() {
            peers.begin(bucket, *samples, *len, nodes(peers, bucket, *samples, *len)).expect("begun");
        }
        for bucket in 0..lens.len() {
            let (taken, sum) = peers.finish().expect("summed");
            assert_eq!(taken, bucket, "in the order in which they were begun");
            bits.extend(sum.iter().map(|v| v.to_bits()));
            peers.give_back(sum);
        }
    }
    bits
}

/// Large and small buckets, some that cannot be cut evenly, some with fewer values than ranks.
const LENS: [usize; 6] = [1500, 1, 1025, 3, 1024, 2345];

#[test]
fn any_number_of_ranks_has_the_bits_of_one() {
    // A tail of one sample, fewer micro-batches than ranks, and batches without a sample.
    let batches = [64, 52, 49, 8, 1, 0, 64];
    for micro_batch in [4, 16] {
        let alone = train(&Alone::new(micro_batch), &batches, &LENS);
        for ranks in [1, 2, 3, 4, 7] {
            let bits = over_exchanges(ranks, micro_batch, move |peers| train(peers, &batches, &LENS));
            assert!(bits.iter().all(|rank| *rank == alone), "{ranks} ranks, micro-batches of {micro_batch}");
        }
    }
    let other = (train(&Alone::new(4), &[64], &[1500]), train(&Alone::new(16), &[64], &[1500]));
    assert_ne!(other.0, other.1, "these numbers show an order");
}

#[test]
fn shares_are_all_samples_and_sums_of_other_nodes_are_refused() {
    let shares = over_exchanges(4, 16, |peers| (peers.rank(), peers.share(100), peers.share(10)));
    let expected = [(0..16, 0..0), (16..48, 0..0), (48..80, 0..0), (80..100, 0..10)];
    for (rank, (share, (whole, tail))) in shares.into_iter().zip(expected).enumerate() {
        assert_eq!(share, (rank, whole, tail));
    }
    let errors = over_exchanges(2, 16, |peers| {
        let few = peers.begin(5, 64, 2, vec![vec![0.0; 2]; 2]).expect_err("two leaves of a rank are one node");
        let short = peers.begin(5, 64, 2, vec![vec![0.0; 1]]).expect_err("one value is missing");
        let none = peers.finish().expect_err("nothing was begun");
        [few, short, none].map(|error| error.to_string())
    });
    for [few, short, none] in errors {
        assert!(few.contains("bucket 5") && short.contains("bucket 5"), "{few}, {short}");
        assert!(none.contains("no sum of gradients was begun"), "{none}");
    }
}

#[test]
fn a_step_comes_to_need_no_new_buffers() {
    let counts = over_exchanges(3, 8, |peers| {
        let place = |peers: &Exchange| {
            let buffers: Vec<_> = (0..20).map(|_| peers.buffer(2000)).collect();
            let places: Vec<_> = buffers.iter().map(|buffer| buffer.as_ptr() as usize).collect();
            buffers.into_iter().for_each(|buffer| peers.give_back(buffer));
            places
        };
        let mut before = place(peers);
        for _ in 0..5 {
            train(peers, &[64], &[2000, 1500, 2000]);
        }
        let mut after = place(peers);
        before.sort_unstable();
        after.sort_unstable();
        before == after
    });
    assert_eq!(counts, [true; 3]);
}

#[test]
fn traffic_is_what_the_algorithm_needs_and_computing_hides_it() {
    const LEN: usize = 100_000;
    let wire = Wire { bytes_per_second: Some(2e7), ..Wire::default() };
    let traffic = over_links(4, wire, |link| {
        let peers = Exchange::new(link, 4).expect("a thread");
        peers.begin(0, 16, LEN, nodes(&peers, 0, 16, LEN)).expect("begun");
        std::thread::sleep(Duration::from_millis(200)); // the gradients of earlier layers
        peers.finish().expect("summed");
        peers.all(&[1.0]).expect("said");
        peers.traffic()
    });
    let sums = 2 * 3 * (LEN / 4) * 4; // (N - 1) / N of 400 kB, twice
    let slowest = traffic.iter().map(|rank| rank.communication).fold(0.0, f64::max);
    assert!(slowest >= sums as f64 / 2e7, "{slowest} s: shorter than the wire takes");
    for rank in traffic {
        assert_eq!(rank.bytes, (sums + 3 * 16) as u64, "and a length and a word to each");
        assert!(rank.waited <= rank.communication && rank.overlap() > 0.5, "{rank:?}");
    }
}
