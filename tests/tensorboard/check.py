"""Reads the event files of a run with TensorBoard's own reader and compares them with its history.jsonl.

Usage: check.py FOLDER_OF_THE_RUN...   (`make tensorboard` trains some and calls it)

It looks at each record with event_file_loader, which checks lengths and checksums, and at what EventAccumulator, which is
behind TensorBoard's page, shows of the folder. It ends with 1 and says where they differ.
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.util import tensor_util

SCALARS = {
    "epoch": "epoch",
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "top1/train": "train_top1",
    "top1/val": "val_top1",
    "top5/val": "val_top5",
    "learning_rate": "lr",
    "images_per_second": "images_per_s",
}


def single(number):
    """A number as the f32 that an event file has of it."""
    return struct.unpack("f", struct.pack("f", number))[0]


def check(run):
    files = sorted(run.glob("events.out.tfevents.*"))
    assert files, "there is no event file"
    records = 0
    for file in files:
        events = list(event_file_loader.LegacyEventFileLoader(str(file)).Load())
        assert events[0].file_version == "brain.Event:2", file
        # Each record's length lies in the file: what the loader left unread would be a damaged one.
        length, end = 0, file.stat().st_size
        data = file.read_bytes()
        counted = 0
        while length < end:
            length += 16 + struct.unpack("<Q", data[length : length + 8])[0]
            counted += 1
        assert counted == len(events), f"{file}: {len(events)} of {counted} records can be read"
        records += counted

    shown = event_accumulator.EventAccumulator(str(run), size_guidance=dict.fromkeys(
        (event_accumulator.SCALARS, event_accumulator.TENSORS, event_accumulator.HISTOGRAMS), 0))
    shown.Reload()
    tags = shown.Tags()
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]

    def scalars(tag):
        """Of files as old as ours TensorBoard makes tensors, as it does of scalars of its own."""
        if tag in tags["scalars"]:
            return [(event.step, event.value) for event in shown.Scalars(tag)]
        return [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in shown.Tensors(tag)]

    for tag, key in SCALARS.items():
        expected = [(line["step"], single(line[key])) for line in lines]
        assert scalars(tag) == expected, f"{tag}: {scalars(tag)} is not {expected}"
    steps = [step for step, _ in scalars("step/loss")]
    assert steps == sorted(set(steps)), f"a step is shown twice: {steps}"
    assert steps[-1] == lines[-1]["step"], "the last step is missing"

    histograms = [tag for tag in tags["tensors"] + tags["histograms"] if tag.startswith("weights/")]
    for tag in histograms:
        if tag in tags["histograms"]:
            found = [(event.step, event.histogram_value.num) for event in shown.Histograms(tag)]
        else:
            found = [(event.step, float(tensor_util.make_ndarray(event.tensor_proto)[:, 2].sum()))
                     for event in shown.Tensors(tag)]
        assert [step for step, _ in found] == [line["step"] for line in lines], f"{tag}: {found}"
        assert len({number for _, number in found}) == 1 and found[0][1] >= 1, f"{tag}: {found}"
    settings = [tensor_util.make_ndarray(event.tensor_proto).tolist() for event in shown.Tensors("settings")]
    assert all(b"[training]" in text for texts in settings for text in texts), settings
    print(f"{run}: {len(files)} files, {records} records, {len(lines)} epochs, {len(steps)} points, "
          f"{len(histograms)} histograms an epoch: as history.jsonl has it")


for folder in sys.argv[1:]:
    check(pathlib.Path(folder))
