"""`FaceDataset` -> batches on the device: one uint8 tensor, a seeded order, augmented input.

All randomness of an epoch follows from (seed, epoch), so a resumed run repeats the uninterrupted one, and
every process of a distributed run sees the same global batch and takes its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.data.balance import class_counts, rows_to_copy
from mien.errors import DataError
from mien.training import augment
from mien.training.distill import taught_by_votes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float32, Int, UInt8

    from mien.config import Recipe
    from mien.data.dataset import FaceDataset
    from mien.preprocess import Preprocess


ENLARGEMENT = 2**32 - 2
"""Stands for the epoch before the first: the seed of the copies that join rare classes."""
COPY_BATCH = 512


class Batches:
    """The training images on the device, served as augmented, normalised batches."""

    def __init__(
        self, data: FaceDataset, recipe: Recipe, device: torch.device, *, rank: int = 0, world_size: int = 1
    ) -> None:
        """Copy the images to the device, with the copies that `recipe.balance` asks for.

        Raises:
            DataError: no training split, the set does not fill a batch, an image without a label, or a batch
                does not divide among the processes.
        """
        rows = data.rows(recipe.train_split)
        data.check_labelled(rows)
        if len(rows) < recipe.batch_size:
            raise DataError(
                f"{len(rows)} training images do not fill a batch of {recipe.batch_size}: lower batch_size"
            )
        if recipe.batch_size % world_size:
            raise DataError(f"a batch of {recipe.batch_size} does not divide among {world_size} processes")
        self.recipe, self.device, self.rank, self.world_size = recipe, device, rank, world_size
        self.counts = class_counts(data.truth[rows], len(data.labels))
        if recipe.balance.enlarge_to_ratio:
            data = enlarged(data, recipe, device)
            rows = data.rows(recipe.train_split)
        self.drawn = class_counts(data.truth[rows], len(data.labels))
        if recipe.balance.sampler == "weighted":
            self.drawn = self.drawn.clip(max=1)
        self._truth = torch.from_numpy(data.truth).to(device)
        if recipe.distillation.votes_share:
            data = taught_by_votes(data, rows, recipe.distillation.votes_share)
        self.images, self.targets = to_device(data, device)
        self.rows = torch.from_numpy(rows).to(device)
        self.to_input = ToInput(recipe.input, device)
        self._images_a_step = recipe.batch_size // recipe.augment.copies_per_image

    def __len__(self) -> int:
        """Return the number of steps in an epoch; an incomplete last batch is left out, other rows each time."""
        return len(self.rows) // self._images_a_step

    def epoch(self, epoch: int) -> Iterator[tuple[Float32[Tensor, "b c h w"], Float32[Tensor, "b k"]]]:
        """Yield this process's rows of every batch of one epoch."""
        recipe, steps = self.recipe, len(self)
        generator = torch.Generator(self.device).manual_seed(epoch_seed(recipe.seed, epoch))
        order = torch.split(self._order(generator), self._images_a_step)
        for step in range(steps):
            progress = (epoch * steps + step) / (recipe.epochs * steps)
            changes = recipe.augment.at(progress)
            rows = order[step].repeat_interleave(changes.copies_per_image)
            draws = augment.draw(changes, len(rows), generator)
            targets = self.targets[rows]
            if recipe.loss.drawn_targets:
                targets = _one_of(targets, generator)
            own = torch.arange(self.rank, len(rows), self.world_size, device=self.device)
            if draws.mix is None or self.world_size == 1:
                x = augment.apply(changes, self.pictures(rows[own]), draws.of(own))
                y = targets[own]
                if draws.mix is not None:
                    x, y = augment.mix(x, y, draws.mix)
            else:  # partners may belong to other processes: their rows are augmented here as well
                needed = torch.cat([own, draws.mix.partner[own]])
                both = augment.apply(changes, self.pictures(rows[needed]), draws.of(needed))
                (x, other), (y, other_y) = both.chunk(2), targets[needed].chunk(2)
                x, y = augment.mix(x, y, draws.mix.of(own), (other, other_y))
            yield self.to_input(shrunk(x, recipe.size_at(progress))), y

    def example(self) -> Float32[Tensor, "b c h w"]:
        """Return input of the shape that every step of this process has, but those with smaller pictures."""
        rows = self.rows[: self.recipe.batch_size // self.world_size]
        return self.to_input(self.pictures(rows))

    def _order(self, generator: torch.Generator) -> Int[Tensor, " n"]:
        n = len(self.rows)
        if self.recipe.balance.sampler == "weighted":
            truth = self._truth[self.rows]
            weights = 1 / truth.bincount().float()[truth]
            return self.rows[torch.multinomial(weights, n, replacement=True, generator=generator)]
        return self.rows[torch.randperm(n, generator=generator, device=self.device)]

    def pictures(self, rows: Int[Tensor, " b"]) -> Float32[Tensor, "b c h w"]:
        """Return these rows' pictures on the device, in 0-255."""
        return self.images[rows.to(self.images.device)].to(self.device).float()


def shrunk(x: Float32[Tensor, "b c h w"], size_px: int) -> Float32[Tensor, "b c s s"]:
    """Return square pictures of this side, each pixel a mean of what it covers; pictures of this side as they are."""
    if x.shape[-1] == size_px:
        return x
    return functional.interpolate(x, size=(size_px, size_px), mode="bilinear", antialias=True)


def enlarged(data: FaceDataset, recipe: Recipe, device: torch.device | None = None) -> FaceDataset:
    """Join changed copies of the rare classes' training images to a dataset, made in batches on the device.

    The same recipe and seed make the same copies.
    """
    rule, seed = recipe.balance, epoch_seed(recipe.seed, ENLARGEMENT)
    rows, rng = data.rows(recipe.train_split), np.random.default_rng(seed)
    copied = rows[rows_to_copy(data.truth[rows], len(data.labels), rule.enlarge_to_ratio, rng)]
    device = device or torch.device("cpu")
    generator = torch.Generator(device).manual_seed(seed)
    copies = [data.images[:0]]
    for start in range(0, len(copied), COPY_BATCH):
        part = data.images[copied[start : start + COPY_BATCH]]
        x = torch.from_numpy(part).permute(0, 3, 1, 2).to(device).float()
        changed = augment.apply(rule.copies, x, augment.draw(rule.copies, len(part), generator))
        copies.append(changed.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    return data.joined(np.concatenate(copies), copied)


class ToInput:
    """`Preprocess.normalise` on the device: pixels in 0-255 [b, c, h, w] -> the network's input."""

    def __init__(self, preprocess: Preprocess, device: torch.device) -> None:
        gain, offset = (torch.tensor(values, device=device) for values in preprocess.gain_offset())
        self.gain, self.offset = gain[:, None, None], offset[:, None, None]

    def __call__(self, pixels: Tensor) -> Float32[Tensor, "b c h w"]:
        """Return f32 input in the memory order that convolutions run fastest on."""
        return (pixels * self.gain - self.offset).contiguous(memory_format=torch.channels_last)


def to_device(
    data: FaceDataset, device: torch.device
) -> tuple[UInt8[Tensor, "n c h w"], Float32[Tensor, "n k"]]:
    """Return pictures (still bytes) and targets on the device, where it is the CPU without copying them.

    Pictures that would fill half of a GPU's free memory stay on the host; batches of them travel.
    """
    images = torch.from_numpy(data.images).permute(0, 3, 1, 2)
    fits = device.type != "cuda" or images.numel() < torch.cuda.mem_get_info(device)[0] // 2
    return images.to(device) if fits else images, torch.from_numpy(data.targets).to(device)


def _one_of(targets: Float32[Tensor, "b k"], generator: torch.Generator) -> Float32[Tensor, "b k"]:
    """Draw one label from each row's shares."""
    drawn = torch.multinomial(targets, 1, generator=generator)
    return torch.zeros_like(targets).scatter_(1, drawn, 1.0)


def epoch_seed(seed: int, epoch: int) -> int:
    """Return one well-mixed 63-bit seed for each (seed, epoch)."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
