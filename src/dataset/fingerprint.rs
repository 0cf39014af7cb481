//! Numbers by which images are compared: a hash of all bytes, for finding what is the same.
//!
//! Not cryptographic: whoever finds two equal hashes compares the bytes themselves.

/// A 64-bit hash of `bytes`, at several bytes a cycle. The same on every machine; not kept in any file.
pub fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let (blocks, words) = words.as_chunks::<4>();
    let mix = |lane: u64, word: &[u8; 8]| (lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
    let mut lanes = [1_u64, 2, 3, 4];
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block) {
            *lane = mix(*lane, word);
        }
    }
    for word in words {
        lanes[0] = mix(lanes[0], word);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    lanes[1] = mix(lanes[1], &last);
    let all = lanes.iter().fold(bytes.len() as u64, |all, lane| mix(all, &lane.to_le_bytes()));
    all ^ (all >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_changed_byte_gives_another_hash() {
        let mut seen = HashSet::new();
        for length in [0, 1, 7, 8, 31, 32, 33, 100] {
            let mut bytes = vec![0; length];
            assert!(seen.insert(hash(&bytes)), "zeros of another length");
            for at in 0..length {
                for value in [1, 128, 255] {
                    bytes[at] = value;
                    assert!(seen.insert(hash(&bytes)));
                    bytes[at] = 0;
                }
            }
        }
    }
}
