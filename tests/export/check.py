#!/usr/bin/env python3
"""Has onnxruntime and PyTorch compute what `vggkit export` wrote, and compares with vggkit's own logits.

    check.py CASES [GOLDENS]    the cases that `cargo test --test export -- --ignored write_cases` wrote (`make onnx` does both)
    check.py --write GOLDENS    writes logits.safetensors of each golden run (tests/export/golden/README.md)

Every ONNX file goes through onnx.checker with full_check, which infers types and shapes and holds the file's own to them.
The input is made of the u8 images by what the file's metadata says, and nothing else. Bounds, of the largest difference of a logit:
1e-4 for f32; for f16, half a unit of its 11 bits, of the largest logit, for each layer whose result is rounded.
"""
import importlib.util
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

try:
    import torch
except ImportError:
    torch = None

F32 = 1e-4
ROUNDED = {"Conv", "BatchNormalization", "LRN", "AveragePool", "Gemm"}


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def described(path):
    """What the metadata says, and the largest difference that is allowed, of the largest logit in f16."""
    model = onnx.load(str(path))
    told = {entry.key: entry.value for entry in model.metadata_props}
    rounded = sum(node.op_type in ROUNDED for node in model.graph.node)
    return told, rounded * 2.0**-11 if told["precision"] == "f16" else F32


def prepared(images, told):
    """What the graph is to be given, by its metadata."""
    if told["input"] == "u8":
        return images
    mean, std = (np.array(json.loads(told[key]), np.float32) for key in ("mean", "std"))
    return np.ascontiguousarray(((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))


def of_onnx(path, images):
    """Logits of all images at once; one at a time must be the same."""
    (told, bound), network = described(path), session(path)
    (given,), (got,) = network.get_inputs(), network.get_outputs()
    assert (given.name, given.shape[0], got.name, got.type) == ("image", "batch", "logits", "tensor(float)"), path
    batch = prepared(images, told)
    assert list(batch.shape[1:]) == given.shape[1:], (path, batch.shape, given.shape)
    logits = network.run(["logits"], {"image": batch})[0]
    single = np.concatenate([network.run(["logits"], {"image": batch[i : i + 1]})[0] for i in range(len(batch))])
    assert np.abs(single - logits).max() <= bound * max(1, np.abs(logits).max()), f"{path}: batches differ"
    return logits, told["precision"], bound


def of_torch(folder, images):
    """Logits by network.py."""
    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.CLASSES == ["disc", "ring", "square"], module.CLASSES
    pixels = torch.frombuffer(bytearray(images.tobytes()), dtype=torch.uint8).reshape(images.shape)
    with torch.no_grad():
        logits = module.load()((pixels.permute(0, 3, 1, 2).float() / 255 - module.MEAN) / module.STD)
    return np.array(logits.tolist(), np.float32)


def evaluated(run):
    """Differences to what `vggkit evaluate` says of all of val: the loss, and hits."""
    said = json.loads((run / "evaluation.json").read_text())
    pack = load_file(run.parent / "val.safetensors")
    logits, *_ = of_onnx(run / "float.onnx", pack["images"])
    logits = logits.astype(np.float64)
    shares = logits - logits.max(1, keepdims=True)
    shares -= np.log(np.exp(shares).sum(1, keepdims=True))
    loss = -shares[np.arange(len(shares)), pack["labels"]].mean()
    top1 = (logits.argmax(1) == pack["labels"]).mean()
    assert len(logits) == said["images"]
    return abs(loss - said["loss"]), abs(top1 - said["top1"])


def check(cases, goldens=None):
    worst, files, failures = {}, 0, []

    def hold(what, place, difference, bound):
        worst[what] = max(worst.get(what, 0), float(difference))
        if not difference <= bound:
            failures.append(f"{place}: {difference:.2e} is above {bound:.1e}")

    runs = sorted(path.parent for path in cases.glob("*/logits.safetensors"))
    assert runs, f"no cases in {cases}"
    for run in runs:
        data = load_file(run / "logits.safetensors")
        images, logits = data["images"], data["logits"]
        largest = np.abs(logits).max()
        spread = (logits.max(0) - logits.min(0)).max()
        here = []
        for path in sorted(run.glob("*.onnx")):
            onnx.checker.check_model(str(path), full_check=True)
            got, precision, bound = of_onnx(path, images)
            difference = np.abs(got - logits).max()
            half = precision == "f16"
            hold(precision, path, difference / largest if half else difference, bound)
            here.append(f"{path.stem} {difference:.1e}")
            files += 1
        if torch is not None:
            difference = np.abs(of_torch(run / "torch", images) - logits).max()
            hold("PyTorch", run / "torch", difference, F32)
            here.append(f"torch {difference:.1e}")
        if images.shape[1] == 64:  # as large as those of the pack, so that nobody has to resize
            loss, top1 = evaluated(run)
            hold("loss of evaluate", run, loss, F32)
            hold("top-1 of evaluate", run, top1, 0)
        if spread < 1e-2:
            failures.append(f"{run}: it says nearly the same of every image ({spread:.1e}), so nothing is shown")
        print(f"{run.name}: logits up to {largest:.2f}, apart by {spread:.2f}; {', '.join(here)}", flush=True)
    for path in sorted(goldens.glob("*/network.onnx")) if goldens else []:
        got, *_ = of_onnx(path, load_file(path.with_name("images.safetensors"))["images"])
        stored = load_file(path.with_name("logits.safetensors"))["logits"]
        hold("goldens", path, np.abs(got - stored).max(), 1e-5)
    for failure in failures:
        print(f"FAILED {failure}")
    pytorch = f"PyTorch {torch.__version__}" if torch is not None else "PyTorch is not there: torch folders NOT checked"
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, {pytorch}")
    differences = ", ".join(f"{what} {value:.1e}" for what, value in worst.items())
    print(f"{len(runs)} networks, {files} ONNX files; worst differences: {differences} (f16: of the largest logit)")
    return 1 if failures else 0


def write(goldens):
    for path in sorted(goldens.glob("*/network.onnx")):
        onnx.checker.check_model(str(path), full_check=True)
        logits, *_ = of_onnx(path, load_file(path.with_name("images.safetensors"))["images"])
        save_file({"logits": logits}, path.with_name("logits.safetensors"), {"onnxruntime": onnxruntime.__version__})
        print(path, logits)


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(pathlib.Path(sys.argv[2]))
    else:
        cases, *goldens = map(pathlib.Path, sys.argv[1:])
        sys.exit(check(cases, *goldens))
