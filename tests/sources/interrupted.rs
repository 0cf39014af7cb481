//! Killed at any moment, or out of disk: the next run completes, and nothing half-written passes for finished.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use predicates::str::contains;

use super::{packs, raw, vggkit, zip_up};

#[test]
fn killed_at_any_moment_the_next_run_completes() {
    let (work, raw) = raw(3, 60);
    zip_up(&raw, "tiny/", &work.path().join("raw.zip"));
    let arguments =
        |per_class: &str| ["prepare", "--source", "raw.zip", "--force", "--per-class", per_class].map(str::to_owned);
    let whole = |per_class: &str| {
        vggkit(work.path()).args(arguments(per_class)).args(["--data", per_class]).assert().success();
        packs(&work.path().join(per_class))
    };
    let (of_40, of_60) = (whole("40"), whole("60"));
    let begun = Instant::now();
    vggkit(work.path()).args(arguments("40")).assert().success();
    let usual = begun.elapsed();
    let data = work.path().join("data");
    for round in 1..=24 {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("vggkit"))
            .current_dir(work.path())
            .args(arguments("60"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(usual * round / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        if data.join("manifest.json").exists() {
            let is = packs(&data);
            assert!(is == of_40 || is == of_60, "round {round}: neither the old nor the new");
            vggkit(work.path()).arg("verify").assert().success();
        } else {
            vggkit(work.path()).arg("verify").assert().code(1).stderr(contains("prepare` again"));
        }
        let again = if round % 2 == 0 { "40" } else { "60" };
        vggkit(work.path()).args(arguments(again)).assert().success();
        assert!(packs(&data) == if again == "40" { of_40.clone() } else { of_60.clone() }, "round {round}");
    }
}

#[test]
fn finished_work_is_recognised_within_a_second() {
    let (work, raw) = raw(4, 150);
    zip_up(&raw, "", &work.path().join("raw.zip"));
    let prepare = ["prepare", "--source", "raw.zip"];
    vggkit(work.path()).args(prepare).assert().success();
    let begun = Instant::now();
    vggkit(work.path()).args(prepare).assert().success().stdout(contains("nothing changed"));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// A file system of 300 kB in a namespace of its own, where the system lets anyone have one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let (work, raw) = raw(3, 60);
    zip_up(&raw, "", &work.path().join("raw.zip"));
    let run = |script: &str| {
        let script = format!("mkdir -p small && mount -t tmpfs -o size=300k none small && {script}");
        let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(work.path()).output();
        output.map(|output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    if !matches!(run("true"), Ok((Some(0), _))) {
        return; // no namespaces here: nothing can be said
    }
    let program = assert_cmd::cargo::cargo_bin("vggkit");
    let program: &Path = program.as_ref();
    let prepare = format!("{} prepare --source raw.zip --data small/data", program.display());
    let (code, said) = run(&format!("{prepare}; code=$?; echo LEFT >&2; ls small/data >&2; exit $code")).unwrap();
    assert_eq!(code, Some(1), "{said}");
    let (error, left) = said.split_once("LEFT").unwrap();
    assert!(error.contains("the disk is full") && !error.contains("panicked"), "{error}");
    assert_eq!(left.trim(), "", "nothing but a hidden lock stays");
}
