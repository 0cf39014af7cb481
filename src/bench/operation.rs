//! What one operation of one layer reached in a step.

use serde::{Deserialize, Serialize};

/// One operation of one layer in one step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// Layer and pass.
    pub name: String,
    /// Of a convolution.
    pub variant: Option<String>,
    /// In one step.
    pub seconds: f64,
    /// Of all operations' time.
    pub share_of_step: f64,
    /// As a direct convolution.
    pub flops: Option<f64>,
    /// `flops` beside the limit.
    pub share_of_flops: Option<f64>,
    /// Read and written.
    pub bytes_per_s: f64,
    /// `bytes_per_s` beside the limit.
    pub share_of_bytes: Option<f64>,
}

impl Operation {
    pub(super) fn new(name: String, variant: Option<String>, seconds: f64) -> Self {
        Self {
            name,
            variant,
            seconds,
            share_of_step: 0.0,
            flops: None,
            share_of_flops: None,
            bytes_per_s: 0.0,
            share_of_bytes: None,
        }
    }

    /// Sets its rates from what it did; all operations took `whole` seconds.
    pub(super) fn rate(&mut self, whole: f64, flops: Option<f64>, bytes: f64) {
        let seconds = self.seconds.max(1e-12);
        self.share_of_step = seconds / whole.max(1e-12);
        self.flops = flops.map(|flops| flops / seconds);
        self.bytes_per_s = bytes / seconds;
    }
}
