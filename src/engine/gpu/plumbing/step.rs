//! What every shader sees of a step. Knows no device.

/// The numbers of a step that every shader sees (`shaders/shared/step.wgsl`), the same for all dispatches of a submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct StepUniform {
    /// Samples in this micro-batch.
    pub samples: u32,
    /// Samples in the whole batch: what means are taken over.
    pub batch: u32,
    /// Index in the batch of this micro-batch's first sample.
    pub first: u32,
    /// 1 to add to gradients and metrics, 0 to overwrite them.
    pub accumulate: u32,
    /// Steps done before this one: low and high half.
    pub done: [u32; 2],
    /// Key of the dropout masks: low and high half.
    pub seed: [u32; 2],
    /// What the optimiser derives from the learning rate and the number of the step; see `shaders/layers/optimizer.wgsl`.
    pub step_size: f32,
    /// Adam's root of 1 - beta2^t.
    pub root_correction: f32,
    /// Slot of this step's metrics.
    pub slot: u32,
    /// As the trainer has it.
    pub learning_rate: f32,
    /// [`Update::average_share`](crate::engine::Update::average_share).
    pub average_share: f32,
    /// Keeps the size a multiple of 16 bytes.
    pub unused: [u32; 3],
}

impl StepUniform {
    /// The same with what an update takes of `update`.
    pub fn with_rates(self, update: &Self) -> Self {
        let Self { step_size, root_correction, learning_rate, average_share, .. } = *update;
        Self { step_size, root_correction, learning_rate, average_share, ..self }
    }
}
