"""A small vision transformer, trained from scratch (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from mien.preprocess import Preprocess

GRID = 8
"""Patches along each side, unless `patch_px` says otherwise."""

PLACE_STD = 0.5
"""How far places differ at first: as much as patches do. With the usual 0.02 brightness drowns the place."""


def vit(
    classes: int,
    spec: Preprocess,
    *,
    patch_px: int = 0,
    width: int = 192,
    depth: int = 6,
    heads: int = 3,
    dropout: float = 0.1,
) -> nn.Sequential:
    """Patches -> tokens -> `depth` blocks of attention -> mean -> logits.

    `patch_px` 0 is the size that makes 8 patches along each side.
    """
    patch_px = patch_px or spec.size_px // GRID
    if spec.size_px % patch_px or width % heads:
        raise ValueError(
            f"patches of {patch_px} pixels must tile the picture, and {heads} heads divide the width {width}"
        )
    return nn.Sequential(
        Tokens(spec.channels, patch_px, (spec.size_px // patch_px) ** 2, width),
        nn.Dropout(dropout),
        *(Block(width, heads, dropout) for _ in range(depth)),
        nn.LayerNorm(width),
        TokenMean(),
        nn.Linear(width, classes),
    )


class Tokens(nn.Module):
    """Cut a picture into patches and say where each was: [b, c, s, s] -> [b, n, width]."""

    def __init__(self, channels: int, patch_px: int, patches: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch_px, stride=patch_px)
        self.position = nn.Parameter(nn.init.normal_(torch.empty(1, patches, width), std=PLACE_STD))

    def forward(self, x: Tensor) -> Tensor:
        """Return one token a patch."""
        return self.embed(x).flatten(2).transpose(1, 2) + self.position


class Block(nn.Module):
    """Attention, then two linear layers, each normalised before and added to its input: [b, n, width]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens that have seen each other."""
        shape = (*x.shape[:2], 3, self.heads, -1)
        q, k, v = (
            self.qkv(self.norm(x)).view(shape).permute(2, 0, 3, 1, 4)
        )  # each [b, heads, n, width / heads]
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.drop(self.out(seen))
        return x + self.drop(self.mlp(x))


class TokenMean(nn.Module):
    """Mean over tokens: [b, n, width] -> [b, width]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean token."""
        return x.mean(1)
