//! What wgpu is asked for: from an adapter to a recorded call. Knows no operation.
//!
//! `adapter` finds and chooses one, `capabilities` and `precision` say what it can do, `device` owns it with its buffers, `source`
//! puts the text of a program together, `program` makes pipelines of it, `dispatch` is one recorded call, `step` what each
//! sees of a step, `readback` brings results to the host, `mapping` shows them there.

pub mod adapter;
pub mod capabilities;
pub mod device;
pub mod dispatch;
pub mod mapping;
pub mod precision;
pub mod program;
pub mod readback;
pub mod source;
pub mod step;
