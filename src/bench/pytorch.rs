//! The same network in PyTorch, measured by a Python that has it: script `benches/pytorch.py`. Installs nothing.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Mode, median};
use crate::error::{Error, Kind, Result};
use crate::vgg::{Layer, Operation, Plan};

const SCRIPT: &str = include_str!("../../benches/pytorch.py");

/// How PyTorch multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As vggkit does by default.
    Float32,
    /// Tensor cores on numbers of 10 bits.
    Tf32,
    /// Automatic mixed precision: f16 on a GPU, bf16 on a CPU.
    Amp,
}

impl Precision {
    /// What a device has, the comparable one first.
    pub const fn all(cuda: bool) -> &'static [Self] {
        if cuda { &[Self::Float32, Self::Tf32, Self::Amp] } else { &[Self::Float32] }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Tf32 => "TF32",
            Self::Amp => "mixed precision",
        }
    }
}

/// What PyTorch reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Of PyTorch.
    pub version: String,
    /// `cpu`, or the card's name.
    pub device: String,
    /// How it multiplied.
    pub precision: Precision,
    /// The median of `rounds`.
    pub images_per_s: f64,
    /// Images per second of each round.
    pub rounds: Vec<f64>,
    /// At most, without what files back; on a card, what its allocator held.
    pub memory_bytes: u64,
    /// vggkit's images per second beside these.
    pub ratio: f64,
}

impl Peer {
    /// Takes in another round of the same.
    pub fn add(&mut self, other: &Self) {
        self.rounds.extend_from_slice(&other.rounds);
        self.images_per_s = median(&self.rounds);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
    }
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The network.
    pub plan: &'a Plan,
    /// Training or inference.
    pub mode: Mode,
    /// Images a step.
    pub batch_size: usize,
    /// How long.
    pub seconds: u64,
    /// Of the CPU.
    pub threads: usize,
    /// On a card instead of the CPU.
    pub cuda: bool,
    /// How to multiply.
    pub precision: Precision,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    device: String,
    images_per_s: f64,
    memory_bytes: u64,
}

/// One round of it. Errors: no such program, a Python without PyTorch, a PyTorch that does not see the card.
pub fn measure(python: &Path, question: &Question<'_>) -> Result<Peer> {
    let ask = json!({
        "layers": layers(question.plan),
        "mode": question.mode,
        "batch": question.batch_size,
        "size": question.plan.network.image_size,
        "classes": question.plan.network.classes,
        "seconds": question.seconds,
        "threads": question.threads,
        "device": if question.cuda { "cuda" } else { "cpu" },
        "precision": question.precision,
    });
    let failed = |what: String| {
        Error::new(Kind::Data, what).with_help("--pytorch takes a Python with PyTorch, e.g. --pytorch venv/bin/python")
    };
    let mut child = Command::new(python)
        .args(["-", &ask.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| failed(format!("{}: {e}", python.display())))?;
    if let Some(mut input) = child.stdin.take() {
        // A Python that ends at once closes its side; its own words then tell why.
        let _ = input.write_all(SCRIPT.as_bytes());
    }
    let output = child.wait_with_output().map_err(|e| failed(format!("{}: {e}", python.display())))?;
    let answer: Option<Answer> = serde_json::from_slice(&output.stdout).ok();
    let Some(answer) = answer else {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("it said nothing");
        return Err(failed(format!("{} did not measure PyTorch: {last}", python.display())));
    };
    let Answer { version, device, images_per_s, memory_bytes } = answer;
    let rounds = vec![images_per_s];
    Ok(Peer { version, device, precision: question.precision, images_per_s, rounds, memory_bytes, ratio: 0.0 })
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
    use super::*;
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

    #[test]
    fn a_python_that_is_none_is_named() -> Result<()> {
        let plan = Network::default().plan()?;
        let question = Question {
            plan: &plan,
            mode: Mode::Train,
            batch_size: 1,
            seconds: 1,
            threads: 1,
            cuda: false,
            precision: Precision::Float32,
        };
        for (python, said) in [("no/such/python", "no/such/python"), ("true", "it said nothing")] {
            let error = measure(Path::new(python), &question).expect_err("it measures nothing").to_string();
            assert!(error.contains(said), "{error}");
        }
        Ok(())
    }
}
