"""Training speed and memory: our loop and the usual one; same network, images, changes and optimiser, in turn.

The usual one: a folder of JPEGs read by PIL, torchvision's transforms an image at a time, a `DataLoader`
with two workers, fp32. Ours: one uint8 tensor, batched augmentation, channels_last. Each measurement is a process of
its own, so that its peak memory (of the process and its workers) is its own.

What the loop gains and what bf16 gains are apart: every row states its precision, and bf16 is measured only where
the processor computes in it. `OMP_NUM_THREADS` sets the threads. Images per processor second are of the process
alone, without its workers: they hold where other work runs beside it.

    python benchmarks/training_speed.py --data fer2013.zip
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

WARM_UP = 16
"""Steps."""
AS_USUAL = (
    "resizing.early_size_px=0", "optim.name=sgd", "optim.peak_lr=0.1", "optim.weight_decay=5e-4",
    "augment.rotation_deg=12", "augment.shift_fraction=0.12", "augment.scale_fraction=0.15",
    "augment.brightness_fraction=0.2", "augment.clip_light=true", "augment.erase_probability=0.3",
)  # fmt: skip
"""Settings with which our loop does the work of the usual one."""
Rates = tuple[float, float]
"""Images a second, and images a processor second."""
NAMES = {"usual": "PIL dataset, 2 workers", "ours": "mien"}


def ours(archive: str, batch_size: int, precision: str, steps: int) -> Rates:
    """Return images/s of `mien.training`."""
    from mien.config import read_recipe
    from mien.data.read import read_dataset
    from mien.training import fit
    from mien.training.launch import open_place

    recipe = read_recipe("mien/speedrun", [f"batch_size={batch_size}", *AS_USUAL])
    fit.REPORT_SECONDS = 0  # a stamp after every step
    run = fit._Run(recipe, read_dataset(archive, recipe.input), "test", open_place("cpu", precision))
    return stamped(run, batch_size, steps)


def stamped(run: Any, batch_size: int, steps: int) -> Rates:
    """Train until there are enough steps; return images/s."""
    stamps = []

    class Enough(Exception):  # noqa: N818
        pass

    def stamp(step) -> None:
        stamps.append((step.step, time.perf_counter(), time.process_time()))
        if step.step >= steps + WARM_UP:
            raise Enough

    with contextlib.suppress(Enough):
        run.train_epoch([], stamp)
    return rate(stamps, batch_size)


def usual(folder: str, batch_size: int, _precision: str, steps: int) -> Rates:
    """Return images/s of the loop that most projects in this field have, in fp32."""
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
        stamps.append((step, time.perf_counter(), time.process_time()))
        if step >= steps + WARM_UP:
            break
    return rate(stamps, batch_size)


def rate(stamps: list[tuple[int, float, float]], batch_size: int) -> Rates:
    """Return images a second and images a processor second after the warm-up."""
    first = next(stamp for stamp in stamps if stamp[0] >= WARM_UP)
    last = stamps[-1]
    images = (last[0] - first[0]) * batch_size
    return images / (last[1] - first[1]), images / (last[2] - first[2])


def measured(
    which: str, precision: str, source: str, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Run one variant in a process of its own; return its `Rates` and peak MiB of it and its workers."""
    import psutil

    command = [
        sys.executable, __file__, "--only", which, "--data", source, "--batch-size", str(options.batch_size),
        "--precision", precision, "--steps", str(options.steps),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak, watched = [0.0], psutil.Process(process.pid)

    def watch() -> None:
        while process.poll() is None:
            try:
                family = [watched, *watched.children(recursive=True)]
                peak[0] = max(peak[0], sum(member.memory_full_info().pss for member in family) / 2**20)
            except psutil.Error:
                pass
            time.sleep(1)  # the look itself costs the machine some

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    return (*json.loads(output.splitlines()[-1]), peak[0])


def table(options: argparse.Namespace) -> None:
    """Measure every loop in every precision in turn, and print the table and the ratios."""
    import torch

    from machine import describe, spread
    from mien.machine import processor

    precisions = ["32-true", *(["bf16-mixed"] if "AVX512-BF16" in (processor().instructions or ()) else [])]
    wanted = [("usual", "32-true"), *(("ours", precision) for precision in precisions)]
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {one: [] for one in wanted}
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(options.data).extractall(folder)
        sources = {"usual": str(Path(folder) / "train"), "ours": options.data}
        for _ in range(options.n):
            for which, precision in wanted:
                rows[which, precision].append(measured(which, precision, sources[which], options))
    print(describe("torch"))
    print(
        f"mien_nano, batch {options.batch_size}, {options.steps} steps after {WARM_UP}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[1]:.1f}, n = {options.n} in turn: "
        "median (min-max)\n"
    )
    print("| loop | precision | images/s | images/processor s | peak memory, MiB |\n|---|---|---|---|---|")
    for (which, precision), results in rows.items():
        cells = (spread([result[place] for result in results], 0) for place in range(3))
        print(f"| {NAMES[which]} | {precision} | {' | '.join(cells)} |")
    for (which, precision), (other, base) in zip(wanted[1:], wanted, strict=False):
        pairs = [*zip(rows[which, precision], rows[other, base], strict=True)]
        clock, processor_time = (spread([one[place] / two[place] for one, two in pairs]) for place in (0, 1))
        print(
            f"\n{NAMES[which]}, {precision}, against {NAMES[other]}, {base}, pair by pair: {clock}; by processor "
            f"time {processor_time}"
        )
    if len(precisions) == 1:
        print("\nbf16: not measured here, this processor does not compute in it")


def main() -> None:
    """Print the table, or one variant's rate when called for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--precision", default="32-true")
    options = parser.parse_args()
    if options.only:
        run = {"ours": ours, "usual": usual}[options.only]
        print(json.dumps(run(options.data, options.batch_size, options.precision, options.steps)))
    else:
        table(options)


if __name__ == "__main__":
    main()
