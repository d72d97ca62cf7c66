"""Augmentation: our batched tensors against torchvision's v2 transforms on PIL pictures, in turn.

Both flip, turn, shift, scale, change brightness and contrast, erase and normalise, and end in batches. The PIL
pictures are already decoded and in memory, which flatters them; two `DataLoader` workers change one each at a time.

    python benchmarks/augmentation_speed.py --data fer2013.zip
"""

from __future__ import annotations

import argparse
import time

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from machine import describe, spread
from mien.config import read_recipe
from mien.data.read import read_dataset
from mien.training.batches import Batches

BATCH = 128


class Pictures(Dataset):
    """PIL pictures and labels, changed one at a time."""

    def __init__(self, data) -> None:
        self.pictures = [Image.fromarray(image[..., 0]) for image in data.images]
        self.labels = data.truth.tolist()
        self.changes = v2.Compose([
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(
                12, translate=(0.15, 0.15), scale=(0.87, 1.15), interpolation=v2.InterpolationMode.BILINEAR
            ),
            v2.ColorJitter(brightness=0.2, contrast=0.2),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5], [0.25]),
            v2.RandomErasing(0.4),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int):
        return self.changes(self.pictures[row]), self.labels[row]


def rate(batches) -> float:
    """Return images/s of one pass, the first batch (workers starting) left out."""
    images, started = 0, 0.0
    for x, _ in batches:
        if not started:
            started = time.perf_counter()
        else:
            images += len(x)
    return images / (time.perf_counter() - started)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--n", type=int, default=5)
    options = parser.parse_args()
    recipes = {
        "mien, batched": read_recipe("mien/speedrun", [f"batch_size={BATCH}", "resizing.early_size_px=0"]),
        "and light, sharpness, JPEG and noise, as `nano` does": read_recipe(
            "mien/nano", [f"batch_size={BATCH}"]
        ),
    }
    data = read_dataset(options.data, recipes["mien, batched"].input, split="train")
    ours = {name: Batches(data, recipe, torch.device("cpu")) for name, recipe in recipes.items()}
    loader = DataLoader(Pictures(data), BATCH, shuffle=True, num_workers=2, drop_last=True)
    names = ["torchvision v2, PIL, 2 workers", *ours]
    for batches in ours.values():
        rate(batches.epoch(0))
    rates = [
        (rate(loader), *(rate(batches.epoch(turn)) for batches in ours.values())) for turn in range(options.n)
    ]
    print(describe("torch", "torchvision", "pillow"))
    print(
        f"{len(data):,} pictures of 48x48, batch {BATCH}, n = {options.n} in turn, images/s: median (min-max)\n"
    )
    print("| augmentation | images/s |\n|---|---|")
    for name, column in zip(names, zip(*rates, strict=True), strict=True):
        print(f"| {name} | {spread(column, 0)} |")
    print(f"\nratio of the first two, pair by pair: {spread([two / one for one, two, *_ in rates], 1)}")


if __name__ == "__main__":
    main()
