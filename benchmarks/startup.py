"""Wall time of whole commands, each a fresh process, beside importing torch alone, in turn.

python benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib.resources import files

from machine import describe, spread


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=9)
    options = parser.parse_args()
    photo = str(files("mien").joinpath("assets", "sample.jpg"))
    commands = {
        "import mien": ["-c", "import mien"],
        "mien --help": ["-m", "mien", "--help"],
        "mien predict PHOTO --detector haar": ["-m", "mien", "predict", photo, "--detector", "haar"],
        "import torch": ["-c", "import torch"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.n + 1):
        for name, words in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            times[name].append(time.perf_counter() - started)
    print(describe("mien", "onnxruntime", "opencv-python-headless"))
    print(f"n = {options.n} in turn after one warm-up, seconds of wall time: median (min-max)\n")
    print("| command | s |\n|---|---|")
    for name, values in times.items():
        print(f"| `{name}` | {spread(values[1:])} |")


if __name__ == "__main__":
    main()
