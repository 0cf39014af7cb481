//! Killed at any moment, or out of disk: the next run completes, and nothing half-written passes for finished.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use predicates::prelude::PredicateBooleanExt;
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

/// The moments of a change that last too short to be hit by a signal: decided with nothing moved, and without a manifest.
#[test]
fn a_change_that_is_decided_is_the_old_data_until_its_manifest_goes() {
    let (work, raw) = raw(3, 20);
    let prepare = |per_class: &str, data: &str| {
        let arguments = ["--force", "--per-class", per_class, "--data", data];
        vggkit(work.path()).args(["prepare", "--source"]).arg(&raw).args(arguments).assert().success();
        work.path().join(data)
    };
    let verify = || {
        let mut verify = vggkit(work.path());
        verify.arg("verify").assert()
    };
    let (data, new) = (prepare("10", "data"), prepare("20", "new"));
    let (of_10, of_20) = (packs(&data), packs(&new));
    decide(&data, &new);
    verify().success();
    assert!(packs(&data) == of_10, "nothing has moved");
    fs::remove_file(data.join("manifest.json")).unwrap();
    verify().code(1).stderr(contains("half-way").and(contains("prepare` again")));
    let train = ["train", "-d", "11", "--engine", "cpu"];
    vggkit(work.path()).args(train).assert().code(1).stderr(contains("manifest.json").and(contains("cut short")));
    // Asked for what was decided, there is nothing left to do but to move it.
    let again = ["prepare", "--per-class", "20", "--source"];
    vggkit(work.path()).args(again).arg(&raw).assert().success().stdout(contains("nothing changed"));
    verify().success();
    assert!(packs(&data) == of_20, "all has moved");
}

/// Makes of `new` a change of `data` that is decided, with nothing moved.
fn decide(data: &Path, new: &Path) {
    for part in ["train", "val", "test", "packs"] {
        fs::rename(new.join(part), data.join(format!("{part}.partial"))).unwrap();
    }
    fs::rename(new.join("manifest.json"), data.join("manifest.partial.json")).unwrap();
}

/// A source that lay elsewhere or was removed to save space has nothing to do with what is left to be done.
#[test]
fn a_decided_change_is_completed_without_its_source() {
    let (work, raw) = raw(2, 8);
    vggkit(work.path()).args(["prepare", "--data", "new", "--source"]).arg(&raw).assert().success();
    fs::remove_dir_all(&raw).unwrap();
    let (data, new) = (work.path().join("data"), work.path().join("new"));
    let whole = packs(&new);
    fs::create_dir(&data).unwrap();
    decide(&data, &new);
    let unreachable = ["prepare", "--url", "http://127.0.0.1:1/nothing.zip"]; // a download would be an error
    vggkit(work.path()).args(unreachable).assert().success().stdout(contains("nothing changed"));
    vggkit(work.path()).arg("verify").assert().success();
    assert!(packs(&data) == whole);
    fs::remove_dir_all(&new).unwrap();
    fs::rename(&data, &new).unwrap();
    fs::create_dir(&data).unwrap();
    decide(&data, &new);
    vggkit(work.path()).args(["prepare", "--source"]).arg(&raw).assert().failure().stderr(contains("raw"));
    vggkit(work.path()).arg("verify").assert().success();
}

#[test]
fn finished_work_is_recognised() {
    let (work, raw) = raw(4, 150);
    zip_up(&raw, "", &work.path().join("raw.zip"));
    let prepare = ["prepare", "--source", "raw.zip"];
    vggkit(work.path()).args(prepare).assert().success();
    let written = || {
        let files = walkdir::WalkDir::new(work.path().join("data")).into_iter().map(Result::unwrap);
        let times = files.map(|file| (file.path().to_owned(), file.metadata().unwrap().modified().unwrap()));
        times.collect::<std::collections::BTreeMap<_, _>>()
    };
    let first = written();
    vggkit(work.path()).args(prepare).assert().success().stdout(contains("nothing changed"));
    assert!(written() == first, "files were written again");
}

/// Every file that is written may have 300 kB (600 kB where the shell counts kilobytes): the packs do not fit.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_is_said_and_leaves_nothing() {
    let (work, raw) = raw(3, 60);
    zip_up(&raw, "", &work.path().join("raw.zip"));
    let program = assert_cmd::cargo::cargo_bin("vggkit");
    // The signal that comes with the limit would end the process; a full disk sends none.
    let script = format!("trap '' XFSZ; ulimit -f 600; exec {} prepare --source raw.zip", program.display());
    let output = Command::new("sh").args(["-c", &script]).current_dir(work.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write") && said.contains("safetensors"), "{said}");
    assert!(said.contains("files of this size are not allowed there"), "{said}");
    let left: Vec<_> = fs::read_dir(work.path().join("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".prepare.lock"], "nothing but a lock stays");
    vggkit(work.path()).args(["prepare", "--source", "raw.zip"]).assert().success();
    vggkit(work.path()).arg("verify").assert().success();
}

/// No image may have more than a kilobyte.
#[cfg(unix)]
#[test]
fn a_drawing_that_cannot_be_written_leaves_nothing() {
    let work = tempfile::tempdir().unwrap();
    let program = assert_cmd::cargo::cargo_bin("vggkit");
    let script = format!("trap '' XFSZ; ulimit -f 1; exec {} prepare --demo", program.display());
    let output = Command::new("sh").args(["-c", &script]).current_dir(work.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot write") && said.contains(".JPEG"), "{said}");
    let left: Vec<_> = fs::read_dir(work.path().join("data/demo")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".prepare.lock"], "nothing but a lock stays");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_called_so() {
    let error = vggkit::files::append_json_line(Path::new("/dev/full"), &1).unwrap_err();
    assert!(error.help().is_some_and(|help| help.contains("the disk is full")), "{error}");
}

/// A file system of 300 kB, and one of few files, in a namespace of its own, where the system lets anyone have one; where it does not, the two
/// tests above stand for it.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let (work, raw) = raw(3, 60);
    zip_up(&raw, "", &work.path().join("raw.zip"));
    let run = |limit: &str, script: &str| {
        let script = format!("mkdir -p small && mount -t tmpfs -o {limit} none small && {script}");
        let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).current_dir(work.path()).output();
        output.map(|output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    match run("size=300k", "true") {
        Ok((Some(0), _)) => {}
        refused => {
            // Past the harness, which shows what a test prints only when it fails.
            let said =
                format!("SKIPPED a_full_disk_is_said_and_leaves_nothing: no file system of its own ({refused:?})\n");
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return;
        }
    }
    let program = assert_cmd::cargo::cargo_bin("vggkit");
    let program: &Path = program.as_ref();
    let prepare = format!("{} prepare --source raw.zip --no-folders --data small/data", program.display());
    let prepare = |limit: &str| {
        let script = format!("{prepare}; code=$?; echo LEFT >&2; ls small/data >&2; exit $code");
        let (code, said) = run(limit, &script).unwrap();
        let (error, left) = said.split_once("LEFT").unwrap();
        if code == Some(0) {
            return None;
        }
        assert_eq!(code, Some(1), "{said}");
        assert!(error.contains("the disk is full") && !error.contains("panicked"), "{error}");
        assert_eq!(left.trim(), "", "nothing but a hidden lock stays after {error}");
        Some(error.to_owned())
    };
    assert!(prepare("size=300k").is_some());
    // One file more each time: what cannot be written is the folder, then a pack, and last what decides the change.
    let errors: Vec<String> = (4..20).map_while(|files| prepare(&format!("nr_inodes={files}"))).collect();
    assert!(errors.last().is_some_and(|error| error.contains("manifest.partial.json")), "{errors:?}");
}
