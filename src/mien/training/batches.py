"""`FaceDataset` -> batches on the device: one uint8 tensor, a seeded order, augmented input.

All randomness of an epoch follows from (seed, epoch), so a resumed run repeats the uninterrupted one, and
every process of a distributed run sees the same global batch and takes its rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mien.errors import DataError
from mien.training import augment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float32, UInt8

    from mien.config import Augment
    from mien.data.dataset import FaceDataset
    from mien.preprocess import Preprocess


class Batches:
    """The training images on the device, served as augmented, normalised batches."""

    def __init__(
        self,
        data: FaceDataset,
        preprocess: Preprocess,
        augmentation: Augment,
        *,
        batch_size: int,
        seed: int,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Copy the images to the device.

        Raises:
            DataError: the set does not fill a batch, or a batch does not divide among the processes.
        """
        if len(data) < batch_size:
            raise DataError(
                f"{len(data)} training images do not fill a batch of {batch_size}: lower batch_size"
            )
        if batch_size % world_size:
            raise DataError(f"a batch of {batch_size} does not divide among {world_size} processes")
        self.images, self.targets = to_device(data, device)
        self.to_input = ToInput(preprocess, device)
        self.augmentation, self.batch_size, self.seed = augmentation, batch_size, seed
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Return the number of steps in an epoch; an incomplete last batch is left out, other rows each time."""
        return len(self.images) // self.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[Float32[Tensor, "b c h w"], Float32[Tensor, "b k"]]]:
        """Yield this process's rows of every batch of one epoch."""
        generator = torch.Generator(self.images.device).manual_seed(epoch_seed(self.seed, epoch))
        order = torch.randperm(len(self.images), generator=generator, device=self.images.device)
        for step in range(len(self)):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.world_size]
            draws = augment.draw(self.augmentation, self.batch_size, generator).rows(
                self.rank, self.world_size
            )
            yield self.to_input(augment.apply(self.images[rows].float(), draws)), self.targets[rows]


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
    """Copy pictures (channel first, still bytes) and targets to the device."""
    images = torch.from_numpy(np.ascontiguousarray(data.images.transpose(0, 3, 1, 2)))
    return images.to(device), torch.from_numpy(data.targets).to(device)


def epoch_seed(seed: int, epoch: int) -> int:
    """Return one well-mixed 63-bit seed for each (seed, epoch)."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)
