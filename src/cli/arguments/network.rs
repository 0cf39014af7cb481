//! The flags that choose a network; `train` and `describe` share them.

use std::ops::Bound;

use clap::Args;

use super::values;
use crate::error::Result;
use crate::training::sizes::Sizes;
use crate::vgg::{Head, Network};

/// Which column of Table 1, how wide, and for which images.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArguments {
    /// Weight layers: 11, 13, 16 or 19 (configurations A, B, D and E of the paper)
    #[arg(short, long, value_name = "N", default_value_t = Network::default().depth, value_parser = values::depth, allow_negative_numbers = true)]
    pub depth: usize,
    /// With depth 16: the last convolution of stages 3 to 5 is 1x1 (configuration C) [also: -c11]
    #[arg(long = "conv1x1", visible_alias = "conv1_1")]
    pub conv1x1: bool,
    /// With depth 11: local response normalisation after the first convolution (configuration A-LRN)
    #[arg(long)]
    pub lrn: bool,
    /// Leave out batch normalisation, as the paper did
    #[arg(long)]
    pub no_batch_norm: bool,
    /// Scale every channel count and the two hidden linear layers
    #[arg(long, value_name = "FACTOR", default_value_t = Network::default().width, allow_negative_numbers = true,
          value_parser = values::real(Bound::Excluded(0.0), Bound::Included(16.0)))]
    pub width: f64,
    /// Dropout after the two hidden linear layers
    #[arg(long, value_name = "PROBABILITY", default_value_t = Network::default().dropout.into(), allow_negative_numbers = true,
          value_parser = values::real(Bound::Included(0.0), Bound::Excluded(1.0)))]
    pub dropout: f64,
    /// What stands on top of the convolutions
    #[arg(long, value_name = "HEAD", value_enum, default_value_t = Network::default().head)]
    pub head: Head,
    /// Height and width that the network sees, at least 32; images of another size are resized. In training several in turn,
    /// each with the epochs that are done ahead of it: 32:0,48:40,64:70
    #[arg(short, long, value_name = "PIXELS", default_value_t = Sizes::one(Network::default().image_size), visible_alias = "imagesize",
          value_parser = values::image_sizes, allow_negative_numbers = true)]
    pub image_size: Sizes,
}

impl NetworkArguments {
    /// The network for `classes` classes. Errors: flags that do not go together.
    pub fn network(&self, classes: usize) -> Result<Network> {
        let network = Network {
            depth: self.depth,
            conv1x1: self.conv1x1,
            lrn: self.lrn,
            batch_norm: !self.no_batch_norm,
            width: self.width,
            dropout: self.dropout as f32,
            head: self.head,
            classes,
            image_size: self.image_size.last(),
        };
        network.plan()?; // refuses what cannot be laid out
        Ok(network)
    }
}
