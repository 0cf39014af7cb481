//! Table 1 of Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
//! (arXiv 1409.1556), as data. The architecture is this table and nothing else is.

/// One convolution of the table: a square kernel of 1 or 3 and its output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Kernel height and width, 1 or 3. Padding keeps the size: 0 for 1x1, 1 for 3x3.
    pub kernel: usize,
    /// Output channels.
    pub channels: usize,
}

/// A column of Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The paper's letter: "A", "A-LRN", "B", "C", "D" or "E".
    pub letter: &'static str,
    /// Weight layers: convolutions and the three linear layers.
    pub depth: usize,
    /// Local response normalisation after the first convolution.
    pub lrn: bool,
    /// The five stages, each followed by a pooling layer.
    pub stages: [&'static [Convolution]; 5],
}

const fn conv(kernel: usize, channels: usize) -> Convolution {
    Convolution { kernel, channels }
}

const S64: Convolution = conv(3, 64);
const S128: Convolution = conv(3, 128);
const S256: Convolution = conv(3, 256);
const S512: Convolution = conv(3, 512);
const P256: Convolution = conv(1, 256);
const P512: Convolution = conv(1, 512);

/// The six columns in the paper's order.
pub const TABLE_1: [Configuration; 6] = [
    Configuration {
        letter: "A",
        depth: 11,
        lrn: false,
        stages: [&[S64], &[S128], &[S256, S256], &[S512, S512], &[S512, S512]],
    },
    Configuration {
        letter: "A-LRN",
        depth: 11,
        lrn: true,
        stages: [&[S64], &[S128], &[S256, S256], &[S512, S512], &[S512, S512]],
    },
    Configuration {
        letter: "B",
        depth: 13,
        lrn: false,
        stages: [&[S64, S64], &[S128, S128], &[S256, S256], &[S512, S512], &[S512, S512]],
    },
    Configuration {
        letter: "C",
        depth: 16,
        lrn: false,
        stages: [&[S64, S64], &[S128, S128], &[S256, S256, P256], &[S512, S512, P512], &[S512, S512, P512]],
    },
    Configuration {
        letter: "D",
        depth: 16,
        lrn: false,
        stages: [&[S64, S64], &[S128, S128], &[S256, S256, S256], &[S512, S512, S512], &[S512, S512, S512]],
    },
    Configuration {
        letter: "E",
        depth: 19,
        lrn: false,
        stages: [
            &[S64, S64],
            &[S128, S128],
            &[S256, S256, S256, S256],
            &[S512, S512, S512, S512],
            &[S512, S512, S512, S512],
        ],
    },
];

/// Width of the two hidden linear layers.
pub const HIDDEN: usize = 4096;

/// The column with this depth; `conv1x1` picks C over D, `lrn` A-LRN over A. `None` where the table has no such column.
pub fn configuration(depth: usize, conv1x1: bool, lrn: bool) -> Option<&'static Configuration> {
    TABLE_1.iter().find(|c| c.depth == depth && c.has_1x1() == conv1x1 && c.lrn == lrn)
}

/// The depths of the table, ascending.
pub fn depths() -> Vec<usize> {
    let mut depths: Vec<_> = TABLE_1.iter().map(|c| c.depth).collect();
    depths.dedup();
    depths
}

/// The depth of the table that is nearest to `depth`; of two, the shallower.
pub fn nearest_depth(depth: usize) -> usize {
    depths().into_iter().min_by_key(|d| d.abs_diff(depth)).unwrap_or(depth)
}

impl Configuration {
    /// Where it stands in [`TABLE_1`].
    pub fn index(&self) -> usize {
        TABLE_1.iter().take_while(|column| *column != self).count()
    }

    /// Whether any convolution is 1x1 (configuration C).
    pub fn has_1x1(&self) -> bool {
        self.stages.iter().flat_map(|s| s.iter()).any(|c| c.kernel == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_knows_its_place() {
        let indices: Vec<_> = TABLE_1.iter().map(Configuration::index).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn depth_is_the_number_of_weight_layers() {
        for c in &TABLE_1 {
            let convolutions: usize = c.stages.iter().map(|s| s.len()).sum();
            assert_eq!(convolutions + 3, c.depth, "{}", c.letter);
        }
    }

    #[test]
    fn every_column_is_found_by_its_flags() {
        for c in &TABLE_1 {
            assert_eq!(configuration(c.depth, c.has_1x1(), c.lrn), Some(c));
        }
        assert_eq!(configuration(13, true, false), None);
        assert_eq!(depths(), [11, 13, 16, 19]);
        assert_eq!([0, 12, 14, 17, 99].map(nearest_depth), [11, 11, 13, 16, 19]);
        assert_eq!(configuration(16, false, true), None);
    }
}
