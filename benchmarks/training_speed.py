"""Training speed and memory: our loop against the usual one, same network, same pictures, in turn.

The usual one: a folder of JPEGs read by PIL, torchvision's transforms a picture at a time, a `DataLoader`
with two workers, fp32. Ours: one uint8 tensor, batched augmentation, channels_last, bf16 autocast. Each
measurement is a process of its own, so that its peak memory (of the process and its workers) is its own.

    python benchmarks/training_speed.py --data fer2013.zip
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from machine import describe, spread

STEPS, WARM_UP = 60, 10


def ours(archive: str, batch_size: int) -> float:
    """Return images/s of `mien.training`."""
    from mien.config import read_recipe
    from mien.data.read import read_dataset
    from mien.training import fit
    from mien.training.launch import open_place

    recipe = read_recipe("mien/nano", [f"batch_size={batch_size}"])
    fit.REPORT_SECONDS = 0  # a stamp after every step
    run = fit._Run(recipe, read_dataset(archive, recipe.input), "test", open_place("cpu", recipe.precision))
    stamps = []

    class Enough(Exception):  # noqa: N818
        pass

    def stamp(step) -> None:
        stamps.append((step.step, time.perf_counter()))
        if step.step >= STEPS + WARM_UP:
            raise Enough

    with contextlib.suppress(Enough):
        run.train_epoch([], stamp)
    return rate(stamps, batch_size)


def usual(folder: str, batch_size: int) -> float:
    """Return images/s of the loop that most projects in this field have."""
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    from mien.networks import catalog
    from mien.preprocess import Preprocess

    changes = transforms.Compose([
        transforms.Grayscale(),
        transforms.RandomHorizontalFlip(),
        transforms.RandomAffine(12, translate=(0.12, 0.12), scale=(0.87, 1.15)),
        transforms.ColorJitter(brightness=0.2, contrast=0.2),
        transforms.ToTensor(),
        transforms.Normalize(0.5, 0.25),
        transforms.RandomErasing(0.3),
    ])  # fmt: skip
    loader = DataLoader(
        datasets.ImageFolder(folder, changes), batch_size, shuffle=True, num_workers=2, drop_last=True
    )
    network = catalog.build("mien_nano", 7, Preprocess()).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    stamps = []
    for step, (x, y) in enumerate(loader, start=1):
        loss = functional.cross_entropy(network(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        stamps.append((step, time.perf_counter()))
        if step >= STEPS + WARM_UP:
            break
    return rate(stamps, batch_size)


def rate(stamps: list[tuple[int, float]], batch_size: int) -> float:
    """Return images/s after the warm-up."""
    first = next(stamp for stamp in stamps if stamp[0] >= WARM_UP)
    last = stamps[-1]
    return (last[0] - first[0]) * batch_size / (last[1] - first[1])


def measured(which: str, source: str, batch_size: int) -> tuple[float, float]:
    """Run one variant in a process of its own; return images/s and peak MiB of it and its workers."""
    import psutil

    command = [sys.executable, __file__, "--only", which, "--data", source, "--batch-size", str(batch_size)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, watched = [0.0], psutil.Process(process.pid)

    def watch() -> None:
        while process.poll() is None:
            try:
                family = [watched, *watched.children(recursive=True)]
                peak[0] = max(peak[0], sum(member.memory_full_info().pss for member in family) / 2**20)
            except psutil.Error:
                pass
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    return json.loads(output.splitlines()[-1]), peak[0]


def main() -> None:
    """Print the table, or one variant's rate when called for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--only", choices=("ours", "usual"))
    options = parser.parse_args()
    if options.only:
        print(json.dumps({"ours": ours, "usual": usual}[options.only](options.data, options.batch_size)))
        return
    rows: dict[str, list[tuple[float, float]]] = {"usual": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(options.data).extractall(folder)
        source = {"usual": str(Path(folder) / "train"), "ours": options.data}
        for _ in range(options.n):
            for which, results in rows.items():
                results.append(measured(which, source[which], options.batch_size))
    print(describe("torch", "torchvision"))
    print(
        f"mien_nano, batch {options.batch_size}, {STEPS} steps after {WARM_UP}, n = {options.n} in turn: ",
        end="",
    )
    print("median (min-max)\n")
    print("| loop | images/s | peak memory, MiB |\n|---|---|---|")
    names = {"usual": "PIL dataset, 2 workers, fp32", "ours": "mien"}
    for which, results in rows.items():
        speeds, peaks = ([result[i] for result in results] for i in range(2))
        print(f"| {names[which]} | {spread(speeds, 0)} | {spread(peaks, 0)} |")
    ratios = [a[0] / b[0] for a, b in zip(rows["ours"], rows["usual"], strict=True)]
    print(f"\nratio, pair by pair: {spread(ratios)}")


if __name__ == "__main__":
    main()
