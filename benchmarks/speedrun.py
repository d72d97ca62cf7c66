"""How accurate `mien_nano` gets in how little time: the recipe `speedrun`, several seeds, one line as the result.

Each run learns from all training images. The last epoch is kept, so nothing is chosen on the test images. The seconds
are those of all epochs and of judging once; reading the dataset and export come on top.

    python benchmarks/speedrun.py --data fer2013.zip --seeds 2
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch

from machine import describe
from mien import FaceDataset, fit, read_dataset, read_recipe
from mien.classifiers.combine import with_tta
from mien.classifiers.torch_module import TorchClassifier
from mien.results import ModelId


def run(data: FaceDataset, settings: list[str]) -> tuple[float, float, float]:
    """Train once; return seconds, and accuracy without and with flip averaging."""
    recipe = read_recipe("speedrun", ["validation.split=test", *settings])
    trained = fit(recipe, data)
    rows = data.select("test")
    classifier = TorchClassifier(ModelId("speedrun", "", data.labels), recipe.input, trained.network)
    hits = [with_tta(classifier, tta).logits(rows.images).argmax(1) == rows.truth for tta in ("none", "flip")]
    return sum(row.seconds for row in trained.history), float(hits[0].mean()), float(hits[1].mean())


def told(values: list[float]) -> str:
    """Return mean and standard deviation, in percent."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread} %"


def main() -> None:
    """Train, and print the claim."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="as in mien train")
    options = parser.parse_args()
    data = read_dataset(options.data)
    found = []
    for seed in range(options.seeds):
        found.append(run(data, [*options.set, f"seed={seed}"]))
        print(
            f"seed {seed}: {found[-1][0]:.0f} s, {found[-1][1]:.2%}, with flip {found[-1][2]:.2%}", flush=True
        )
    seconds, plain, flipped = (list(column) for column in zip(*found, strict=True))
    chip = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    print(
        f"speedrun: {told(plain)}, with flip {told(flipped)}, in {np.mean(seconds):.0f} s (n = {len(found)}), "
        f"{chip}{describe('torch')}, {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    main()
