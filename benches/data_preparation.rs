//! Images per second of `prepare` and `verify` on a real zip, in turn with a reader in Python that only decodes.
//!
//!     cargo bench --bench data_preparation -- ZIP FOLDER PYTHON pil_decode.py [--rounds 3]
//!
//! FOLDER holds the same images unpacked, for the reader. Runs the program as a user does, in a folder of its own beside
//! the zip that is removed at the end. Peak memory is of anonymous pages, read from /proc while a run lasts (Linux).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use vggkit::cli::output::line;

/// What one run of the program came to.
struct Run {
    images_per_s: f64,
    anonymous_mb: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [zip, folder, python, script, rest @ ..] = &arguments[..] else {
        line("usage: cargo bench --bench data_preparation -- ZIP FOLDER PYTHON pil_decode.py [--rounds 3]");
        return ExitCode::SUCCESS; // without arguments, as `cargo bench` starts every benchmark
    };
    let rounds = match rest {
        [flag, rounds] if flag == "--rounds" => rounds.parse().unwrap_or(3),
        _ => 3,
    };
    let data = PathBuf::from(format!("{zip}.bench"));
    let (packs, folders) = (data.join("packs-only"), data.join("folders"));
    let prepare = |data: &Path, more: &[&str]| {
        let mut command = vec!["prepare", "--force", "--quiet", "--source", zip, "--data"];
        let data = data.display().to_string();
        command.push(&data);
        command.extend(more);
        run(&command)
    };
    let folders_text = folders.display().to_string();
    let mut table: Vec<(&str, Vec<f64>, Vec<f64>, f64)> = Vec::new();
    for round in 0..rounds {
        let works: [(&str, &dyn Fn() -> Run); 5] = [
            ("prepare --no-folders", &|| prepare(&packs, &["--no-folders"])),
            ("prepare", &|| prepare(&folders, &[])),
            ("verify", &|| run(&["verify", "--json", "--data", &folders_text])),
            ("verify --source ZIP", &|| run(&["verify", "--json", "--source", zip])),
            ("verify --source ZIP --near", &|| run(&["verify", "--json", "--near", "--source", zip])),
        ];
        for (row, (name, work)) in works.into_iter().enumerate() {
            let reader = reader(python, script, folder);
            let Run { images_per_s, anonymous_mb } = work();
            let ratio = images_per_s / reader;
            line(&format!(
                "round {} {name:<28} {images_per_s:>7.0} images/s, reader {reader:>6.0}: {ratio:.2} times, {anonymous_mb:.0} MB",
                round + 1
            ));
            if round == 0 {
                table.push((name, Vec::new(), Vec::new(), 0.0));
            }
            table[row].1.push(images_per_s);
            table[row].2.push(ratio);
            table[row].3 = table[row].3.max(anonymous_mb);
        }
    }
    line(&format!("\n{:<28} {:>9} {:>6} {:>12}", "median of the rounds", "images/s", "ratio", "anonymous MB"));
    for (name, mut rates, mut ratios, memory) in table {
        line(&format!("{name:<28} {:>9.0} {:>6.2} {memory:>12.0}", median(&mut rates), median(&mut ratios)));
    }
    let _ = std::fs::remove_dir_all(data);
    ExitCode::SUCCESS
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Images of the official archive.
const IMAGES: f64 = 120_000.0;

fn run(arguments: &[&str]) -> Run {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vggkit"))
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("vggkit starts");
    let mut anonymous_kb = 0;
    let status = loop {
        if let Some(status) = child.try_wait().expect("vggkit is waited for") {
            break status;
        }
        anonymous_kb = anonymous_kb.max(anonymous(&child));
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "vggkit {arguments:?}: {status}");
    Run { images_per_s: IMAGES / begun.elapsed().as_secs_f64(), anonymous_mb: anonymous_kb as f64 / 1e3 }
}

/// Anonymous memory of a process now, in kB.
fn anonymous(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Images per second of the reader, from what it prints: `{'images': 20000, ..., 'images_per_s': 2822, ...}`.
fn reader(python: &str, script: &str, folder: &str) -> f64 {
    let output = Command::new(python).args([script, folder, "40000"]).output().expect("the reader starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.split("'images_per_s': ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("the reader printed {text}{}", String::from_utf8_lossy(&output.stderr)))
}
