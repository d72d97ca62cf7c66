"""Reading: a table as large as `fer2013.csv`, by us and by the loop of every tutorial, and from a packed file.

The table is written first: 35,887 rows of 48x48 random pixels in the three usages, 288 MB of text.

    python benchmarks/reading_speed.py
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import numpy as np

from machine import describe, spread
from mien.data.read import convert, read_dataset

ROWS = {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}


def write_table(path: Path) -> None:
    """Write the table."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for usage, count in ROWS.items():
            for row in range(count):
                file.write(f"{row % 7},{' '.join(map(str, rng.integers(0, 256, 2304).tolist()))},{usage}\n")


def usual(path: Path) -> np.ndarray:
    """Read the pixels as tutorials do."""
    with path.open(newline="") as file:
        return np.stack([np.array(row["pixels"].split(), np.uint8) for row in csv.DictReader(file)])


def seconds(work, *words) -> tuple[float, object]:
    """Return the time of a call and its result."""
    started = time.perf_counter()
    made = work(*words)
    return time.perf_counter() - started, made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, packed = Path(folder) / "fer2013.csv", Path(folder) / "fer2013.npz"
        write_table(table)
        convert(table, packed)
        times: dict[str, list[float]] = {
            "csv module, split, numpy": [],
            "mien, the table": [],
            "mien, packed (mapped, nothing read yet)": [],
        }
        for _ in range(options.n):
            theirs, pixels = seconds(usual, table)
            ours, data = seconds(read_dataset, table)
            mapped, _ = seconds(read_dataset, packed)
            assert (data.images.reshape(pixels.shape) == pixels).all()
            for column, value in zip(times.values(), (theirs, ours, mapped), strict=True):
                column.append(value)
    n = sum(ROWS.values())
    print(describe("numpy"))
    print(f"{n:,} rows, n = {options.n} in turn: median (min-max)\n")
    print("| reader | seconds | rows/s |\n|---|---|---|")
    for name, column in times.items():
        print(f"| {name} | {spread(column)} | {spread([n / value for value in column], 0)} |")
    first, second = list(times.values())[:2]
    print(
        f"\nratio of the first two, pair by pair: {spread([a / b for a, b in zip(first, second, strict=True)], 1)}"
    )


if __name__ == "__main__":
    main()
