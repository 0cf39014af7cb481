//! A trained network at work: evaluation on a labelled split, predictions, votes over several networks, and a look at
//! what it looks at.

pub mod answers;
pub mod calibration;
pub mod class_scores;
pub mod dense;
pub mod evaluation;
pub mod features;
pub mod fusion;
pub mod grad_cam;
pub mod inside;
pub mod model;
mod paths;
pub mod predictions;
pub mod teachers;
pub mod tta;
