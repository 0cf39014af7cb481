//! All WGSL by Chromium's own compiler: what naga takes is not always what the specification allows.
//!
//! The selftest builds every variant of every kernel; here it does so on adapters that are not there, of which each leads to
//! other texts, and its figures mean nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vggkit::engine::Precision;
use vggkit::engine::gpu::plumbing::adapter;
use vggkit::engine::gpu::plumbing::device::Gpu;
use vggkit::engine::gpu::{Options, selftest};
use wgpu::{DeviceType, Features, Limits};

use super::page::{LAPTOP, Page};

/// (features, bytes of workgroup memory, lanes of a subgroup, kind, precision)
type Kind = (Features, u32, u32, DeviceType, Precision);

/// Texts of all kernels on an adapter like that.
fn texts((features, workgroup, lanes, kind, precision): Kind) -> BTreeSet<(String, String)> {
    let limits = Limits { max_compute_workgroup_storage_size: workgroup, ..Limits::default() };
    let found = adapter::imagined(features, limits, lanes, kind).expect("an adapter");
    let gpu = Gpu::open_found(found, &Options { precision, ..Options::default() }).expect("a device");
    selftest::run(&gpu, &mut |_| {}).expect("all kernels are built");
    gpu.built().iter().map(|program| (program.name.to_owned(), program.text.clone())).collect()
}

/// A text as a browser takes it. naga 30 has subgroups without the directive and refuses that (gfx-rs/wgpu#5555); SwiftShader has
/// no f16, in whose place f32 shows everything but the type.
fn standard(text: &str) -> String {
    let subgroups = if text.contains("subgroupBroadcast(") || text.contains("@builtin(subgroup_") {
        "enable subgroups;\n"
    } else {
        ""
    };
    let plain = text.replace("enable f16;\n", "").replace("<f16>", "<f32>").replace("f16(", "f32(");
    format!("{subgroups}{}", plain.replace("alias Number = f16;", "alias Number = f32;"))
}

/// What the compiler says of some texts.
const COMPILE: &str = "async (texts) => {
  window.device ??= await (await navigator.gpu.requestAdapter()).requestDevice({ requiredFeatures: ['subgroups'] });
  const said = [];
  for (const [name, code] of texts) {
    window.device.pushErrorScope('validation');
    const { messages } = await window.device.createShaderModule({ code }).getCompilationInfo();
    const error = await window.device.popErrorScope();
    for (const m of messages) {
      said.push(`${name}: ${m.type}: ${m.lineNum}: ${m.message}: ${code.split('\\n')[m.lineNum - 1]}`);
    }
    if (error && !messages.length) {
      said.push(`${name}: ${error.message}`);
    }
  }
  return said;
}";

#[test]
fn chromium_compiles_every_shader() {
    let mut all = texts((Features::empty(), 16 << 10, 4, DeviceType::Other, Precision::F32));
    all.extend(texts((Features::SUBGROUP, 48 << 10, 8, DeviceType::Cpu, Precision::F32)));
    all.extend(texts((Features::SUBGROUP | Features::SHADER_F16, 48 << 10, 8, DeviceType::Cpu, Precision::F16)));
    assert!(all.len() > 200 && all.iter().any(|(_, text)| text.contains("enable f16;")), "{} texts", all.len());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html"); // a file's context is secure, which WebGPU asks for
    std::fs::write(&file, "<!doctype html><title>WGSL</title>").expect("a page");
    let browser = super::browser_with_webgpu();
    let page = Page::open(&browser, &file, "", LAPTOP);
    let mut said = Vec::new();
    let texts: Vec<Value> = all.iter().map(|(name, text)| json!([name, standard(text)])).collect();
    for part in texts.chunks(20) {
        said.extend(page.texts(&format!("({COMPILE})({})", Value::from(part))));
    }
    assert_eq!(said, Vec::<String>::new());
}
