"""Training speed and memory: our loop, the one we had before, and the usual one; same network and images, in turn.

The usual one: a folder of JPEGs read by PIL, torchvision's transforms an image at a time, a `DataLoader`
with two workers, fp32. Ours: one uint8 tensor, batched augmentation, channels_last. The one before is that of the
commit `BEFORE`, taken out of git; it needs lightning. Each measurement is a process of its own, so that its peak
memory (of the process and its workers) is its own.

What the loop gains and what bf16 gains are apart: every row states its precision, and bf16 is measured only where
the processor computes in it. `OMP_NUM_THREADS` sets the threads. Images per processor second are of the process
alone, without its workers: they hold where other work runs beside it.

    python benchmarks/training_speed.py --data fer2013.zip
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

WARM_UP = 16
"""Steps."""
BEFORE = "a7b361c"
"""The last commit with the loop on Lightning's Fabric, with a wait for the device in every step."""
Rates = tuple[float, float]
"""Images a second, and images a processor second."""
NAMES = {"usual": "PIL dataset, 2 workers", "before": "mien before", "ours": "mien"}


def ours(archive: str, batch_size: int, precision: str, steps: int) -> Rates:
    """Return images/s of `mien.training`."""
    from mien.config import read_recipe
    from mien.data.read import read_dataset
    from mien.training import fit
    from mien.training.launch import open_place

    recipe = read_recipe("mien/nano", [f"batch_size={batch_size}"])
    fit.REPORT_SECONDS = 0  # a stamp after every step
    run = fit._Run(recipe, read_dataset(archive, recipe.input), "test", open_place("cpu", precision))
    return stamped(run, batch_size, steps)


def before(archive: str, batch_size: int, precision: str, steps: int) -> Rates:
    """Return images/s of the loop at `BEFORE`, whose `mien` is the one that is imported."""
    from mien.data.sources import read_dataset

    from mien.config import read_recipe
    from mien.training.launch import open_fabric
    from mien.training.loop import _Run

    recipe = read_recipe("mien/nano", [f"batch_size={batch_size}"])
    run = _Run(recipe, read_dataset(archive, recipe.input), "test", open_fabric("cpu", precision))
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
    which: str, precision: str, source: str, package: Path | None, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Run one variant in a process of its own; return its `Rates` and peak MiB of it and its workers."""
    import psutil

    command = [
        sys.executable, __file__, "--only", which, "--data", source, "--batch-size", str(options.batch_size),
        "--precision", precision, "--steps", str(options.steps),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(package)} if package else None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
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


def unpacked(commit: str, folder: Path) -> Path:
    """Unpack the package as it was at a commit; return where Python finds it."""
    root = Path(__file__).parent.parent
    packed = subprocess.run(["git", "archive", commit, "src"], cwd=root, stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def table(options: argparse.Namespace) -> None:
    """Measure every loop in every precision in turn, and print the table and the ratios."""
    import torch

    from machine import describe, spread
    from mien.machine import processor

    precisions = ["32-true", *(["bf16-mixed"] if "AVX512-BF16" in (processor().instructions or ()) else [])]
    loops = options.loops.split(",")
    wanted = [
        (which, precision) for precision in precisions for which in loops
        if (which, precision) != ("usual", "bf16-mixed")
    ]  # fmt: skip
    rows: dict[tuple[str, str], list[tuple[float, float, float]]] = {one: [] for one in wanted}
    with tempfile.TemporaryDirectory() as folder:
        sources, packages = dict.fromkeys(NAMES, options.data), dict.fromkeys(NAMES)
        if "usual" in loops:
            zipfile.ZipFile(options.data).extractall(folder)
            sources["usual"] = str(Path(folder) / "train")
        if "before" in loops:
            packages["before"] = unpacked(BEFORE, Path(folder) / "before")
        for _ in range(options.n):
            for which, precision in wanted:
                rows[which, precision].append(
                    measured(which, precision, sources[which], packages[which], options)
                )
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
    for (which, precision), (other, base) in compared(wanted):
        pairs = [*zip(rows[which, precision], rows[other, base], strict=True)]
        clock, processor_time = (spread([one[place] / two[place] for one, two in pairs]) for place in (0, 1))
        print(
            f"\n{NAMES[which]}, {precision}, against {NAMES[other]}, {base}, pair by pair: {clock}; by processor "
            f"time {processor_time}"
        )
    if len(precisions) == 1:
        print("\nbf16: not measured here, this processor does not compute in it")


def compared(wanted: list[tuple[str, str]]) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Return pairs of rows that differ in one thing: the loop, or the precision."""
    pairs = [
        (("ours", precision), (other, precision)) for other in ("before", "usual")
        for precision in ("32-true", "bf16-mixed")
    ]  # fmt: skip
    pairs.append((("ours", "bf16-mixed"), ("ours", "32-true")))
    return [(one, two) for one, two in pairs if one in wanted and two in wanted]


def main() -> None:
    """Print the table, or one variant's rate when called for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--n", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--loops", default="usual,before,ours", help="which, with commas between")
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--precision", default="32-true")
    options = parser.parse_args()
    if options.only:
        run = {"ours": ours, "before": before, "usual": usual}[options.only]
        print(json.dumps(run(options.data, options.batch_size, options.precision, options.steps)))
    else:
        table(options)


if __name__ == "__main__":
    main()
