//! A trained network at work: evaluation on a labelled split, predictions, votes over several networks.

pub mod evaluation;
pub mod model;
pub mod predictions;
