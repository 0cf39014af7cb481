//! From shader files to the text of a program: constants, then files one after another: the shared `step.wgsl`, what the operation
//! reads and writes, and where it is a matrix product the product itself. WGSL has no preprocessor, and none is added.
//!
//! Every program has the same bindings in group 0: 0 the dispatch's own uniform (`dims`), 1 the step's (`step`), then
//! storage buffers from 2 on.

use std::fmt::Write;

/// The text of `shaders/$name.wgsl`.
macro_rules! shader {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl"))
    };
}
pub(in crate::engine::gpu) use shader;

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
    pub(in crate::engine::gpu) fn text(&self, half: bool) -> String {
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
        text.push_str(shader!("shared/step"));
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
