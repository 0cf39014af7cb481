"""What `vggkit bench --pytorch` compares with: one network in PyTorch at its fastest settings, in either memory layout.

Started once a network with one JSON object as its argument: what the network is and what it is fed with. It says which
PyTorch it is, then answers each line of standard input, a JSON object that asks for one measurement, by one line on
standard output; see `src/bench/pytorch/`. It ends when nobody asks any more.

Fused Adam, cuDNN's own search; float32 without TF32, float32 with it, or automatic mixed precision; on CUDA also with the
whole step in a CUDA graph. Trains on noise and keeps nothing.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time

# Answers have a standard output of their own, so that nothing that a library prints gets between them.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
# Ctrl-C reaches the whole process group; vggkit decides what it means.
signal.signal(signal.SIGINT, signal.SIG_IGN)

import torch  # noqa: E402
from torch import nn  # noqa: E402

ask = json.loads(sys.argv[1])
device = torch.device(ask["device"])
cuda = device.type == "cuda"
if cuda and not torch.cuda.is_available():
    sys.exit(f"PyTorch {torch.__version__} finds no CUDA device")
torch.backends.cudnn.benchmark = True
torch.set_num_threads(ask["threads"])


def network():
    """Layers as vggkit's plan has them: [["conv", inputs, outputs, kernel], ["relu"], ...]."""
    make = {
        "conv": lambda i, o, k: nn.Conv2d(i, o, k, padding=k // 2),
        "norm": nn.BatchNorm2d,
        "lrn": lambda: nn.LocalResponseNorm(5, alpha=5e-4, k=2.0),
        "relu": lambda: nn.ReLU(inplace=True),
        "max": lambda: nn.MaxPool2d(2),
        "average": nn.AdaptiveAvgPool2d,
        "flatten": nn.Flatten,
        "linear": nn.Linear,
        "dropout": nn.Dropout,
    }
    return nn.Sequential(*(make[name](*sizes) for name, *sizes in ask["layers"]))


def anonymous_bytes():
    """Memory that no file backs; 0 where the system does not tell."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
    except (OSError, StopIteration):
        return 0


peak = 0


def watch():
    global peak
    while True:
        peak = max(peak, anonymous_bytes())
        time.sleep(0.02)


def release():
    """Gives back what the measurement before held, so that the next one's memory is its own."""
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        pass  # another C library than glibc


def wait():
    if cuda:
        torch.cuda.synchronize(device)


def training(net, x, cast, scaled, graph):
    """A function that does one step of training, forward, backward and Adam."""
    target = torch.randint(0, ask["classes"], (ask["batch"],), device=device)
    criterion = nn.CrossEntropyLoss()
    # A captured step counts its steps on the card.
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True, **({"capturable": True} if graph else {}))
    scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with cast():
            loss = criterion(net(x), target)
        scaler.scale(loss).backward()
        # A fused optimizer unscales and leaves out steps by itself, without asking the host: it can be captured.
        scaler.step(optimizer)
        scaler.update()

    return step


def inference(net, x, cast):
    """A function that does one forward pass."""
    net.eval()

    def step():
        with torch.inference_mode(), cast():
            net(x)

    return step


def captured(step):
    """`step` as a CUDA graph, warmed up on a stream of its own as capturing wants it."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    wait()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(precision, layout, graph, seconds):
    """Images per second and peak memory of one way to compute."""
    global peak
    release()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    amp = precision == "amp"
    half = torch.float16 if cuda else torch.bfloat16
    peak = 0

    def cast():
        return torch.autocast(device.type, dtype=half, enabled=amp)

    net = network().to(device, memory_format=memory_format)
    x = torch.randn(ask["batch"], 3, ask["size"], ask["size"], device=device).contiguous(memory_format=memory_format)
    step = training(net, x, cast, amp and cuda, graph) if ask["mode"] == "train" else inference(net, x, cast)
    if graph:
        step = captured(step)
    for _ in range(3):
        step()
    wait()
    steps, started = 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - started < seconds:
        step()
        steps += 1
        if steps % 8 == 0:
            wait()  # the clock would otherwise count what is only queued
    wait()
    rate = steps * ask["batch"] / (time.perf_counter() - started)
    memory = torch.cuda.max_memory_allocated(device) if cuda else max(peak, anonymous_bytes())
    return {"images_per_s": rate, "memory_bytes": memory}


def answer(**what):
    print(json.dumps(what), file=answers)


threading.Thread(target=watch, daemon=True).start()
answer(version=torch.__version__, device=torch.cuda.get_device_name(device) if cuda else "cpu")
for line in sys.stdin:
    try:
        result = measure(**json.loads(line))
    except Exception as error:  # the next way may do what this one cannot
        result = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    answer(**result)
