"""What `vggkit bench --pytorch` compares with: the same networks in PyTorch at its fastest settings, one JSON line.

Channels last, fused Adam, cuDNN's own search; float32 without TF32, float32 with it, or automatic mixed precision.
Trains on noise and keeps nothing. Arguments: one JSON object, see `src/bench/pytorch.rs`.
"""

import json
import sys
import threading
import time

import torch
from torch import nn

ask = json.loads(sys.argv[1])
device = torch.device(ask["device"])
amp = ask["precision"] == "amp"
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = ask["precision"] == "tf32"
torch.backends.cudnn.benchmark = True
torch.set_num_threads(ask["threads"])
torch.manual_seed(0)


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


threading.Thread(target=watch, daemon=True).start()
net = network().to(device, memory_format=torch.channels_last)
x = torch.randn(ask["batch"], 3, ask["size"], ask["size"], device=device)
x = x.contiguous(memory_format=torch.channels_last)
target = torch.randint(0, ask["classes"], (ask["batch"],), device=device)
criterion = nn.CrossEntropyLoss()
cast = torch.autocast(device.type, dtype=torch.float16 if device.type == "cuda" else torch.bfloat16, enabled=amp)

if ask["mode"] == "train":
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=amp and device.type == "cuda")

    def step():
        optimizer.zero_grad(set_to_none=True)
        with cast:
            loss = criterion(net(x), target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

else:
    net.eval()

    def step():
        with torch.inference_mode(), cast:
            net(x)


def wait():
    if device.type == "cuda":
        torch.cuda.synchronize()


for _ in range(3):
    step()
wait()
steps, started = 0, time.perf_counter()
while steps < 2 or time.perf_counter() - started < ask["seconds"]:
    step()
    steps += 1
    if device.type == "cuda" and steps % 8 == 0:
        wait()  # the clock would otherwise count what is only queued
wait()
seconds = time.perf_counter() - started
print(json.dumps({
    "version": torch.__version__,
    "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    "images_per_s": steps * ask["batch"] / seconds,
    "memory_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak,
}))
