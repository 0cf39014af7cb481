//! An order of classes in which those that are taken for each other stand together.
//!
//! Average-linkage clustering of how often two classes are confused, either way; the tree's leaves in order, each merge
//! turned so that what meets in its middle is most alike. Deterministic: of equals the lower index wins. It needs n^2
//! numbers and about n^2 steps (nearest-neighbour chains, Murtagh 1983).

/// A permutation of 0..n from shares, [n][n]: row true, column predicted. With nothing confused, the order as it is.
pub fn order(shares: &[Vec<f64>]) -> Vec<usize> {
    let n = shares.len();
    let alike: Vec<Vec<f64>> = (0..n).map(|a| (0..n).map(|b| shares[a][b] + shares[b][a]).collect()).collect();
    let mut linkage = alike.clone();
    // The members of a cluster, in order, at the index of its lowest one; empty for those merged away.
    let mut clusters: Vec<Vec<usize>> = (0..n).map(|i| vec![i]).collect();
    let mut merges: Vec<(f64, usize, usize)> = Vec::new();
    let mut sizes = vec![1.0; n];
    let mut chain: Vec<usize> = Vec::new();
    for _ in 1..n {
        if chain.is_empty() {
            chain.extend((0..n).find(|i| sizes[*i] > 0.0));
        }
        let (a, b) = reciprocal(&mut chain, &linkage, &sizes);
        let (a, b) = (a.min(b), a.max(b));
        merges.push((linkage[a][b], a, b));
        for other in (0..n).filter(|o| sizes[*o] > 0.0 && *o != a && *o != b) {
            let mean = (sizes[a] * linkage[a][other] + sizes[b] * linkage[b][other]) / (sizes[a] + sizes[b]);
            linkage[a][other] = mean;
            linkage[other][a] = mean;
        }
        sizes[a] += sizes[b];
        sizes[b] = 0.0;
    }
    // Chains find the merges of the greedy algorithm in another order; each joins what its two indices have become. Every
    // merge retires an index, so that together they are a tree and never join a cluster with itself.
    merges.sort_by(|x, y| y.0.total_cmp(&x.0));
    let mut home: Vec<usize> = (0..n).collect();
    for (_, a, b) in merges {
        let (a, b) = (root(&home, a), root(&home, b));
        let (a, b) = (a.min(b), a.max(b));
        let (left, right) = (std::mem::take(&mut clusters[a]), std::mem::take(&mut clusters[b]));
        clusters[a] = joined(left, right, &alike);
        home[b] = a;
    }
    clusters.concat()
}

fn root(home: &[usize], mut i: usize) -> usize {
    while home[i] != i {
        i = home[i];
    }
    i
}

/// Follows nearest neighbours until two are each other's, and takes those off the chain.
fn reciprocal(chain: &mut Vec<usize>, linkage: &[Vec<f64>], sizes: &[f64]) -> (usize, usize) {
    loop {
        let top = chain[chain.len() - 1];
        let before = chain.len().checked_sub(2).map(|i| chain[i]);
        let mut nearest = before;
        for other in (0..sizes.len()).filter(|o| sizes[*o] > 0.0 && *o != top) {
            if nearest.is_none_or(|n| linkage[top][other] > linkage[top][n]) {
                nearest = Some(other);
            }
        }
        match nearest {
            Some(found) if Some(found) != before => chain.push(found),
            found => {
                chain.truncate(chain.len().saturating_sub(2));
                return (top, found.unwrap_or(top));
            }
        }
    }
}

/// Two ordered clusters as one, turned so that the ends that meet are most alike; as they are where nothing speaks for a
/// turn.
fn joined(left: Vec<usize>, right: Vec<usize>, alike: &[Vec<f64>]) -> Vec<usize> {
    let ends = |members: &[usize]| (members[0], members[members.len() - 1]);
    let ((l0, l1), (r0, r1)) = (ends(&left), ends(&right));
    let ways = [(l1, r0), (l1, r1), (l0, r0), (l0, r1)].map(|(a, b)| alike[a][b]);
    let best = (1..4).fold(0, |best, way| if ways[way] > ways[best] { way } else { best });
    let turned = |members: Vec<usize>, turn: bool| if turn { members.into_iter().rev().collect() } else { members };
    let (left, right) = (turned(left, best >= 2), turned(right, best % 2 == 1));
    [left, right].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_are_confused_stand_together() {
        // 0, 3 and 5 are taken for each other, 1 and 4 are, and 2 is taken for 4 at times.
        let mut shares = vec![vec![0.0; 6]; 6];
        for (a, b, share) in [(0, 3, 0.5), (3, 5, 0.4), (0, 5, 0.3), (1, 4, 0.6), (2, 4, 0.1)] {
            shares[a][b] = share;
        }
        assert_eq!(order(&shares), [0, 3, 5, 1, 4, 2]);
    }

    #[test]
    fn the_order_is_a_permutation_that_hides_no_block() {
        // 12 blocks of 5 classes each, dealt out like cards: every block must come together again.
        let n = 60;
        let block = |i: usize| i % 12;
        let shares: Vec<Vec<f64>> = (0..n)
            .map(|a| {
                (0..n).map(|b| if block(a) == block(b) { 0.2 } else { ((a * 7 + b * 3) % 5) as f64 / 100.0 }).collect()
            })
            .collect();
        let order = order(&shares);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        assert_eq!(order.windows(2).filter(|pair| block(pair[0]) != block(pair[1])).count(), 11);
    }

    #[test]
    fn with_nothing_confused_nothing_moves() {
        assert_eq!(order(&vec![vec![0.0; 5]; 5]), [0, 1, 2, 3, 4]);
        assert_eq!(order(&[vec![1.0]]), [0]);
        assert!(order(&[]).is_empty());
    }
}
