//! One recorded call of a program, and how lists of them are submitted. Everything is made once, when a network is built;
//! a step only walks the lists.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytemuck::Pod;
use wgpu::util::DeviceExt;

use super::device::{Gpu, Slice};
use super::source::{Program, Source};
use crate::engine::gpu::Fault;
use crate::error::Result;
use crate::trace;

/// Workgroups in x, y and z.
pub type Groups = [u32; 3];

/// Workgroups as a function of the samples in a micro-batch.
pub type Grid = Box<dyn Fn(usize) -> Groups + Send + Sync>;

/// A program with its buffers and its number of workgroups.
pub struct Dispatch {
    /// What it is for: layer and operation, e.g. `features.0 forward`.
    pub label: String,
    /// Bytes of the storage buffers that it binds, each counted once.
    pub bytes: u64,
    /// What runs.
    pub program: Arc<Program>,
    /// Its own uniform.
    pub dims: Vec<u8>,
    /// Its storage buffers, from binding 2 on.
    pub storages: Vec<Slice>,
    bindings: wgpu::BindGroup,
    grid: Grid,
}

/// A range copied to a buffer, from `offset` bytes on.
pub struct Copy<'a> {
    /// Whence.
    pub from: Slice,
    /// Whither.
    pub to: &'a wgpu::Buffer,
    /// First byte there.
    pub offset: u64,
}

/// `groups` workgroups in a row, bent into x and y where there are more than the 65,535 that x can have. `depth` goes to
/// z. Shaders count with `group_index` of `step.wgsl`, and leave what is beyond their work undone.
pub fn spread(groups: usize, depth: usize) -> Groups {
    const MOST: usize = 65_535;
    let rows = groups.div_ceil(MOST).max(1);
    let columns = groups.div_ceil(rows);
    #[expect(clippy::cast_possible_truncation, reason = "both are at most 65,535 for any buffer that exists")]
    [columns as u32, rows as u32, depth as u32]
}

impl Gpu {
    /// Records a call of `source` with its own uniform `dims` (a struct of 4-byte fields, its size a multiple of 16) and
    /// storage buffers from binding 2 on. Errors: a shader that the driver rejects.
    pub fn dispatch<T: Pod>(
        &self,
        label: impl Into<String>,
        source: &Source,
        dims: &T,
        storages: &[&Slice],
        grid: impl Fn(usize) -> Groups + Send + Sync + 'static,
    ) -> Result<Dispatch> {
        let label = label.into();
        let program = self.program(source)?;
        let bindings = self.scoped(&label, || {
            let uniform = self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: Some("dims"),
                contents: bytemuck::bytes_of(dims),
                usage: wgpu::BufferUsages::UNIFORM,
            });
            let uniforms = [uniform.as_entire_binding(), self.step.as_entire_binding()];
            let resources = uniforms.into_iter().chain(storages.iter().map(|s| s.binding()));
            let entries: Vec<_> = resources
                .enumerate()
                .map(|(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource })
                .collect();
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&label),
                layout: &program.layout,
                entries: &entries,
            })
        })?;
        // What takes the place of a bias that there is not is a buffer that is bound already.
        let same = |a: &Slice, b: &Slice| a.buffer == b.buffer && a.offset == b.offset;
        let again = |(i, slice): &(usize, &&Slice)| storages[..*i].iter().any(|before| same(before, slice));
        let bytes = storages.iter().enumerate().filter(|entry| !again(entry)).map(|(_, slice)| slice.bytes).sum();
        let storages = storages.iter().map(|slice| (*slice).clone()).collect();
        let dims = bytemuck::bytes_of(dims).to_vec();
        Ok(Dispatch { label, bytes, program, dims, storages, bindings, grid: Box::new(grid) })
    }

    /// Submits lists of calls, one after another, for `samples` samples, and then copies. What [`Gpu::write_step`] wrote last is what they
    /// see.
    pub fn submit<'a>(
        &self,
        lists: impl IntoIterator<Item = &'a [Dispatch]>,
        samples: usize,
        copies: &[Copy<'_>],
    ) -> wgpu::SubmissionIndex {
        let encoding = trace::span("encode");
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for dispatch in lists.into_iter().flatten() {
                dispatch.encode(&mut pass, samples);
            }
        }
        for Copy { from, to, offset } in copies {
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, to, *offset, from.bytes);
        }
        let commands = encoder.finish();
        drop(encoding);
        let _span = trace::span("submit");
        self.send(commands)
    }

    /// Submits what was recorded, unless a test wants the device to be lost at this moment.
    pub fn send(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        let number = self.submissions.fetch_add(1, Ordering::Relaxed) + 1;
        if self.options.fault == Some(Fault::Submission(number)) {
            self.lose();
        }
        self.queue.submit([commands])
    }
}

impl Dispatch {
    /// Its workgroups for `samples` samples.
    pub fn groups(&self, samples: usize) -> Groups {
        (self.grid)(samples)
    }

    /// Puts the call into `pass`.
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>, samples: usize) {
        let [x, y, z] = self.groups(samples);
        if x * y * z > 0 {
            pass.set_pipeline(&self.program.pipeline);
            pass.set_bind_group(0, &self.bindings, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
    }
}
