//! Which adapter is taken, and what a user is told where there is none: no loader, no driver, only software, a wrong name.
//! Runs on lavapipe, whatever else the machine has.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;

/// The binary with the Vulkan drivers of `manifest` and no other.
fn vggkit(line: &str, manifest: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    command.args(line.split_whitespace());
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env(name, manifest);
    }
    command.env_remove("VK_ADD_DRIVER_FILES").env_remove("VGGKIT_ADAPTER").env_remove("DISPLAY");
    command
}

/// lavapipe's manifest.
fn lavapipe() -> PathBuf {
    let folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut files = files.filter(|file| file.file_name().to_string_lossy().starts_with("lvp_icd"));
    files.next().expect("lavapipe (Debian: mesa-vulkan-drivers)").path()
}

fn contains(text: &str) -> predicates::str::ContainsPredicate {
    predicate::str::contains(text)
}

#[test]
fn software_is_listed_and_taken_only_by_name() {
    let lavapipe = lavapipe();
    vggkit("devices", &lavapipe)
        .assert()
        .success()
        .stdout(contains("0: llvmpipe"))
        .stdout(contains("only when named"))
        .stdout(contains("--engine auto takes the CPU"))
        .stdout(contains("--engine gpu  refuses: no hardware GPU"));
    for name in ["llvmpipe", "LLVMPIPE", "0"] {
        let output = vggkit("devices", &lavapipe).args(["--adapter", name]).assert().success();
        output.stdout(contains("--engine gpu  takes adapter 0")).stdout(contains("--engine auto takes the CPU"));
    }
    for line in ["selftest", "bench --engine gpu --width 0.05 -i 32"] {
        vggkit(line, &lavapipe)
            .assert()
            .code(1)
            .stderr(contains("error: no hardware GPU, only software: 0: llvmpipe"))
            .stderr(contains("--engine cpu"))
            .stderr(contains("--adapter llvmpipe"));
    }
}

#[test]
fn an_unknown_adapter_is_answered_with_those_there_are() {
    for (name, line) in [("Voodoo", "selftest"), ("7", "bench --engine gpu --width 0.05 -i 32")] {
        let message = format!("error: no adapter \"{name}\"; there are 0: llvmpipe");
        let failed = vggkit(line, &lavapipe()).env("VGGKIT_ADAPTER", name).assert().code(2);
        failed.stderr(contains(&message)).stderr(contains("vggkit devices"));
    }
}

#[test]
fn without_a_driver_the_error_says_what_to_install() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, "").expect("a file");
    for line in ["devices", "selftest", "bench --engine gpu --width 0.05 -i 32"] {
        vggkit(line, &empty)
            .assert()
            .code(1)
            .stderr(contains("error: no GPU: the Vulkan loader finds no driver"))
            .stderr(contains("mesa-vulkan-drivers"))
            .stderr(contains("panicked").not());
    }
}

#[test]
fn without_the_vulkan_loader_the_error_says_so() {
    // A file of that name that is no library is found first, and fails to load.
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("libvulkan.so.1"), "").expect("a file");
    std::fs::write(folder.path().join("libvulkan.so"), "").expect("a file");
    vggkit("devices", &lavapipe())
        .env("LD_LIBRARY_PATH", folder.path())
        .assert()
        .code(1)
        .stderr(contains("error: no Vulkan loader: libvulkan.so.1"))
        .stderr(contains("apt install libvulkan1"))
        .stderr(contains("panicked").not());
}
