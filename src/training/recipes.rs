//! The recipes that come with vggkit: the files of `recipes/`, by name.
//!
//! What they mean is read by `--recipe` as by `--config` (`cli/arguments/config.rs`). They say no default that `run.toml` leaves out,
//! such as the classic head, since [`variations`](super::variations) sets the two beside each other.

/// The replaced project's.
pub const SEED: &str = include_str!("../../recipes/seed.toml");
/// The paper's.
pub const PAPER: &str = include_str!("../../recipes/paper.toml");
/// For a GPU, within minutes.
pub const SHORT: &str = include_str!("../../recipes/short.toml");
/// Where there is no GPU.
pub const CPU: &str = include_str!("../../recipes/cpu.toml");
/// As long as it takes.
pub const BEST: &str = include_str!("../../recipes/best.toml");

/// Name and text of each.
pub const RECIPES: [(&str, &str); 5] =
    [("seed", SEED), ("paper", PAPER), ("short", SHORT), ("cpu", CPU), ("best", BEST)];
