//! The folder for PyTorch: the run's own weights, and a program that is its network. `make onnx` has PyTorch run it.

use vggkit::training::checkpoint;
use vggkit::vgg::weights;

use crate::{export, ok, train};

#[cfg(unix)] // where folders may be called so
#[test]
fn weights_are_the_runs_and_the_program_is_the_network() {
    let runs = tempfile::tempdir().expect("a folder");
    let flags = ["-d", "16", "-c11", "--width", "0.03", "-i", "33", "-e", "1", "--dropout", "0.25"];
    let trained = train(runs.path(), "demo-a", &flags);
    // What a folder is called ends no string of Python.
    let run = runs.path().join("demo-\"\"\"x");
    std::fs::rename(trained, &run).expect("another name");
    ok(&mut export(&run, &["--format", "torch"]));
    let folder = run.join("torch");
    let plan = vggkit::training::run::Run::load(&run).expect("a run").network.plan().expect("a plan");
    let own = checkpoint::load(&checkpoint::best_path(&run), &plan, None).expect("weights");
    let exported = weights::load(&folder.join("weights.safetensors"), &plan).expect("weights");
    assert_eq!(exported.tensors, own.state.tensors);
    assert_eq!(exported.metadata["schema"], "vggkit/weights/1");
    assert_eq!(exported.metadata["names"], r#"["disc","ring","square"]"#);
    let program = std::fs::read_to_string(folder.join("network.py")).expect("a program");
    for part in [
        "\"VGG-16 with 1x1 convolutions",
        "run demo-\\\"\\\"\\\"x",
        "LAYERS = [(1, 3), (1, 3), \"pool\", (3, 3), (3, 3), \"pool\", (7, 3), (7, 3), (7, 1), \"pool\", (15, 3), (15, 3), (15, 1), \"pool\", (15, 3), (15, 3), (15, 1)]",
        "nn.BatchNorm2d(width), ",
        "nn.AdaptiveAvgPool2d(2)",
        "nn.Linear(60, 122), nn.ReLU(), nn.Dropout(0.25), nn.Linear(122, 122), nn.ReLU(), nn.Dropout(0.25), nn.Linear(122, 3)",
    ] {
        assert!(program.contains(part), "{part}\n{program}");
    }
    assert!(program.lines().count() < 45 && program.ends_with('\n'), "{program}");
    let names: Vec<_> =
        std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    ok(&mut export(&run, &["--format", "torch"])); // its own files it replaces
}
