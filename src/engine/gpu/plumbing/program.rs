//! From the text of a program to a pipeline; each text is compiled once.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::device::Gpu;
use super::source::{Access, Program, Source};
use crate::engine::gpu::Fault;
use crate::error::{Kind, Result};

impl Gpu {
    /// Builds `source`, or hands out what was built from the same text. Errors: a driver that rejects it.
    pub fn program(&self, source: &Source) -> Result<Arc<Program>> {
        let text = source.text(self.half());
        let key = format!("{} {}\n{text}", source.name, source.entry);
        let programs = || self.programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(program) = programs().get(&key) {
            return Ok(Arc::clone(program));
        }
        let index = self.shaders_built.fetch_add(1, Ordering::Relaxed);
        let provoked = self.options.fault == Some(Fault::Shader(index));
        let text = if provoked { format!("{text}\nprovoked: not a shader") } else { text };
        let built = self.scoped(&format!("the shader \"{}\"", source.name), || self.build(source, text));
        let program = built.map_err(|error| match (error.kind(), error.help()) {
            (Kind::Engine, None) => error.with_help(
                "the driver may be too old: update it, then run `vggkit selftest`; or train with --engine cpu",
            ),
            _ => error,
        })?;
        let program = Arc::new(program);
        programs().insert(key, Arc::clone(&program));
        Ok(program)
    }

    /// All that were built so far, by their text.
    pub fn built(&self) -> Vec<Arc<Program>> {
        let programs = self.programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut built: Vec<_> = programs.values().cloned().collect();
        built.sort_by(|a, b| (a.name, &a.text).cmp(&(b.name, &b.text)));
        built
    }

    fn build(&self, source: &Source, text: String) -> Program {
        let checks = wgpu::ShaderRuntimeChecks::unchecked();
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(source.name),
            source: wgpu::ShaderSource::Wgsl(Cow::Borrowed(&text)),
        };
        let module = if self.options.checked {
            self.device.create_shader_module(descriptor)
        } else {
            // SAFETY: the shaders are our own; each stays within its buffers at every size, which the tests show by
            // running them with the checks on, and loops end.
            unsafe { self.device.create_shader_module_trusted(descriptor, checks) }
        };
        let buffer = |binding: usize, ty| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let storages =
            source.access.iter().enumerate().map(|(i, access)| {
                buffer(i + 2, wgpu::BufferBindingType::Storage { read_only: *access == Access::Read })
            });
        let entries: Vec<_> = (0..2).map(|i| buffer(i, wgpu::BufferBindingType::Uniform)).chain(storages).collect();
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(source.name), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(source.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(source.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(source.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: self.pipelines.as_ref(),
        });
        let Source { name, entry, access, .. } = *source;
        Program { name, entry, access, text, pipeline, layout }
    }
}
