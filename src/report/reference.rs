//! What others measured, as data: the project that vggkit replaces, and the paper.

use crate::vgg::Network;

/// A network of the replaced project with the best validation accuracy of its training log.
/// It trained on all of Tiny ImageNet (200 classes, 64x64 pixels) with batch normalisation.
pub struct Replaced {
    pub depth: usize,
    pub conv1x1: bool,
    /// Fraction in 0..1.
    pub val_top1: f64,
}

/// The five networks, in the order of Table 1.
pub const REPLACED: [Replaced; 5] = [
    Replaced { depth: 11, conv1x1: false, val_top1: 0.407 },
    Replaced { depth: 13, conv1x1: false, val_top1: 0.417 },
    Replaced { depth: 16, conv1x1: true, val_top1: 0.386 },
    Replaced { depth: 16, conv1x1: false, val_top1: 0.394 },
    Replaced { depth: 19, conv1x1: false, val_top1: 0.376 },
];

/// What it is, and where its figures are from.
pub const REPLACED_PROJECT: &str = "The replaced PyTorch project is the program that vggkit was written to replace: the same five networks with batch \
     normalisation, trained with PyTorch on a GTX 1070 on all 200 classes of Tiny ImageNet at 64×64 pixels (Adam at 0.001, \
     batches of 64, early stopping). Its accuracies are the best validation top-1 of each network in its training log; its \
     README says 36–40\u{a0}% of all of them, and about 40–50 images/s. Its 1×1 convolutions were padded by 1, which those \
     here are not.";

/// What the replaced project's README says of its networks together.
pub const REPLACED_README: &str = "36\u{2060}–\u{2060}40\u{a0}%";

/// Its training speed.
pub const REPLACED_RATE: &str = "about 40–50 images/s";

/// Classes of the data set that its figures are of.
pub const REPLACED_CLASSES: usize = 200;

/// The replaced project's figure for this kind of network.
pub fn replaced(network: &Network) -> Option<&'static Replaced> {
    REPLACED.iter().find(|r| !network.lrn && r.depth == network.depth && r.conv1x1 == network.conv1x1)
}

/// A column of the paper's results on ImageNet (arXiv 1409.1556v6, tables 2 and 3; training and test scale 256).
pub struct Paper {
    /// The letter of Table 1.
    pub letter: &'static str,
    /// Millions of parameters: 224x224 pixels, 1000 classes.
    pub parameters: u32,
    /// Validation error in per cent.
    pub top1_error: f64,
    /// Validation error in per cent.
    pub top5_error: f64,
}

/// The six columns.
pub const PAPER: [Paper; 6] = [
    Paper { letter: "A", parameters: 133, top1_error: 29.6, top5_error: 10.4 },
    Paper { letter: "A-LRN", parameters: 133, top1_error: 29.7, top5_error: 10.5 },
    Paper { letter: "B", parameters: 133, top1_error: 28.7, top5_error: 9.9 },
    Paper { letter: "C", parameters: 134, top1_error: 28.1, top5_error: 9.4 },
    Paper { letter: "D", parameters: 138, top1_error: 27.0, top5_error: 8.8 },
    Paper { letter: "E", parameters: 144, top1_error: 27.3, top5_error: 9.0 },
];
