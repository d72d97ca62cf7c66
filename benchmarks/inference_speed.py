"""Classification time a face on one thread: ONNX Runtime against torch eager, the same weights, in turn.

python benchmarks/inference_speed.py [BUNDLE]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from machine import describe, spread
from mien.classifiers import load_classifier


def ms_per_face(classifier, crops: np.ndarray, seconds: float = 1.0) -> float:
    """Return milliseconds a face of repeated calls, normalisation included, after a warm-up."""
    for _ in range(5):
        classifier.logits(crops)
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        classifier.logits(crops)
        calls += 1
    return 1000 * (time.perf_counter() - started) / calls / len(crops)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", nargs="?", default="mien_nano")
    parser.add_argument("--n", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runtimes = {
        "torch eager": load_classifier(options.bundle, backend="torch"),
        "ONNX Runtime": load_classifier(options.bundle, threads=1),
    }
    size, channels = (getattr(runtimes["ONNX Runtime"].preprocess, name) for name in ("size_px", "channels"))
    print(describe("torch", "onnxruntime"))
    print(
        f"{runtimes['ONNX Runtime'].id.name}, 1 thread, n = {options.n} in turn, ms a face: median (min-max)\n"
    )
    print(f"| batch | {' | '.join(runtimes)} | ratio, pair by pair |\n|---|---|---|---|")
    for batch in (1, 64):
        crops = np.random.default_rng(0).integers(0, 256, (batch, size, size, channels), np.uint8)
        times: dict[str, list[float]] = {name: [] for name in runtimes}
        for _ in range(options.n):
            for name, classifier in runtimes.items():
                times[name].append(ms_per_face(classifier, crops))
        ratios = [a / b for a, b in zip(times["torch eager"], times["ONNX Runtime"], strict=True)]
        print(
            f"| {batch} | {' | '.join(spread(values, 3) for values in times.values())} | {spread(ratios)} |"
        )


if __name__ == "__main__":
    main()
