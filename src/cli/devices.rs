//! `vggkit devices`: the adapters there are, what they can do, and which of them a training would take.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::arguments::shared::Shared;
use super::output;
use crate::engine::gpu::plumbing::adapter;
use crate::engine::gpu::plumbing::adapter::Found;
use crate::engine::gpu::plumbing::capabilities::Matrices;
use crate::error::Result;

/// The value of `schema`.
const SCHEMA: &str = "vggkit/devices/1";

/// List the GPUs, what they can do, and which one would be used
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit devices                              what there is, and what --engine auto and --engine gpu take
  vggkit devices --json | jq '.adapters[].name'

Exit code: 0 there is an adapter, if only a software one; 1 there is none")]
pub struct Arguments {
    #[command(flatten)]
    shared: Shared,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    choices: Choices,
    adapters: Vec<Described>,
}

/// What `--engine` would take, with `--adapter` as given.
#[derive(Debug, Serialize)]
struct Choices {
    /// "gpu" or "cpu".
    auto: &'static str,
    /// Index of the adapter that the GPU engine takes; none where it would refuse.
    gpu: Option<usize>,
    /// Why it would refuse.
    gpu_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Described {
    index: usize,
    name: String,
    /// "discrete", "integrated", "virtual", "software" or "other".
    kind: &'static str,
    backend: &'static str,
    driver: String,
    limits: Limits,
    features: Features,
    shortcomings: Vec<Shortcoming>,
    /// Whether the GPU engine can run on it.
    /// How `--precision f16` would multiply: "matrix units", "emulated" or "none".
    f16_products: &'static str,
    usable: bool,
}

#[derive(Debug, Serialize)]
struct Limits {
    buffer_bytes: u64,
    binding_bytes: u64,
    workgroup_bytes: u32,
    workgroup_invocations: u32,
    storage_buffers: u32,
}

#[derive(Debug, Serialize)]
struct Features {
    timestamps: bool,
    pipeline_cache: bool,
    subgroups: bool,
    subgroup_sizes: [u32; 2],
    f16: bool,
    cooperative_matrices: Vec<Cooperative>,
}

/// C (m x n, of `sum`) += A (m x k) B (k x n), both of `factors`.
#[derive(Debug, Serialize)]
struct Cooperative {
    m: u32,
    n: u32,
    k: u32,
    factors: String,
    sum: String,
}

/// A limit that every kernel needs and the adapter does not have.
#[derive(Debug, Serialize)]
struct Shortcoming {
    what: &'static str,
    needed: u64,
    there: u64,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let found = adapter::list()?;
    let report = Report {
        schema: SCHEMA,
        choices: choices(&arguments.shared, &found),
        adapters: found.iter().enumerate().map(|(index, found)| describe(index, found)).collect(),
    };
    if arguments.shared.json {
        output::json(&report)?;
    } else {
        output::print(&text(&report));
    }
    Ok(ExitCode::SUCCESS)
}

fn choices(shared: &Shared, found: &[Found]) -> Choices {
    let named = shared.adapter.as_deref();
    let auto = if adapter::any_hardware(found) { "gpu" } else { "cpu" };
    match adapter::position(found, named) {
        Ok(gpu) => Choices { auto, gpu: Some(gpu), gpu_error: None },
        Err(error) => Choices { auto, gpu: None, gpu_error: Some(error.to_string()) },
    }
}

fn describe(index: usize, found: &Found) -> Described {
    let (limits, info) = (&found.limits, &found.info);
    let has = |feature| found.features.contains(feature);
    let element = |scalar| format!("{scalar:?}").to_lowercase();
    let matrices = found.adapter.cooperative_matrix_properties();
    let shortcomings: Vec<_> =
        found.shortcomings().into_iter().map(|(what, needed, there)| Shortcoming { what, needed, there }).collect();
    Described {
        index,
        name: info.name.clone(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        },
        backend: adapter::backend(info),
        driver: found.driver(),
        limits: Limits {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_invocations: limits.max_compute_invocations_per_workgroup,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
        },
        features: Features {
            timestamps: has(wgpu::Features::TIMESTAMP_QUERY),
            pipeline_cache: has(wgpu::Features::PIPELINE_CACHE),
            subgroups: has(wgpu::Features::SUBGROUP),
            subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
            f16: has(wgpu::Features::SHADER_F16),
            cooperative_matrices: if has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
                matrices
                    .iter()
                    .map(|p| Cooperative {
                        m: p.m_size,
                        n: p.n_size,
                        k: p.k_size,
                        factors: element(p.ab_type),
                        sum: element(p.cr_type),
                    })
                    .collect()
            } else {
                Vec::new()
            },
        },
        f16_products: match Matrices::of(found) {
            Ok(Matrices::Cooperative) => "matrix units",
            Ok(Matrices::Emulated) => "emulated",
            Err(_) => "none",
        },
        usable: shortcomings.is_empty(),
        shortcomings,
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for adapter in &report.adapters {
        text += &block(adapter, &report.choices);
        text.push('\n');
    }
    let auto = match (report.choices.auto, report.choices.gpu) {
        ("gpu", Some(index)) => format!("adapter {index}"),
        ("gpu", None) => "the GPU, and fails as below".to_owned(),
        _ => "the CPU: there is no hardware GPU that can do it".to_owned(),
    };
    text += &format!("--engine auto takes {auto}\n");
    text += &match (&report.choices.gpu, &report.choices.gpu_error) {
        (Some(index), _) => format!("--engine gpu  takes adapter {index}\n"),
        (None, error) => format!("--engine gpu  refuses: {}\n", error.as_deref().unwrap_or("no adapter")),
    };
    text
}

/// One adapter.
fn block(adapter: &Described, choices: &Choices) -> String {
    let Described { limits, features, .. } = adapter;
    let mib = |bytes: u64| match bytes >> 20 {
        mib if mib >= 1 << 30 => "unlimited".to_owned(),
        mib => format!("{} MiB", output::count(mib as usize)),
    };
    let there = |name: &'static str, there: bool| format!("{name} {}", if there { "yes" } else { "no" });
    let sizes = match features.subgroup_sizes {
        [least, most] if least == most => format!("{least}"),
        [least, most] => format!("{least} to {most}"),
    };
    let features = [
        there("timestamps", features.timestamps),
        there("pipeline cache", features.pipeline_cache),
        if features.subgroups { format!("subgroups of {sizes}") } else { "subgroups no".into() },
        there("f16", features.f16),
    ];
    let matrices: Vec<_> = adapter
        .features
        .cooperative_matrices
        .iter()
        .map(|p| format!("{}x{}x{} {} to {}", p.m, p.n, p.k, p.factors, p.sum))
        .collect();
    let rows = [
        ("type", adapter.kind.to_owned()),
        ("backend", adapter.backend.to_owned()),
        ("driver", adapter.driver.clone()),
        ("largest buffer", format!("{}, {} in one binding", mib(limits.buffer_bytes), mib(limits.binding_bytes))),
        (
            "workgroup",
            format!("{} invocations, {} KiB of memory", limits.workgroup_invocations, limits.workgroup_bytes >> 10),
        ),
        ("features", features.join(", ")),
        ("matrix units", if matrices.is_empty() { "none".to_owned() } else { matrices.join(", ") }),
        (
            "--precision f16",
            match adapter.f16_products {
                "matrix units" => "by matrix units".to_owned(),
                "emulated" => "emulated, for checks".to_owned(),
                _ => "no".to_owned(),
            },
        ),
        ("use", purpose(adapter, choices)),
    ];
    let mut text = format!("{}: {}\n", adapter.index, adapter.name);
    for (name, value) in rows {
        text += &format!("   {name:<15} {value}\n");
    }
    text
}

/// What vggkit would use it for, or why it would not.
fn purpose(adapter: &Described, choices: &Choices) -> String {
    let named = format!("--engine gpu --adapter {}", adapter.index);
    if let Some(Shortcoming { what, needed, there }) = adapter.shortcomings.first() {
        return format!("none: it has {there} {what}, and {needed} are needed");
    }
    match (choices.gpu == Some(adapter.index), adapter.kind == "software") {
        (true, false) => "training, evaluation and predictions, unless another one is named".to_owned(),
        (true, true) | (false, true) => {
            format!("checks, and only when named ({named}): software, much slower than --engine cpu")
        }
        (false, false) => format!("when named: {named}"),
    }
}
