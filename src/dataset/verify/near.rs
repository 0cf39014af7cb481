//! Images that look nearly the same: perceptual hashes that differ in few bits, confirmed on small luminance images.
//!
//! Finds every pair up to the distance, not only likely ones: two hashes of 64 bits that differ in at most d of them agree
//! in at least one of d + 1 parts. Leaves out what is exactly the same, and images too even to be told apart.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::duplicates::{Pixels, Spread};
use super::look::{self, Look};
use crate::dataset::decode::Size;
use crate::dataset::finding::{Findings, Group, Severity};

/// The largest distance that can be asked for.
pub const MOST: u32 = 10;
/// Correlation of the two small luminance images, below which near hashes are chance. Of the official archive 43 pairs of
/// hashes are within 6 bits; this leaves 6, of which 4 show the same scene. Beyond 6 bits most pairs are chance all the same.
const LEAST_CORRELATION: f32 = 0.8;
/// Standard deviation of luminance below which a hash says nothing.
const LEAST_DEVIATION: f32 = 6.0;

/// Adds a finding for each spread. `exact` are groups of the same pixels, of which the first stands for all.
pub fn check(
    looks: &[Look],
    exact: &[Vec<usize>],
    (most, size): (u32, Size),
    pixels: &Pixels,
    findings: &mut Findings,
) {
    let others: HashSet<usize> = exact.iter().flat_map(|group| &group[1..]).copied().collect();
    let told_apart = |i: &usize| looks[*i].measures.deviation >= LEAST_DEVIATION && !others.contains(i);
    let mut candidates: Vec<usize> = (0..looks.len()).filter(told_apart).collect();
    candidates.sort_by_key(|i| looks[*i].measures.perceptual);
    let hashes: Vec<u64> = candidates.iter().map(|i| looks[*i].measures.perceptual).collect();
    let pairs = pairs(&hashes, most);
    let alike = |&(a, b, distance): &(u32, u32, u32)| {
        let (a, b) = (candidates[a as usize], candidates[b as usize]);
        let (a, b) = (a.min(b), a.max(b));
        let small = |i: usize| Some(look::small(&look::luminance(&pixels(&looks[i])?), size));
        (correlation(&small(a)?, &small(b)?) >= LEAST_CORRELATION).then_some((a, b, distance))
    };
    let mut found: Vec<(usize, usize, u32)> = pairs.par_iter().filter_map(alike).collect();
    found.sort_by_key(|&(a, b, distance)| (distance, a, b));
    for spread in Spread::ALL {
        let of_spread = found.iter().filter(|(a, b, _)| Spread::of(&[&looks[*a], &looks[*b]]) == spread);
        let groups: Vec<Group> = of_spread
            .map(|&(a, b, distance)| {
                let mut files = vec![looks[a].file.clone(), looks[b].file.clone()];
                files.sort();
                Group { distance: Some(distance), same_bytes: false, files }
            })
            .collect();
        let (severity, code) = match spread {
            Spread::Splits => (Severity::Warning, "near-splits"),
            Spread::Classes => (Severity::Note, "near-classes"),
            Spread::Within => (Severity::Note, "near-within"),
        };
        let pairs = if groups.len() == 1 { "1 pair".into() } else { format!("{} pairs", groups.len()) };
        let message = format!("{pairs} that look nearly the same (distance at most {most}) {}", spread.words());
        findings.add_groups(severity, code, message, groups);
    }
}

/// All pairs of hashes that differ in at most `most` bits, with that number; sorted, each once.
fn pairs(hashes: &[u64], most: u32) -> Vec<(u32, u32, u32)> {
    let parts = most + 1;
    let mut found: Vec<(u32, u32, u32)> = (0..parts)
        .into_par_iter()
        .flat_map_iter(|part| {
            let (start, end) = (64 * part / parts, 64 * (part + 1) / parts);
            let mask = u64::MAX >> (64 - (end - start));
            let mut buckets: HashMap<u64, Vec<u32>> = HashMap::new();
            for (i, hash) in hashes.iter().enumerate() {
                buckets.entry((hash >> start) & mask).or_default().push(i as u32);
            }
            let mut found = Vec::new();
            for bucket in buckets.values() {
                for (n, &a) in bucket.iter().enumerate() {
                    for &b in &bucket[n + 1..] {
                        let distance = (hashes[a as usize] ^ hashes[b as usize]).count_ones();
                        if distance <= most {
                            found.push((a, b, distance));
                        }
                    }
                }
            }
            found
        })
        .collect();
    found.par_sort_unstable();
    found.dedup();
    found
}

/// Pearson's; 0 where one does not vary.
fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa * bb > 0.0 { ab / (aa * bb).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_up_to_the_distance_is_found() {
        // Hashes in clusters: each a base with up to nine bits turned.
        let mix = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i.wrapping_mul(0xd1b5_4a32_d192_ed03) >> 17);
        let hashes: Vec<u64> = (0..400_u64)
            .map(|i| (0..i % 10).fold(mix(i / 20), |hash, k| hash ^ (1 << (mix(i * 31 + k) % 64))))
            .collect();
        for most in [0, 1, 4, 6, MOST] {
            let mut wanted = Vec::new();
            for a in 0..hashes.len() {
                for b in a + 1..hashes.len() {
                    let distance = (hashes[a] ^ hashes[b]).count_ones();
                    if distance <= most {
                        wanted.push((a as u32, b as u32, distance));
                    }
                }
            }
            assert!(wanted.len() >= 10, "the hashes have pairs to find");
            assert_eq!(pairs(&hashes, most), wanted, "distance {most}");
        }
    }

    #[test]
    fn correlation_tells_alike_from_chance() {
        let a: Vec<f32> = (0..50).map(|i| (i as f32).sin()).collect();
        let lighter: Vec<f32> = a.iter().map(|v| 3.0 * v + 7.0).collect();
        let other: Vec<f32> = (0..50).map(|i| (i as f32 * 1.7).cos()).collect();
        assert!(correlation(&a, &lighter) > 0.999);
        assert!(correlation(&a, &other).abs() < 0.5);
        assert_eq!(correlation(&a, &[4.0; 50]), 0.0);
    }
}
