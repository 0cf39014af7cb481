//! What a recipe chooses by name.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// How the learning rate moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// Half a cosine to 0 over all epochs.
    Cosine,
    /// Divided by 10 when validation loss, or with --hold-out that of held-out images, has not improved for half the patience (at least 2 epochs).
    Plateau,
}

/// By what the network to keep is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Select {
    /// The lowest loss
    #[default]
    Loss,
    /// The highest top-1 accuracy, the first of equals
    Top1,
    /// The last epoch
    Last,
}

/// Of which operations of TrivialAugment each train image goes through one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrivialAugment {
    /// None
    #[default]
    Off,
    /// Ten of the fourteen, all that earlier versions drew: no contrast, sharpness, autocontrast and equalize
    Ten,
    /// The fourteen of TrivialAugment Wide
    #[value(alias = "on")]
    Wide,
}

impl TrivialAugment {
    /// As files have it, of which those of versions that drew but ten say `true`.
    pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::Boolean(on) => Ok(if on { Self::Ten } else { Self::Off }),
            named => named.try_into().map_err(D::Error::custom),
        }
    }
}

impl Schedule {
    /// Epochs without a lower validation loss after which a training stops where nobody says. With a planned end it never
    /// does: validation loss may rise until late, and fall when the learning rate does.
    pub fn patience(self) -> usize {
        match self {
            Self::Constant | Self::Plateau => 6,
            Self::Cosine => 0,
        }
    }

    /// As `run.toml` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Cosine => "cosine",
            Self::Plateau => "plateau",
        }
    }
}
