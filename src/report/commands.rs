//! Commands that a page suggests, as they have to be typed where it was rendered: with the folders that are not the usual
//! ones, and with the names of runs instead of placeholders. Runs none.

use std::path::Path;

use super::sources::Sources;
use crate::shell;

/// How each is typed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Commands {
    data: String,
    runs: String,
    predictions: String,
    /// The data set is the demo's, or to be.
    demo: bool,
}

impl Commands {
    /// For `sources`, on the data set in `data`, which may be another than theirs where that is not there.
    pub fn new(sources: &Sources, data: &Path, demo: bool) -> Self {
        let unless = |flag: &str, path: &Path, usual: &str| {
            if path == Path::new(usual) { String::new() } else { format!(" {flag} {}", shell::quote(path)) }
        };
        Self {
            data: unless("--data", data, "data"),
            runs: unless("--runs", &sources.runs, "runs"),
            predictions: if sources.predictions == Path::new("predictions.csv") {
                String::new()
            } else {
                shell::quote(&sources.predictions)
            },
            demo,
        }
    }

    /// Makes the data set.
    pub fn prepare(&self) -> String {
        if self.demo {
            return "vggkit prepare --demo".into();
        }
        format!("vggkit prepare --source tiny-imagenet-200.zip{}", self.data)
    }

    /// Trains a network that `which` names in flags.
    pub fn train(&self, which: &str) -> String {
        format!("vggkit train {which}{}{}", self.data, self.runs)
    }

    /// Evaluates every run that was trained on the data set.
    pub fn evaluate(&self) -> String {
        format!("vggkit evaluate{}{}", self.data, self.runs)
    }

    /// The same with more flags.
    pub fn evaluate_with(&self, flags: &str) -> String {
        format!("vggkit evaluate {flags}{}{}", self.data, self.runs)
    }

    /// Evaluates runs by name, each on its own data.
    pub fn evaluate_runs<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> String {
        let mut command = format!("vggkit evaluate{}", self.runs);
        for name in names {
            command.push(' ');
            if name.starts_with('-') {
                command.push_str("./"); // not a flag; below the folder of the runs all the same
            }
            command.push_str(&shell::quote(name));
        }
        command
    }

    /// Predicts the test images, to where the page looks for it.
    pub fn predict(&self) -> String {
        let out = if self.predictions.is_empty() { String::new() } else { format!(" --out {}", self.predictions) };
        format!("vggkit predict{}{}{out}", self.data, self.runs)
    }

    /// Checks the data set.
    pub fn verify(&self) -> String {
        format!("vggkit verify{}", self.data)
    }

    /// Renders the page.
    pub fn report(&self) -> String {
        let given = &self.predictions;
        let predictions = if given.is_empty() { String::new() } else { format!(" --predictions {given}") };
        format!("vggkit report{}{}{predictions}", self.data, self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_what_is_not_usual() {
        let usual = Sources { runs: "runs".into(), data: "data".into(), predictions: "predictions.csv".into() };
        let commands = Commands::new(&usual, Path::new("data"), false);
        assert_eq!(commands.train("-d 16 -c11"), "vggkit train -d 16 -c11");
        assert_eq!(commands.evaluate_runs(["vgg11", "my run", "-x"]), "vggkit evaluate vgg11 'my run' ./-x");
        assert_eq!((commands.predict(), commands.report()), ("vggkit predict".into(), "vggkit report".into()));
        let demo = Sources { predictions: "data/demo/predictions.csv".into(), data: "data/demo".into(), ..usual };
        let commands = Commands::new(&demo, &demo.data, true);
        assert_eq!(commands.train("-d 13"), "vggkit train -d 13 --data data/demo");
        assert_eq!(commands.prepare(), "vggkit prepare --demo");
        assert_eq!(commands.evaluate(), "vggkit evaluate --data data/demo");
        assert_eq!(commands.evaluate_with("--fuse"), "vggkit evaluate --fuse --data data/demo");
        assert_eq!(commands.predict(), "vggkit predict --data data/demo --out data/demo/predictions.csv");
        assert_eq!(commands.report(), "vggkit report --data data/demo --predictions data/demo/predictions.csv");
        let elsewhere = Sources { runs: "old runs".into(), ..demo };
        assert_eq!(
            Commands::new(&elsewhere, Path::new("data"), false).evaluate_runs(["a"]),
            "vggkit evaluate --runs 'old runs' a"
        );
    }
}
