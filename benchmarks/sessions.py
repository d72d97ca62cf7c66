"""Faces a second of one and of two classifiers of one thread each, asked by as many threads at once.

python benchmarks/sessions.py [BUNDLE] [--backend int8]
"""

from __future__ import annotations

import argparse
import threading
import time

import numpy as np

from machine import describe, spread
from mien.classifiers import load_classifier

SECONDS = 2.0


def faces_per_s(classifiers: list, crops: np.ndarray) -> float:
    """Return the rate of all of them together."""
    done = [0] * len(classifiers)
    until = time.perf_counter() + SECONDS

    def work(number: int) -> None:
        while time.perf_counter() < until:
            classifiers[number].logits(crops)
            done[number] += len(crops)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(classifiers))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", nargs="?", default="mien_nano")
    parser.add_argument("--backend", default="int8")
    parser.add_argument("--n", type=int, default=5)
    options = parser.parse_args()
    pair = [load_classifier(options.bundle, backend=options.backend, threads=1) for _ in range(2)]
    spec = pair[0].preprocess
    shape = (64, spec.size_px, spec.size_px, spec.channels)
    crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    faces_per_s(pair, crops)
    rates = [(faces_per_s(pair[:1], crops), faces_per_s(pair, crops)) for _ in range(options.n)]
    print(describe("onnxruntime"))
    print(
        f"{pair[0].id.name}, {options.backend}, batch 64, n = {options.n} in turn, faces/s: median (min-max)\n"
    )
    print("| sessions of one thread | faces/s |\n|---|---|")
    for number, column in ((1, 0), (2, 1)):
        print(f"| {number} | {spread([row[column] for row in rates], 0)} |")


if __name__ == "__main__":
    main()
