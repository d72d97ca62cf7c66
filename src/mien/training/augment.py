"""Augmentation of a whole batch in a few tensor operations, on the device.

Drawing and applying are apart: `draw` makes one row of random numbers a picture, `apply` uses rows. So
several processes can draw the same global batch and each apply its own rows, and a test can hold a
picture's change in its hand. Pixels stay in 0-255; everything geometric is one sampling.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from mien.config import Augment


class Draws(NamedTuple):
    """The random change of each picture in a batch."""

    affine: Float32[Tensor, "b 2 3"]
    """Output -> input coordinates, each axis in [-1, 1]."""
    contrast: Float32[Tensor, " b"]
    """Factor around mid-grey."""
    brightness: Float32[Tensor, " b"]
    """Offset, in pixel values."""
    erased: Bool[Tensor, " b"]
    erase_box: Float32[Tensor, "b 4"]
    """Centre x, y and half width, half height, in parts of the side."""
    erase_value: Float32[Tensor, " b"]

    def rows(self, start: int, step: int) -> Draws:
        """Return every `step`-th row from `start`: one process's share of a global batch."""
        return Draws(*(values[start::step] for values in self))


def draw(augment: Augment, b: int, generator: torch.Generator) -> Draws:
    """Draw the changes for `b` pictures on the generator's device."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        made = torch.rand(b, *shape, generator=generator, device=generator.device)
        return made * (high - low) + low

    low, high = augment.erase_side_fraction
    return Draws(
        affine=_affine(augment, uniform),
        contrast=1 + uniform(-augment.contrast_fraction, augment.contrast_fraction),
        brightness=255 * uniform(-augment.brightness_fraction, augment.brightness_fraction),
        erased=uniform(0, 1) < augment.erase_probability,
        erase_box=torch.cat([uniform(0, 1, 2), uniform(low / 2, high / 2, 2)], dim=1),
        erase_value=uniform(0, 255),
    )


def apply(images: Float32[Tensor, "b c h w"], draws: Draws) -> Float32[Tensor, "b c h w"]:
    """Return the changed pictures; values stay in 0-255, what was outside the picture is black."""
    grid = functional.affine_grid(draws.affine, list(images.shape), align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
    factor, offset = draws.contrast[:, None, None, None], draws.brightness[:, None, None, None]
    images = ((images - 127.5) * factor + (127.5 + offset)).clamp(0, 255)
    return torch.where(_erase_mask(images, draws), draws.erase_value[:, None, None, None], images)


def _affine(augment: Augment, uniform) -> Float32[Tensor, "b 2 3"]:  # type: ignore[no-untyped-def]
    turn = math.radians(augment.rotation_deg)
    angle = uniform(-turn, turn)
    stretch = math.log1p(augment.scale_fraction)
    size = torch.exp(uniform(-stretch, stretch))
    flip = torch.where(uniform(0, 1) < augment.flip_probability, -1.0, 1.0)
    kept = 1 - uniform(0, augment.crop_fraction, 2)  # part of each side that the crop keeps
    offset = (1 - kept) * uniform(-1, 1, 2) + 2 * uniform(-augment.shift_fraction, augment.shift_fraction, 2)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    across = torch.stack([kept[:, 0] * cos * flip, -kept[:, 1] * sin, offset[:, 0]], dim=1)
    down = torch.stack([kept[:, 0] * sin * flip, kept[:, 1] * cos, offset[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)


def _erase_mask(images: Tensor, draws: Draws) -> Bool[Tensor, "b 1 h w"]:
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device) + 0.5) / width
    y = (torch.arange(height, device=images.device) + 0.5) / height
    centre_x, centre_y, half_width, half_height = (side[:, None] for side in draws.erase_box.unbind(1))
    inside_x = (x - centre_x).abs() < half_width
    inside_y = (y - centre_y).abs() < half_height
    return (draws.erased[:, None, None] & inside_y[:, :, None] & inside_x[:, None, :])[:, None]
