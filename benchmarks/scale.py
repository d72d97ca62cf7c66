"""Scoring on worker processes: images a second for one and more workers, efficiency, and memory over a long run.

    python benchmarks/scale.py --images 100000 --workers 1,2 [--detector whole]

The images are drawn faces of 48 pixels, as JPEG in the rows of a Parquet file, so that reading costs as little as it
can. The rate is taken between the first and the last shard that is done: starting Ray and loading the model are
not in it, and are stated apart. Memory is the resident memory of the driver and of the largest worker, in MB,
after each tenth of the images. `--data MB` measures how fast a mapped file is read instead (`larger_than_memory`).
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from machine import describe

GROUP = 1024
FACES = 997
"""Different faces that are drawn; a prime number, so that shards differ."""


def write_images(path: Path, count: int) -> None:
    """Write a Parquet file with so many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from mien.data.synthetic import draw_face

    rng, encoded = np.random.default_rng(0), []
    for number in range(FACES):
        file = io.BytesIO()
        Image.fromarray(draw_face(("happy", "sad", "angry")[number % 3], rng, 48)).save(
            file, "JPEG", quality=90
        )
        encoded.append(file.getvalue())
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP):
            rows = [encoded[row % FACES] for row in range(start, min(count, start + GROUP))]
            writer.write_table(pa.table({"image": rows}, schema))


def resident_mb() -> tuple[float, float]:
    """Return the memory of this process and of the largest worker."""
    own = psutil.Process()
    workers = [0.0]
    for child in psutil.process_iter():
        try:
            if child.name().startswith("ray::Worker"):
                workers.append(child.memory_info().rss / 1e6)
        except psutil.Error:
            continue
    return own.memory_info().rss / 1e6, max(workers)


def measure(source: Path, out: Path, count: int, workers: int, detector: str) -> float:
    """Score the images, print the figures, and return images a second."""
    from mien.scale import score
    from mien.scale.options import ScaleOptions

    marks: list[tuple[float, int]] = []
    memory: list[tuple[float, float]] = []
    begun = time.perf_counter()

    def on_images(some: int) -> None:
        marks.append((time.perf_counter(), some))
        if sum(n for _, n in marks) * 10 // count > len(memory):
            memory.append(resident_mb())

    options = ScaleOptions(engine="ray", shard_size=GROUP)
    scored = score(source, out, options=options, workers=workers, on_images=on_images, detector=detector)
    assert scored.images == count
    rate = sum(n for _, n in marks[1:]) / (marks[-1][0] - marks[0][0])
    start = marks[0][0] - begun
    size = sum(file.stat().st_size for file in out.glob("*.parquet"))
    print(
        f"{workers} workers: {rate:,.0f} images/s, {start:.0f} s to the first shard, "
        f"{size / count:.0f} bytes of results an image; errors: {scored.errors}"
    )
    for number, (driver, worker) in enumerate(memory, start=1):
        print(f"  after {number * 10:3} %: driver {driver:,.0f} MB, largest worker {worker:,.0f} MB")
    return rate


def larger_than_memory(folder: Path, data_mb: int, steps: int, batch: int) -> None:
    """Print how fast batches come from a mapped file: rows in random order, and blocks of rows in random order.

    Run it where the process may use less memory than `data_mb`, such as in a control group with a limit.
    """
    side = 48
    rows = data_mb * 2**20 // side**2
    path = folder / "images.bin"
    rng = np.random.default_rng(0)
    block = rng.integers(0, 256, (4096, side, side, 1), np.uint8)
    with path.open("wb") as file:
        for start in range(0, rows, len(block)):
            file.write(block[: min(len(block), rows - start)].data)
        file.flush()
        os.fsync(file.fileno())
    images = np.memmap(path, np.uint8, "c", shape=(rows, side, side, 1))
    for name in ("random rows", "blocks of 4,096 rows"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_majflt, time.perf_counter()
        blocks = rng.permutation(rows // 4096)
        for step in range(steps):
            if name == "random rows":
                chosen = rng.integers(0, rows, batch)
            else:
                first = 4096 * int(blocks[step * batch // 4096 % len(blocks)]) + step * batch % 4096
                chosen = np.arange(first, first + batch)
            images[np.sort(chosen)].sum()
        seconds = time.perf_counter() - begun
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(
            f"{name}: {steps * batch / seconds:,.0f} images/s, {faults / (steps * batch):.2f} reads an image, "
            f"peak {peak:,.0f} MB of {data_mb:,} MB"
        )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--detector", default="whole")
    parser.add_argument("--data", type=int, default=0, metavar="MB")
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    print(describe("ray", "pyarrow", "onnxruntime"), "load", *(f"{load:.1f}" for load in os.getloadavg()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.data:
            larger_than_memory(folder, given.data, given.steps, 256)
            return
        write_images(folder / "images.parquet", given.images)
        rates = {}
        for workers in map(int, given.workers.split(",")):
            rates[workers] = measure(
                folder / "images.parquet", folder / f"out{workers}", given.images, workers, given.detector
            )
        least = min(rates)
        for workers, rate in rates.items():
            print(f"efficiency of {workers}: {rate / rates[least] * least / workers:.0%}")


if __name__ == "__main__":
    main()
