//! The loop around an engine: recipe, schedule, early stopping, checkpoints, history.

pub mod history;
pub mod run;
