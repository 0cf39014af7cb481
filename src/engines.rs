//! Which engine a user asks for, and how it is opened. The one file that knows both engines.

use std::borrow::Cow;

use crate::engine::cpu::CpuEngine;
use crate::engine::gpu::{self, GpuEngine};
use crate::engine::peers::Together;
use crate::engine::{Engine, Precision, Settings, State};
use crate::error::{Error, Result};
use crate::vgg::Plan;

/// Which engine a user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A hardware GPU where there is one that can do it, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU, or an error.
    Gpu,
}

/// An engine and what a user chooses of it.
#[derive(Clone, Default)]
pub struct Target {
    /// Which.
    pub choice: Choice,
    /// [`Settings::precise`], for settings that are made later.
    pub precise: bool,
    /// Of the GPU engine.
    pub gpu: gpu::Options,
    /// With whom it trains, for a training that is shared out.
    pub together: Option<Together>,
}

impl Target {
    /// Whether the GPU engine is meant. For [`Choice::Auto`] this looks for adapters.
    pub fn is_gpu(&self) -> bool {
        match self.choice {
            Choice::Cpu => false,
            Choice::Gpu => true,
            Choice::Auto => {
                gpu::plumbing::adapter::list().is_ok_and(|found| gpu::plumbing::adapter::any_hardware(&found))
            }
        }
    }

    /// Checks that the CPU engine can do what was chosen. Errors: f16.
    pub fn check_cpu(&self) -> Result<()> {
        if self.gpu.precision == Precision::F32 {
            return Ok(());
        }
        let why = if self.choice == Choice::Cpu { "" } else { ", and there is no hardware GPU (`vggkit devices`)" };
        Err(Error::usage(format!("the CPU engine computes in f32 only{why}"))
            .with_help("give --precision f32; f16 is for GPUs with matrix units (tensor cores)"))
    }
}

/// Makes the engine of `target`, from a state that it is lent or given. Errors: the engine's own, e.g. a state that does
/// not fit the plan.
pub fn open<'a>(
    target: &Target,
    plan: Plan,
    settings: Settings,
    state: impl Into<Cow<'a, State>>,
) -> Result<Box<dyn Engine>> {
    if target.is_gpu() {
        Ok(Box::new(match &target.together {
            Some(together) => GpuEngine::with_peers(plan, settings, &state.into(), &target.gpu, together)?,
            None => GpuEngine::new(plan, settings, &state.into(), &target.gpu)?,
        }))
    } else {
        target.check_cpu()?;
        Ok(Box::new(match &target.together {
            Some(together) => CpuEngine::with_peers(plan, settings, state, together.clone())?,
            None => CpuEngine::new(plan, settings, state)?,
        }))
    }
}
