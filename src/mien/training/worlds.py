"""What differs between photographs of different origin, for a batch of face crops, each in its own amount.

Light from one side, low resolution, JPEG and noise. Pixels are in 0-255. Every function works row by row, so a
process of a distributed run gets the same rows as a run with one process.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

BLOCK = 8
_SIZES = 16
"""Low resolutions between a full and a vanishing side."""
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
"""Steps of the 8x8 frequencies at quality 50 (ITU-T T.81, table K.1)."""


def light(slope: Float32[Tensor, "b 2"], height: int, width: int) -> Float32[Tensor, "b 1 h w"]:
    """Return the plane of light that `slope` adds: zero in the centre, its values at the right and lower edge."""
    x, y = ((torch.arange(side, device=slope.device) * 2 + 1) / side - 1 for side in (width, height))
    across, down = slope[:, 0, None, None], slope[:, 1, None, None]
    return (across * x + down * y[:, None])[:, None]


def shrunk(images: Float32[Tensor, "b c h w"], lost: Float32[Tensor, " b"]) -> Float32[Tensor, "b c h w"]:
    """Return the images as if each had been shrunk by the fraction `lost` of its side and enlarged again."""
    which = (lost * _SIZES).long().clamp(max=_SIZES - 1)
    down, across = (_there_and_back(side).to(images.device)[which][:, None] for side in images.shape[2:])
    return down @ images @ across.transpose(2, 3)


@lru_cache
def _there_and_back(side: int) -> Float32[Tensor, "sizes side side"]:
    """Return matrices that shrink a line of pixels by area, each to another length, and enlarge it linearly."""
    line, made = torch.eye(side)[:, None], []
    for n in range(_SIZES):
        length = max(1, round(side * (1 - n / _SIZES)))
        small = functional.adaptive_avg_pool1d(line, length)
        made.append(functional.interpolate(small, size=side, mode="linear")[:, 0].T)
    return torch.stack(made)


def saved_as_jpeg(
    images: Float32[Tensor, "b c h w"], quality: Float32[Tensor, " b"]
) -> Float32[Tensor, "b c h w"]:
    """Return the images as JPEG of this quality gives them back, each channel as grey; 100 changes nothing.

    A file holds bytes, so what lies outside 0-255 is cut off before and after.
    """
    height, width = images.shape[2:]
    padding = (0, -width % BLOCK, 0, -height % BLOCK)
    padded = functional.pad(images.clamp(0, 255), padding, mode="replicate") - 128
    b, c, high, wide = padded.shape
    blocks = padded.reshape(b, c, high // BLOCK, BLOCK, wide // BLOCK, BLOCK).transpose(3, 4)
    basis = _cosines().to(images.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None] / 100
    table = torch.tensor(_LUMINANCE, device=images.device).reshape(BLOCK, BLOCK) * scale
    steps = table.round().clamp(min=1)[:, None, None, None]
    rounded = torch.round(basis @ blocks @ basis.T / steps) * steps
    back = (basis.T @ rounded @ basis + 128).transpose(3, 4).reshape(b, c, high, wide)[:, :, :height, :width]
    return torch.where(quality[:, None, None, None] < 100, back.clamp(0, 255), images)


@lru_cache
def _cosines() -> Float32[Tensor, "8 8"]:
    """Return the orthonormal cosine transform of eight values."""
    n = torch.arange(BLOCK)
    rows = torch.cos(math.pi / BLOCK * (n + 0.5) * n[:, None]) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


def noise(seed: Int[Tensor, " b"], shape: torch.Size) -> Float32[Tensor, "b c h w"]:
    """Return standard normal noise that follows from each row's seed alone, whatever the other rows are.

    An integer hash of (seed, pixel) is made a uniform number, and that a normal one.
    """
    pixels = torch.arange(shape[1:].numel(), device=seed.device)
    mixed = (seed[:, None] * 0x9E3779B1 + pixels * 0x85EBCA77) & 0xFFFFFFFF
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    uniform = ((mixed ^ (mixed >> 16)) + 0.5) / 2**32
    return (math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-1 + 1e-6, 1 - 1e-6))).float().reshape(shape)
