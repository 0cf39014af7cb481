//! Images per second of `prepare` and `verify` on a real zip, in turn with a reader in Python that only decodes.
//!
//!     cargo bench --bench data_preparation -- ZIP FOLDER PYTHON pil_decode.py [--rounds 3]
//!
//! FOLDER holds the same images unpacked, for the reader, which decodes 40,000 of them at most. Runs the program as a user
//! does, in a folder below target/ that is removed at the end (6 GB at most for Tiny ImageNet).
//! Peak memory is of anonymous pages, read from /proc while a run lasts; processor time, which other work on the machine
//! changes less than the clock's, is of all threads and child processes. Both are told on Linux only.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use vggkit::bench::memory::anonymous;
use vggkit::cli::output::line;
use vggkit::dataset::names;
use vggkit::dataset::source::Source;

/// What one run came to.
struct Run {
    images_per_s: f64,
    /// Processor time of an image.
    cpu_us: f64,
    anonymous_mb: f64,
}

/// All rounds of one command.
struct Row {
    name: &'static str,
    rates: Vec<f64>,
    ratios: Vec<f64>,
    cpu_ratios: Vec<f64>,
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
    let images = match Source::open(Path::new(zip)) {
        Ok(source) => source.entries().iter().filter(|entry| names::is_image(&entry.path)).count() as f64,
        Err(error) => {
            line(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("data_preparation");
    let _ = std::fs::remove_dir_all(&data);
    let [packs, folders] = ["packs-only", "folders"].map(|name| data.join(name).display().to_string());
    let works: [(&str, Vec<&str>); 5] = [
        ("prepare --no-folders", vec!["prepare", "--force", "--source", zip, "--data", &packs, "--no-folders"]),
        ("prepare", vec!["prepare", "--force", "--source", zip, "--data", &folders]),
        ("verify", vec!["verify", "--data", &folders]),
        ("verify --source ZIP", vec!["verify", "--source", zip]),
        ("verify --source ZIP --near", vec!["verify", "--near", "--source", zip]),
    ];
    let mut table: Vec<Row> = Vec::new();
    for round in 0..rounds {
        for (row, (name, arguments)) in works.iter().enumerate() {
            let reader = reader(python, script, folder);
            let run = run(arguments, images);
            let (ratio, cpu_ratio) = (run.images_per_s / reader.images_per_s, reader.cpu_us / run.cpu_us);
            line(&format!(
                "round {} {name:<28} {:>7.0} images/s, reader {:>6.0}: {ratio:.2} times; processor {:.0} and {:.0} us an image: \
                 {cpu_ratio:.2} times; {:.0} MB",
                round + 1,
                run.images_per_s,
                reader.images_per_s,
                run.cpu_us,
                reader.cpu_us,
                run.anonymous_mb
            ));
            if round == 0 {
                let [rates, ratios, cpu_ratios] = Default::default();
                table.push(Row { name, rates, ratios, cpu_ratios, anonymous_mb: 0.0 });
            }
            let row = &mut table[row];
            row.rates.push(run.images_per_s);
            row.ratios.push(ratio);
            row.cpu_ratios.push(cpu_ratio);
            row.anonymous_mb = row.anonymous_mb.max(run.anonymous_mb);
        }
    }
    let heads = ["images/s", "ratio", "of processor time", "anonymous MB"];
    line(&format!(
        "\n{:<28} {:>9} {:>6} {:>18} {:>13}",
        "median of the rounds", heads[0], heads[1], heads[2], heads[3]
    ));
    for Row { name, mut rates, mut ratios, mut cpu_ratios, anonymous_mb } in table {
        let (rate, ratio, cpu_ratio) = (median(&mut rates), median(&mut ratios), median(&mut cpu_ratios));
        line(&format!("{name:<28} {rate:>9.0} {ratio:>6.2} {cpu_ratio:>18.2} {anonymous_mb:>13.0}"));
    }
    let _ = std::fs::remove_dir_all(data);
    ExitCode::SUCCESS
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(arguments: &[&str], images: f64) -> Run {
    let (begun, cpu) = (Instant::now(), children_cpu_s());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vggkit"));
    let mut child = command.args(arguments).arg("--quiet").stdout(Stdio::null()).spawn().expect("vggkit starts");
    let mut bytes = None;
    let status = loop {
        if let Some(status) = child.try_wait().expect("vggkit is waited for") {
            break status;
        }
        bytes = bytes.max(anonymous(&child.id().to_string()));
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "vggkit {arguments:?}: {status}");
    Run {
        images_per_s: images / begun.elapsed().as_secs_f64(),
        cpu_us: (children_cpu_s() - cpu) / images * 1e6,
        anonymous_mb: bytes.unwrap_or_default() as f64 / 1e6,
    }
}

/// User and system time of all children that have ended, and of theirs: fields 16 and 17 of /proc/self/stat, in ticks of
/// 10 ms. The second field is a name in brackets that may hold spaces.
fn children_cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What the reader prints: `{'images': 20000, ..., 'images_per_s': 2822, ...}`.
fn reader(python: &str, script: &str, folder: &str) -> Run {
    let cpu = children_cpu_s();
    let output = Command::new(python).args([script, folder, "40000"]).output().expect("the reader starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |key: &str| {
        let rest =
            text.split_once(&format!("'{key}': ")).and_then(|(_, rest)| rest.split([',', '}']).next()?.parse().ok());
        rest.unwrap_or_else(|| panic!("the reader printed {text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let images: f64 = number("images");
    Run { images_per_s: number("images_per_s"), cpu_us: (children_cpu_s() - cpu) / images * 1e6, anonymous_mb: 0.0 }
}
