//! What a user chooses of a network: a column of Table 1, how wide it is, what stands on top of it, and for what images.
//!
//! `plan` lays it out, `name` calls it.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::table::{Configuration, configuration, depths, nearest_depth};
use crate::error::{Error, Result};

/// What a user chooses of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Weight layers: 11, 13, 16 or 19.
    pub depth: usize,
    /// Configuration C: the last convolution of stages 3 to 5 is 1x1. Depth 16 only.
    pub conv1x1: bool,
    /// A-LRN. Depth 11 only.
    pub lrn: bool,
    /// Batch normalisation after every convolution.
    pub batch_norm: bool,
    /// Scales every channel count and the 4096s: floor, at least 1.
    pub width: f64,
    /// Probability of dropout after the two hidden linear layers.
    pub dropout: f32,
    /// What stands on top of the convolutions.
    #[serde(default, skip_serializing_if = "Head::is_classic")]
    pub head: Head,
    /// Output classes.
    pub classes: usize,
    /// Height and width the network sees.
    pub image_size: usize,
}

/// What makes logits of the last convolution's activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// The paper's three linear layers, 4096 wide, on averages of 2x2 parts
    #[default]
    Classic,
    /// One linear layer on averages of 2x2 parts
    Linear,
    /// One linear layer on the average of all (Lin et al. 2014, section 3.2; He et al. 2016)
    Average,
}

impl Head {
    /// Rows and columns that activations are averaged to.
    pub fn averages(self) -> usize {
        if self == Self::Average { 1 } else { 2 }
    }

    /// As flags and files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Linear => "linear",
            Self::Average => "average",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    fn is_classic(&self) -> bool {
        *self == Self::Classic
    }
}

impl Default for Network {
    /// VGG-11 as the replaced project trained it, on all of Tiny ImageNet.
    fn default() -> Self {
        Self {
            depth: 11,
            conv1x1: false,
            lrn: false,
            batch_norm: true,
            width: 1.0,
            dropout: 0.0,
            head: Head::Classic,
            classes: 200,
            image_size: 64,
        }
    }
}

impl Network {
    /// Possible heights and widths: four 2x2 poolings and the 2x2 average need 32 pixels.
    pub const IMAGE_SIZES: RangeInclusive<usize> = 32..=4096;

    /// The column of Table 1, or a usage error that says what goes together.
    pub fn configuration(&self) -> Result<&'static Configuration> {
        configuration(self.depth, self.conv1x1, self.lrn).ok_or_else(|| {
            Error::usage(if !depths().contains(&self.depth) {
                let (depth, nearest) = (self.depth, nearest_depth(self.depth));
                format!("depth {depth}: Table 1 of the paper has {:?}; the nearest is {nearest}", depths())
            } else if self.conv1x1 {
                format!(
                    "1x1 convolutions (-c11) go with depth 16 only (configuration C), not with depth {}",
                    self.depth
                )
            } else {
                format!(
                    "local response normalisation (--lrn) goes with depth 11 only (A-LRN), not with depth {}",
                    self.depth
                )
            })
        })
    }

    /// `channels` scaled by the width: floor, at least 1.
    pub(super) fn scaled(&self, channels: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and far below 2^53")]
        let scaled = (channels as f64 * self.width) as usize;
        scaled.max(1)
    }
}
