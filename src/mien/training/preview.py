"""What a recipe's augmentation makes of real samples, for a person to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mien.training import augment
from mien.training.batches import epoch_seed, to_device

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

    from mien.config import Recipe
    from mien.data.dataset import FaceDataset

SAMPLES_A_CLASS, VERSIONS = 2, 7
Sample = tuple["UInt8[np.ndarray, 'h w c']", str]
"""A picture and its caption."""


def examples(data: FaceDataset, recipe: Recipe) -> list[list[Sample]]:
    """Return lines of pictures with captions: samples of each class, as they are, then as training sees them."""
    rng = np.random.default_rng(recipe.seed)
    picked = [
        row
        for label in range(len(data.labels))
        for row in rng.permutation(np.flatnonzero((data.truth == label) & data.targets.any(axis=1)))[
            :SAMPLES_A_CLASS
        ]
    ]
    if not picked:
        data.check_labelled(np.arange(len(data)))
    data = data.take(np.array(picked, int))
    images, targets = to_device(data, torch.device("cpu"))
    generator = torch.Generator().manual_seed(epoch_seed(recipe.seed, 0))
    columns = [(images.float(), targets)]
    for _ in range(VERSIONS):
        draws = augment.draw(recipe.augment, len(images), generator)
        made, shares = augment.apply(recipe.augment, images.float(), draws), targets
        if draws.mix is not None:
            made, shares = augment.mix(made, shares, draws.mix)
        columns.append((made, shares))
    return [
        [(_pixels(x[row]), _caption(y[row], data.labels)) for x, y in columns] for row in range(len(picked))
    ]


def _pixels(x: Float32[torch.Tensor, "c h w"]) -> UInt8[np.ndarray, "h w c"]:
    pixels: np.ndarray = x.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


def _caption(target: Float32[torch.Tensor, " k"], labels: tuple[str, ...]) -> str:
    """Return the label, or the two largest shares of a mixed one."""
    shares, order = target.sort(descending=True)
    if shares[0] > 0.995:
        return labels[int(order[0])]
    return " ".join(
        f"{labels[int(k)]} {share:.2f}" for share, k in zip(shares[:2].tolist(), order[:2], strict=True)
    )
