//! Which of a network's first layers keep their weights while the others are trained.
//!
//! Frozen layers are the first ones, so that a backward pass ends where they begin. Batch normalisation in them normalises by
//! its running statistics, as in inference, and leaves these alone. Refuses to freeze the classifier: nothing would be trained.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::operation::Operation;
use super::plan::Plan;
use crate::error::{Error, Result};

/// In words `none`, `features` or `features:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Freeze {
    /// Nothing is frozen.
    #[default]
    None,
    /// All layers ahead of the classifier.
    Features,
    /// The first convolutions, at least one, each with what follows it up to the next.
    Convolutions(usize),
}

impl Plan {
    /// The same plan with frozen layers. Errors: more convolutions than there are.
    pub fn freeze(mut self, freeze: Freeze) -> Result<Self> {
        let is_convolution = |operation| matches!(operation, Operation::Conv2d { .. });
        let convolutions: Vec<usize> =
            (0..self.layers.len()).filter(|&index| is_convolution(self.layers[index].operation)).collect();
        let features = self.layers.iter().take_while(|layer| layer.name.starts_with("features.")).count();
        self.frozen = match freeze {
            Freeze::None => 0,
            Freeze::Features => features,
            Freeze::Convolutions(first) if first > convolutions.len() => {
                let (column, there) = (self.network.column(), convolutions.len());
                return Err(Error::usage(format!("--freeze {freeze}: {column} has {there} convolutions"))
                    .with_help(format!("choose features:{there} at most; features alone are all of them")));
            }
            Freeze::Convolutions(first) => convolutions.get(first).copied().unwrap_or(features),
        };
        Ok(self)
    }
}

impl Freeze {
    /// Whether nothing is frozen.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Features => f.write_str("features"),
            Self::Convolutions(first) => write!(f, "features:{first}"),
        }
    }
}

impl FromStr for Freeze {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "choose features (all convolutions), features:N (the first N of them, from 1) or none; the classifier is always \
             trained"
                .to_owned()
        };
        match text {
            "none" => Ok(Self::None),
            "features" => Ok(Self::Features),
            _ => {
                let first = text.strip_prefix("features:").and_then(|first| first.parse().ok());
                first.filter(|first| *first > 0).map(Self::Convolutions).ok_or_else(wrong)
            }
        }
    }
}

impl TryFrom<String> for Freeze {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        freeze.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vgg::Network;

    #[test]
    fn in_words_and_back() {
        for text in ["none", "features", "features:1", "features:13"] {
            assert_eq!(text.parse::<Freeze>().map(|freeze| freeze.to_string()), Ok(text.to_owned()));
        }
        for wrong in ["", "features:", "features:0", "features:-1", "features:x", "all", "classifier", "Features"] {
            assert!(
                wrong.parse::<Freeze>().is_err_and(|e| e.contains("features:N") && e.contains("always")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_first_convolutions_are_frozen_with_what_follows_them() -> Result<()> {
        let plan = |lrn: bool, freeze| Network { lrn, batch_norm: !lrn, ..Network::default() }.plan()?.freeze(freeze);
        for (lrn, freeze, first_trained, tensors) in [
            (false, Freeze::None, "features.0", 0),
            (false, Freeze::Convolutions(1), "features.4", 6),
            (false, Freeze::Convolutions(3), "features.11", 18),
            (false, Freeze::Convolutions(8), "avgpool", 48),
            (false, Freeze::Features, "avgpool", 48),
            (true, Freeze::Convolutions(1), "features.4", 2), // its ReLU, normalisation and pooling are frozen with it
        ] {
            let plan = plan(lrn, freeze)?;
            assert_eq!(plan.layers[plan.frozen].name, first_trained, "{freeze}");
            let specs = plan.tensors();
            assert!(specs[..tensors].iter().all(|spec| spec.frozen && !spec.trained()), "{freeze}");
            assert!(
                specs[tensors..].iter().all(|spec| !spec.frozen && spec.trained() == spec.role.trained()),
                "{freeze}"
            );
        }
        let error = plan(false, Freeze::Convolutions(9)).expect_err("VGG-11 has eight");
        let text = format!("{error} {}", error.help().unwrap_or_default());
        assert!(text.contains("VGG-11 has 8 convolutions") && text.contains("features:8 at most"), "{text}");
        Ok(())
    }
}
