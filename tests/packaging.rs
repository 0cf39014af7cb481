//! What makes vggkit easy to have: completions, man pages, `make install`, archives of a release, the container's files.

#![allow(clippy::print_stderr, reason = "a test says what it could not look at")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const SHELLS: [&str; 5] = ["bash", "zsh", "fish", "powershell", "elvish"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin!("vggkit").to_path_buf()
}

/// Runs a command that must succeed; its standard output.
fn ok(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

fn vggkit(words: &[&str]) -> String {
    ok(Command::new(binary()).args(words))
}

/// Whether there is such a program; where not, the test says what it does not look at.
fn there(program: &str, for_what: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("not looked at, since there is no {program}: {for_what}");
    }
    found
}

/// The commands that `--help` lists, each with its long flags as its own help has them.
fn commands() -> Vec<(String, BTreeSet<String>)> {
    let help = vggkit(&["--help"]);
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let names: Vec<&str> =
        list.lines().filter_map(|line| line.split_whitespace().next()).filter(|n| *n != "help").collect();
    assert!(names.len() >= 12 && names.contains(&"train") && !names.contains(&"generate"), "{names:?}");
    let flags = |name: &str| {
        let help = vggkit(&[name, "--help"]);
        let options = help.split("\nExamples:").next().unwrap_or_default();
        // The first words of an option's line, as in `  -d, --depth <N>`; what it is for stands further in.
        let is_option = |line: &&str| line.starts_with("  -") || line.starts_with("      --");
        let lines = options.lines().filter(is_option).map(str::trim_start);
        let words = lines.flat_map(|line| line.split([' ', ',', '[']).take(3).collect::<Vec<_>>());
        words.filter(|word| word.len() > 2 && word.starts_with("--")).map(str::to_owned).collect()
    };
    names.into_iter().map(|name| (name.to_owned(), flags(name))).collect()
}

#[test]
fn completions_of_every_shell_have_all_commands_and_flags() {
    let commands = commands();
    assert!(
        commands.iter().any(|(name, flags)| name == "train" && flags.len() > 50 && flags.contains("--tensorboard"))
    );
    for shell in SHELLS {
        let script = vggkit(&["generate", "completions", shell]);
        for (name, flags) in &commands {
            assert!(script.contains(name.as_str()), "{shell}: {name}");
            for flag in flags {
                // fish names them as `-l depth`.
                let spelling = if shell == "fish" { format!("-l {}", &flag[2..]) } else { flag.clone() };
                let found = script.match_indices(&spelling).any(|(at, _)| {
                    let next = script[at + spelling.len()..].chars().next();
                    next.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '-')
                });
                assert!(found, "{shell}: {name} {flag}");
            }
        }
        assert!(!script.contains("generate"), "{shell}: what is hidden stays hidden");
    }
    let error = Command::new(binary()).args(["generate", "completions", "csh"]).output().expect("it runs");
    assert_eq!(error.status.code(), Some(2));
}

#[test]
fn bash_completes_commands_flags_and_values() {
    if !there("bash", "completions in bash") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("vggkit");
    fs::write(&script, vggkit(&["generate", "completions", "bash"])).expect("written");
    ok(Command::new("bash").arg("-n").arg(&script));
    let completed = |words: &[&str]| {
        let line = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let ask = format!(
            ". {}; COMP_WORDS=({line}); COMP_CWORD={}; _vggkit vggkit '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.len() - 1
        );
        ok(Command::new("bash").args(["--norc", "-c", &ask])).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(completed(&["vggkit", "tra"]), ["train"]);
    assert_eq!(completed(&["vggkit", "train", "--tensor"]), ["--tensorboard", "--tensorboard-histograms"]);
    assert_eq!(completed(&["vggkit", "predict", "--feat"]), ["--features"]);
    assert_eq!(completed(&["vggkit", "train", "--recipe", "s"]), ["seed", "short"]);
}

#[test]
fn man_pages_are_there_for_every_command_and_man_has_nothing_to_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = vggkit(&["generate", "man", folder.path().join("new/man1").to_str().expect("text")]);
    let commands = commands();
    assert_eq!(made.lines().count(), commands.len() + 1, "{made}");
    for (page, flags) in commands.iter().map(|(name, flags)| (format!("vggkit-{name}.1"), flags)) {
        let text = fs::read_to_string(folder.path().join("new/man1").join(&page)).expect(&page).replace("\\-", "-");
        for flag in flags {
            assert!(text.contains(flag.as_str()), "{page}: {flag}");
        }
        for part in [".TH vggkit-", ".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH EXAMPLES"] {
            assert!(text.contains(part), "{page}: {part}");
        }
    }
    let program = fs::read_to_string(folder.path().join("new/man1/vggkit.1")).expect("a page");
    assert!(commands.iter().all(|(name, _)| program.contains(name.as_str())) && !program.contains("generate"));
    if there("man", "man pages by man") && there("groff", "man pages by man") {
        for page in made.lines() {
            let output = Command::new("man")
                .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page])
                .env("MANWIDTH", "100")
                .output();
            let output = output.expect("it runs");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && told.is_empty(), "{page}: {told}");
        }
    }
    if there("mandoc", "man pages by mandoc") {
        let output =
            Command::new("mandoc").args(["-T", "lint", "-W", "error"]).args(made.lines()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Every file below a folder, relative to it.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.expect("an entry"));
    let relative = |path: &Path| path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
    entries.filter(|entry| !entry.file_type().is_dir()).map(|entry| relative(entry.path())).collect()
}

fn make(target: &str, to: &TempDir) {
    let mut make = Command::new("make");
    make.arg("--no-print-directory").arg(target).arg(format!("VGGKIT={}", binary().display()));
    make.arg(format!("DESTDIR={}", to.path().display())).arg("PREFIX=/usr").current_dir(root());
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    ok(&mut make);
}

#[cfg(unix)]
#[test]
fn what_is_installed_works_and_goes_again() {
    use std::os::unix::fs::PermissionsExt;
    let to = tempfile::tempdir().expect("a folder");
    let own = to.path().join("usr/share/man/man1/other.1");
    fs::create_dir_all(own.parent().expect("a folder")).expect("made");
    fs::write(&own, "").expect("written");
    for _ in 0..2 {
        make("install", &to); // over what is there
    }
    let installed = files(to.path());
    for file in [
        "usr/bin/vggkit",
        "usr/share/bash-completion/completions/vggkit",
        "usr/share/zsh/site-functions/_vggkit",
        "usr/share/fish/vendor_completions.d/vggkit.fish",
        "usr/share/man/man1/vggkit.1",
        "usr/share/man/man1/vggkit-train.1",
        "usr/share/doc/vggkit/LICENSE-MIT",
        "usr/share/doc/vggkit/formats.md",
    ] {
        assert!(installed.contains(file), "{file}: {installed:?}");
    }
    assert_eq!(installed.iter().filter(|file| file.contains("man1/vggkit-")).count(), commands().len());
    for file in &installed {
        let mode = fs::metadata(to.path().join(file)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, if file == "usr/bin/vggkit" { 0o755 } else { 0o644 }, "{file}");
    }
    // Nothing of the repository is needed where it runs.
    let empty = tempfile::tempdir().expect("a folder");
    ok(Command::new(to.path().join("usr/bin/vggkit")).args(["describe", "-d", "11"]).current_dir(empty.path()));
    make("uninstall", &to);
    assert_eq!(files(to.path()), [own.strip_prefix(to.path()).expect("below").to_string_lossy().into_owned()].into());
}

#[cfg(target_os = "linux")]
#[test]
fn an_archive_has_the_same_bytes_whoever_packs_it() {
    let to = tempfile::tempdir().expect("a folder");
    let pack = |folder: &str, umask: &str| {
        let folder = to.path().join(folder);
        let copy = to.path().join("built"); // with another time each
        fs::write(&copy, "#!/bin/sh\necho built for another machine\n").expect("written");
        let line = format!("umask {umask}; \"$0\" \"$@\"");
        let mut sh = Command::new("sh");
        sh.args(["-c", &line])
            .arg(root().join("packaging/archive.sh"))
            .arg(&copy)
            .arg(binary())
            .arg("some-target")
            .arg(&folder);
        let printed = ok(sh.env("SOURCE_DATE_EPOCH", "1795000000"));
        let path = PathBuf::from(printed.trim());
        assert_eq!(path, folder.join(format!("vggkit-{}-some-target.tar.gz", env!("CARGO_PKG_VERSION"))));
        assert_eq!(files(&folder).len(), 1, "nothing else is left");
        path
    };
    let [first, second] = [("a", "022"), ("b", "077")].map(|(folder, umask)| pack(folder, umask));
    assert!(fs::read(&first).expect("an archive") == fs::read(second).expect("an archive"));
    let listed = ok(Command::new("tar").arg("-tvzf").arg(&first).env("TZ", "UTC"));
    for part in ["/vggkit\n", "/LICENSE-MIT\n", "/docs/formats.md\n", "/man/vggkit-train.1\n", "/completions/_vggkit\n"]
    {
        assert!(listed.contains(part), "{part:?}: {listed}");
    }
    assert!(listed.lines().all(|line| line.contains(" 0/0 ") && line.contains(" 2026-11-18 ")), "{listed}");
    ok(Command::new("tar").arg("-xzf").arg(&first).arg("-C").arg(to.path()));
    let unpacked = to.path().join(format!("vggkit-{}-some-target", env!("CARGO_PKG_VERSION")));
    assert_eq!(ok(&mut Command::new(unpacked.join("vggkit"))), "built for another machine\n");
}

/// A machine with none of the tools, for `install-tools`: it has `programs`, each of which tells in `called` what it was called
/// with. `sudo` does what it is told, and there is no package called chromium.
#[cfg(target_os = "linux")]
struct Bare {
    to: TempDir,
}

#[cfg(target_os = "linux")]
impl Bare {
    fn new(user: &str, programs: &[&str]) -> Self {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let bare = Self { to: tempfile::tempdir().expect("a folder") };
        for needed in ["basename", "cat", "cut", "dirname", "env", "grep", "ls", "sed", "tr", "uname"] {
            let path = ok(Command::new("sh").args(["-c", &format!("command -v {needed}")]));
            symlink(path.trim(), bare.to.path().join(needed)).expect("a link");
        }
        let write = |name: &str, does: &str| {
            let path = bare.to.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{does}\n")).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        };
        write("id", &format!("echo {user}"));
        for name in programs {
            let does = if *name == "sudo" { "exec \"$@\"" } else { "case $* in *chromium*) exit 100 ;; esac" };
            write(name, &format!("echo \"$(basename \"$0\") $*\" >>{}\n{does}", bare.called().display()));
        }
        bare
    }

    fn called(&self) -> PathBuf {
        self.to.path().join("called")
    }

    /// The exit code, what was said, and what was called.
    fn install(&self, tools: &[&str]) -> (Option<i32>, String, String) {
        let mut script = Command::new("/bin/sh");
        script.arg(root().join("packaging/install-tools")).args(tools).env_clear();
        script.env("PATH", self.to.path()).env("VULKAN_DRIVERS", self.to.path().join("none"));
        script.env("CARGO_TARGET_DIR", self.to.path().join("target"));
        let Output { status, stdout, stderr } = script.stdin(Stdio::null()).output().expect("it runs");
        let said = [stdout, stderr].map(|text| String::from_utf8(text).expect("text")).concat();
        (status.code(), said, fs::read_to_string(self.called()).unwrap_or_default())
    }
}

#[cfg(target_os = "linux")]
#[test]
fn tools_are_named_before_they_are_installed() {
    // Root and Debian: all is said first, and a package that is not to be had keeps no other from being installed.
    let (code, said, called) = Bare::new("0", &["apt-get", "rustup"]).install(&["clippy", "chromium", "vulkan"]);
    let first = "Missing here, and installed now: apt-get install chromium libvulkan1 mesa-vulkan-drivers; \
                 rustup component add clippy\n";
    assert!(said.starts_with(first) && said.ends_with("Not installed: chromium\n"), "{said}");
    assert!(said.contains("VGGKIT_CHROMIUM"), "{said}");
    assert_eq!(code, Some(1));
    let install = "apt-get install -q -y --no-install-recommends";
    let (a, b) = (format!("{install} chromium"), format!("{install} libvulkan1 mesa-vulkan-drivers"));
    assert_eq!(called, format!("rustup component add clippy\napt-get update -q\n{a}\n{b}\n"));

    // Anybody else: by sudo, and without it nothing happens. axe-core needs npm, once.
    let (code, said, called) = Bare::new("1000", &["apt-get", "sudo"]).install(&["vulkan"]);
    assert!(code == Some(0) && said.contains(": sudo apt-get install libvulkan1 mesa-vulkan-drivers\n"), "{said}");
    assert!(called.starts_with("sudo apt-get update -q\napt-get update -q\nsudo env "), "{called}");
    let (code, said, called) = Bare::new("1000", &["apt-get"]).install(&["npm", "axe-core"]);
    assert_eq!((code, said.as_str(), called.as_str()), (Some(1), "Missing. As root: apt-get install npm\n", ""));
    let (code, said, _) = Bare::new("1000", &["apt-get", "mpicc"]).install(&["mpi"]);
    let missing = "Missing. As root: apt-get install libopenmpi-dev openmpi-bin libclang-dev\n";
    assert_eq!((code, said.as_str()), (Some(1), missing), "an MPI that can start nothing is none");

    // Elsewhere: what to install by which name.
    let (code, said, called) = Bare::new("0", &[]).install(&["vulkan", "axe-core"]);
    assert_eq!((code, called.as_str()), (Some(1), ""));
    for name in ["vulkan-loader mesa-vulkan-drivers on Fedora", "vulkan-swrast on Arch", "npm on Arch", "install node"]
    {
        assert!(said.contains(name), "{name}: {said}");
    }

    // What is there is not mentioned; a name that is none is the caller's mistake.
    let nothing = (Some(0), String::new(), String::new());
    assert_eq!(Bare::new("0", &["npm", "chromium"]).install(&["npm", "chromium"]), nothing);
    for wrong in [&["chrome"][..], &["vulkan|"], &[]] {
        assert_eq!(Bare::new("0", &["apt-get"]).install(wrong).0, Some(2), "{wrong:?}");
    }
}

#[test]
fn scripts_parse_and_a_container_gets_what_the_build_reads() {
    for script in ["packaging/archive.sh", "packaging/dist.sh", "packaging/install-tools"] {
        ok(Command::new("sh").arg("-n").arg(root().join(script)));
    }
    let ignored = fs::read_to_string(root().join(".dockerignore")).expect(".dockerignore");
    let ignored: BTreeSet<&str> = ignored.lines().filter(|line| !line.starts_with(['#', '!'])).collect();
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "src",
        "shaders",
        "templates",
        "recipes",
        "benches",
        "Makefile",
        "README.md",
        "docs",
    ] {
        assert!(root().join(needed).exists() && !ignored.contains(needed), "{needed}");
    }
    for left_out in ["target", "runs", "data/*", ".git"] {
        assert!(ignored.contains(left_out), "{left_out}");
    }
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("Dockerfile");
    let rust = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let version =
        rust.lines().find_map(|line| line.strip_prefix("rust-version = \"")).expect("a version").trim_end_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{version}-")), "the Rust that it needs");
    assert!(dockerfile.contains("\nUSER vggkit\n"), "nobody needs root");
}
