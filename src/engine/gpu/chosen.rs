//! Which passes a stage has, and the variant that was chosen for each.

use super::products::operands::Pass;
use super::products::variant::Variant;
use crate::engine::layout::Step;

/// The variants of one stage's passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chosen(pub(super) [Option<Variant>; 3]);

impl Chosen {
    /// That of `pass`, where the stage has it.
    pub fn of(&self, pass: Pass) -> Option<Variant> {
        PASSES.iter().position(|p| *p == pass).and_then(|at| self.0[at])
    }
}

pub(super) const PASSES: [Pass; 3] = Pass::ALL;

/// The passes that a stage needs: the first one that is trained has no gradient of its input.
pub(super) fn passes(step: &Step) -> impl Iterator<Item = (usize, Pass)> + use<> {
    let (input, weight) = (step.dx.is_some(), step.trained);
    let needed = move |pass: &(usize, Pass)| match pass.1 {
        Pass::Forward => true,
        Pass::InputGradient => input,
        Pass::WeightGradient => weight,
    };
    PASSES.into_iter().enumerate().filter(needed)
}

/// As a checkpoint names the variant of a stage's pass.
pub(super) fn variant_key(step: &Step, pass: Pass) -> String {
    format!("{} {}", step.stage.name, pass.name())
}
