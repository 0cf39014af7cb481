//! The loop around an engine: recipe, schedule, early stopping, checkpoints, history.
//!
//! **To add a setting**: the top of [`settings`] says it. **An augmentation**: a draw in [`augment`], how it is packed in `engine::sample`,
//! and a line in each of three gathers.

pub mod augment;
pub mod beginning;
pub mod changes;
pub mod checkpoint;
pub mod choices;
pub mod chosen;
pub mod ending;
mod first_weights;
mod folder;
pub mod history;
pub mod lineage;
pub mod metrics;
pub mod observer;
pub mod occupied;
pub mod opening;
pub mod packs;
pub mod range_test;
pub mod recipes;
pub mod run;
pub mod sampler;
pub mod schedule;
pub mod selection;
pub mod session;
pub mod settings;
pub mod sizes;
pub mod stop;
pub mod teaching;
pub mod tensorboard;
pub mod trainer;
pub mod variations;
mod writer;
