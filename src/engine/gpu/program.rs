//! From shader files to pipelines. A program is a text of constants, then files one after another: the shared
//! `step.wgsl`, what the operation reads and writes, and where it is a matrix product the product itself. WGSL has no
//! preprocessor, and none is added.
//!
//! Every program has the same bindings in group 0: 0 the dispatch's own uniform (`dims`), 1 the step's (`step`), then
//! storage buffers from 2 on.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Fault;
use super::device::Gpu;
use crate::error::{Kind, Result};

/// How a program uses a storage buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// A constant that the host puts ahead of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Constant {
    /// A count, size or index.
    U32(u32),
    /// A number; must be finite.
    F32(f32),
    /// A switch.
    Bool(bool),
    /// A name for a type.
    Type(&'static str),
}

/// What a pipeline is built from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The program's name in errors and profiles: the file's stem and the entry point, e.g. `convolution forward`.
    pub name: &'static str,
    /// Files, in order; `step.wgsl` goes ahead of them by itself.
    pub files: Vec<&'static str>,
    /// `const NAME: type = value;` for each.
    pub constants: Vec<(&'static str, Constant)>,
    /// The entry point.
    pub entry: &'static str,
    /// Storage buffers from binding 2 on.
    pub access: &'static [Access],
}

impl Source {
    /// The whole text, where activations in memory are f16 (`half`) or f32: that decides the types `Quad` (four channels of
    /// one) and `Number`. Files begin with the `enable` directives that they need, which WGSL wants ahead of all else.
    pub(super) fn text(&self, half: bool) -> String {
        let directive = |line: &&str| line.starts_with("enable ");
        let lines = self.files.iter().flat_map(|file| file.lines());
        let enabled = half.then_some("enable f16;").into_iter().chain(lines.filter(directive));
        let mut text: String = enabled.flat_map(|line| [line, "\n"]).collect();
        let [quad, number] = if half { ["vec4<f16>", "f16"] } else { ["vec4<f32>", "f32"] };
        let types = [("Quad", Constant::Type(quad)), ("Number", Constant::Type(number))];
        for (name, value) in types.iter().chain(&self.constants) {
            // Writing to a String does not fail.
            let _ = match value {
                Constant::U32(v) => writeln!(text, "const {name}: u32 = {v}u;"),
                Constant::F32(v) => writeln!(text, "const {name}: f32 = {v:e}f;"),
                Constant::Bool(v) => writeln!(text, "const {name}: bool = {v};"),
                Constant::Type(v) => writeln!(text, "alias {name} = {v};"),
            };
        }
        text.push_str(include_str!("../../../shaders/step.wgsl"));
        for file in &self.files {
            text.push('\n');
            let mut rest: &str = file;
            while let (true, Some((_, after))) = (directive(&rest), rest.split_once('\n')) {
                rest = after;
            }
            text.push_str(rest);
        }
        text
    }
}

/// A pipeline with the layout of its bindings.
#[derive(Debug)]
pub struct Program {
    /// As in [`Source`].
    pub name: &'static str,
    /// As in [`Source`].
    pub entry: &'static str,
    /// As in [`Source`].
    pub access: &'static [Access],
    /// What was compiled.
    pub text: String,
    /// wgpu's pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// Of group 0.
    pub layout: wgpu::BindGroupLayout,
}

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
