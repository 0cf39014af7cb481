//! One Python that measures one network in PyTorch: started once, asked for one measurement after another in lines of JSON,
//! script `benches/pytorch.py`. Restarts nothing: a Python that has died stays dead, and its last words are told.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::peer::{MemoryFormat, Question, Way};
use crate::error::{Error, Kind, Result};
use crate::vgg::{Layer, Operation, Plan};

const SCRIPT: &str = include_str!("../../../benches/pytorch.py");

/// Between two looks at whether somebody wants to stop.
const INTERVAL: Duration = Duration::from_millis(50);

/// A Python with PyTorch that waits for questions.
#[derive(Debug)]
pub struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    last_words: Arc<Mutex<String>>,
    /// Of PyTorch.
    pub version: String,
    /// `cpu`, or the card's name.
    pub device: String,
}

/// How a question ended.
#[derive(Debug)]
pub enum Answer {
    /// Images per second and, at most, bytes of memory.
    Measured(f64, u64),
    /// PyTorch could not do this; it may do other things.
    Failed(String),
    /// The process has ended; why.
    Died(String),
    /// Somebody wants to stop.
    Stopped,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Measured { images_per_s: f64, memory_bytes: u64 },
    Failed { error: String },
}

#[derive(Deserialize)]
struct Hello {
    version: String,
    device: String,
}

impl Process {
    /// Starts `python` and waits until it has imported PyTorch; `None` where `stopped` says so before.
    /// Errors: it cannot be started, or ends with words of its own, which are told.
    pub fn start(python: &Path, question: &Question, stopped: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let failed = |what: String| {
            Error::new(Kind::Data, format!("{} does not measure PyTorch: {what}", python.display()))
                .with_help("--pytorch takes a Python with PyTorch, e.g. --pytorch venv/bin/python")
        };
        let ask = json!({
            "layers": layers(question.plan),
            "mode": question.mode,
            "batch": question.batch_size,
            "size": question.plan.network.image_size,
            "classes": question.plan.network.classes,
            "threads": question.threads,
            "device": if question.cuda { "cuda" } else { "cpu" },
        });
        let mut child = Command::new(python)
            .args(["-c", SCRIPT, &ask.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (sender, answers) = channel();
        if let Some(output) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                    if sender.send(line).is_err() {
                        return; // nobody asks any more
                    }
                }
            });
        }
        let last_words = Arc::new(Mutex::new(String::new()));
        if let Some(errors) = child.stderr.take() {
            let heard = Arc::clone(&last_words);
            thread::spawn(move || listen(errors, &heard));
        }
        let questions = child.stdin.take();
        let (version, device) = (String::new(), String::new());
        let mut process = Self { child, questions, answers, last_words, version, device };
        match process.next(stopped) {
            Next::Line(line) => {
                let hello: Hello = serde_json::from_str(&line).map_err(|_| failed(format!("it said {line:?}")))?;
                (process.version, process.device) = (hello.version, hello.device);
                Ok(Some(process))
            }
            Next::Died(words) => Err(failed(words)),
            Next::Stopped => Ok(None),
        }
    }

    /// Measures `way` in `layout` for about `seconds` after warming up.
    pub fn measure(&mut self, way: Way, layout: MemoryFormat, seconds: u64, stopped: &dyn Fn() -> bool) -> Answer {
        let question = json!({
            "precision": way.precision, "graph": way.graph, "layout": layout, "seconds": seconds,
        });
        if let Some(questions) = &mut self.questions {
            // A Python that is gone closes its side; its own words then tell why.
            let _ = writeln!(questions, "{question}").and_then(|()| questions.flush());
        }
        match self.next(stopped) {
            Next::Line(line) => match serde_json::from_str(&line) {
                Ok(Line::Measured { images_per_s, memory_bytes }) => Answer::Measured(images_per_s, memory_bytes),
                Ok(Line::Failed { error }) => Answer::Failed(error),
                Err(_) => Answer::Died(format!("it said {line:?}")),
            },
            Next::Died(words) => Answer::Died(words),
            Next::Stopped => Answer::Stopped,
        }
    }

    fn next(&mut self, stopped: &dyn Fn() -> bool) -> Next {
        loop {
            match self.answers.recv_timeout(INTERVAL) {
                Ok(line) => return Next::Line(line),
                // Ctrl-C may have reached it as well.
                Err(_) if stopped() => return Next::Stopped,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Next::Died(self.end()),
            }
        }
    }

    /// Waits for the end of a process that says nothing more, and tells how it came.
    fn end(&mut self) -> String {
        self.questions = None;
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        // What it said last may still be on its way; a descendant that holds the pipe open is not waited for.
        for _ in 0..20 {
            if Arc::strong_count(&self.last_words) == 1 {
                break;
            }
            thread::sleep(INTERVAL / 5);
        }
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.is_empty() { format!("it said nothing ({status})") } else { format!("{words} ({status})") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be in the middle of a measurement that nobody waits for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum Next {
    Line(String),
    Died(String),
    Stopped,
}

/// Keeps the last line that says something; the others are progress and warnings.
fn listen(errors: impl Read, last: &Mutex<String>) {
    for line in BufReader::new(errors).split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The plan's layers in the script's words.
fn layers(plan: &Plan) -> Vec<Value> {
    let mut layers = Vec::new();
    let mut flat = false;
    for Layer { operation, input, output, .. } in &plan.layers {
        if *operation == Operation::Linear && !flat {
            layers.push(json!(["flatten"]));
            flat = true;
        }
        layers.push(match *operation {
            Operation::Conv2d { kernel } => json!(["conv", input.channels, output.channels, kernel]),
            Operation::BatchNorm2d => json!(["norm", output.channels]),
            Operation::Relu => json!(["relu"]),
            Operation::LocalResponseNorm => json!(["lrn"]),
            Operation::MaxPool2d => json!(["max"]),
            Operation::AdaptiveAvgPool2d { size } => json!(["average", size]),
            Operation::Linear => json!(["linear", input.elements(), output.channels]),
            Operation::Dropout { probability } => json!(["dropout", probability]),
        });
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::super::Precision;
    use super::*;
    use crate::bench::Mode;
    use crate::vgg::Network;

    #[test]
    fn layers_are_those_of_the_plan() -> Result<()> {
        let plan = Network { depth: 11, ..Network::default() }.plan()?;
        let layers = layers(&plan);
        assert_eq!(layers[0], json!(["conv", 3, 64, 3]));
        assert_eq!(layers.iter().filter(|l| l[0] == "flatten").count(), 1);
        assert_eq!(layers.len(), plan.layers.len() + 1);
        assert_eq!(layers.last(), Some(&json!(["linear", 4096, 200])));
        Ok(())
    }

    /// What a program that is no Python with PyTorch is told to be.
    fn refusal(python: &str) -> Result<String> {
        let plan = Network::default().plan()?;
        let question = Question { plan: &plan, mode: Mode::Train, batch_size: 1, threads: 1, cuda: false };
        let error = Process::start(Path::new(python), &question, &|| false).expect_err("it measures nothing");
        Ok(error.to_string())
    }

    #[test]
    fn a_python_that_is_none_is_named() -> Result<()> {
        for (python, said) in [("no/such/python", "no/such/python"), ("true", "it said nothing"), ("echo", "it said")] {
            let error = refusal(python)?;
            assert!(error.contains(said) && error.contains(python), "{error}");
        }
        Ok(())
    }

    #[test]
    #[cfg(unix)]
    fn a_question_ends_when_somebody_wants_to_stop() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let python = folder.path().join("python");
        std::fs::write(&python, "#!/bin/sh\necho '{\"version\": \"1\", \"device\": \"cpu\"}'\nexec sleep 600\n")
            .expect("written");
        std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
        let plan = Network::default().plan()?;
        let question = Question { plan: &plan, mode: Mode::Train, batch_size: 1, threads: 1, cuda: false };
        let mut process = Process::start(&python, &question, &|| false)?.expect("it says who it is");
        let way = Way { precision: Precision::Float32, graph: false };
        let answer = process.measure(way, MemoryFormat::Contiguous, 1, &|| true);
        assert!(matches!(answer, Answer::Stopped), "{answer:?}");
        let number = process.child.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{number}")).exists(), "the process goes with who asked it");
        Ok(())
    }
}
