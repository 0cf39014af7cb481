//! Every kernel variant against its CPU twin on a software adapter: the checks of `vggkit selftest`.
//! Without an adapter this fails; it does not skip.

#![expect(clippy::print_stdout, reason = "a test's figures are read with --nocapture")]

use vggkit::engine::Precision;
use vggkit::engine::gpu::{Gpu, Options, selftest};

#[test]
fn every_kernel_agrees_with_its_twin() {
    agree(Precision::F32);
}

#[test]
fn every_kernel_with_activations_in_f16_agrees_with_its_twin() {
    let products = agree(Precision::F16);
    assert!(products > 0, "no product in f16 was checked");
}

/// Runs all checks; tells how many were of products in f16.
fn agree(precision: Precision) -> usize {
    let options = Options { adapter: Some("llvmpipe".into()), checked: true, precision, ..Options::default() };
    let gpu = Gpu::open(&options).expect("llvmpipe (Debian: mesa-vulkan-drivers)");
    let (mut failed, mut half) = (Vec::new(), 0);
    selftest::run(&gpu, &mut |check| {
        println!("{check:?}");
        half += usize::from(check.variant.contains("half"));
        if !check.passed() {
            failed.push(check);
        }
    })
    .expect("a device that works");
    assert!(failed.is_empty(), "{failed:#?}");
    half
}
