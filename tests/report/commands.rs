//! Every command that a page suggests works where it was rendered, pasted as it stands.

use std::path::Path;
use std::process::Command;

use crate::fixture::{Fixture, Made};

/// Runs `line` in `folder` as a shell would; training is made small.
fn paste(folder: &Path, line: &str) -> String {
    let small = if line.starts_with("vggkit train") { " --width 0.05 -i 32 -b 8 --max-steps 1 -q" } else { "" };
    let program = Path::new(assert_cmd::cargo::cargo_bin!("vggkit"));
    let mut shell = Command::new("sh");
    let path = format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").expect("PATH"));
    let output = shell.args(["-c", &format!("{line}{small}")]).current_dir(folder).env("PATH", path).output();
    let output = output.expect("sh runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    said
}

/// The commands on the page in `folder`, as a reader sees them, each once.
fn commands(folder: &Path) -> Vec<String> {
    let page = std::fs::read_to_string(folder.join("site/index.html")).expect("a page");
    let unescaped = |code: &str| code.replace("&#x27;", "'").replace("&#x2f;", "/").replace("&amp;", "&");
    let code = page.split("<code>vggkit ").skip(1).filter_map(|rest| rest.split("</code>").next());
    let mut commands: Vec<String> = code.map(|code| format!("vggkit {}", unescaped(code))).collect();
    commands.sort();
    commands.dedup();
    commands
}

#[test]
#[cfg(unix)]
fn the_commands_of_a_demo_page_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    paste(folder, "vggkit prepare --demo --classes 3 --per-class 9 --engine cpu --quiet");
    let report = "vggkit report --data data/demo --predictions data/demo/predictions.csv";
    // Nothing is trained yet: the page leads to a first run.
    paste(folder, report);
    let first = commands(folder);
    for expected in ["vggkit train -d 11 --data data/demo", "vggkit train -d 16 -c11 --data data/demo", report] {
        assert!(first.iter().any(|command| command == expected), "{expected} is not in {first:?}");
    }
    let order = |command: &String| ["train", "evaluate", "predict"].iter().position(|word| command.contains(word));
    let mut sorted: Vec<&String> = first.iter().filter(|command| !command.contains("prepare")).collect();
    sorted.sort_by_key(|command| order(command).unwrap_or(9));
    sorted.iter().for_each(|command| drop(paste(folder, command)));
    // Now there are all five networks, and one that was never evaluated.
    paste(folder, "vggkit train -d 11 --run more --data data/demo");
    paste(folder, report);
    let second = commands(folder);
    let named = "vggkit evaluate demo-more";
    assert!(second.iter().any(|command| command == named), "{named} is not in {second:?}");
    second.iter().filter(|command| command.starts_with("vggkit evaluate")).for_each(|c| drop(paste(folder, c)));
}

#[test]
fn commands_name_the_folders_that_the_page_is_of() {
    let fixture = Fixture::with_data();
    fixture.add(&Made::new("vgg11", 11, 0.4));
    let (_, page) = fixture.render();
    let folder = |name: &str| fixture.path().join(name).display().to_string();
    let train = format!("vggkit train -d 13 --data {} --runs {}", folder("data"), folder("runs"));
    assert!(page.replace("&#x2f;", "/").contains(&train), "{train}");
    assert!(!crate::html::text(&page).contains('`'), "no mark of code is left as it was typed");
}
