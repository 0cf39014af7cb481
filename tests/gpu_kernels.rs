//! Every kernel variant against its CPU twin on a software adapter: the checks of `vggkit selftest`.
//! Without an adapter this fails; it does not skip.

#![expect(clippy::print_stdout, reason = "a test's figures are read with --nocapture")]

use vggkit::engine::gpu::{Gpu, Options, selftest};

#[test]
fn every_kernel_agrees_with_its_twin() {
    let options = Options { adapter: Some("llvmpipe".into()), checked: true, ..Options::default() };
    let gpu = Gpu::open(&options).expect("llvmpipe (Debian: mesa-vulkan-drivers)");
    let mut failed = Vec::new();
    selftest::run(&gpu, &mut |check| {
        println!("{check:?}");
        if !check.passed() {
            failed.push(check);
        }
    })
    .expect("a device that works");
    assert!(failed.is_empty(), "{failed:#?}");
}
