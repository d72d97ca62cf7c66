"""The published networks, layer for layer, as their projects describe them."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from mien.networks.plain import ConvNorm, GlobalMean


def mynet_v1(classes: int, channels: int) -> nn.Sequential:
    """Three stages of two 3x3 convolutions and a three-layer head (reference system A)."""
    stages = _stages(channels, lambda: nn.MaxPool2d(2))  # 48 -> 24 -> 12 -> 6 px
    return nn.Sequential(*stages, GlobalMean(), *_head(128, classes, dropout=0.3))


def mynet_v2(classes: int, channels: int) -> nn.Sequential:
    """`mynet_v1` with overlapping pools and one Inception block (reference system A)."""
    stages = _stages(channels, lambda: nn.MaxPool2d(3, stride=2, padding=1))  # 48 -> 24 -> 12 -> 6 px
    block = Inception(128, 48, 48, 96, 24, 48, 24)
    return nn.Sequential(*stages, block, GlobalMean(), *_head(216, classes, dropout=0.2))


class Inception(nn.Module):
    """Four branches on one input, concatenated: 1x1 | 1x1, 3x3 | 1x1, 3x3, 3x3 | max-pool, 1x1.

    (width; n1, r3, n3, r5, n5, np) -> n1 + n3 + n5 + np channels of the same size.
    """

    def __init__(self, width: int, n1: int, r3: int, n3: int, r5: int, n5: int, np: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                nn.Sequential(*_conv(width, n1, 1)),
                nn.Sequential(*_conv(width, r3, 1), *_conv(r3, n3)),
                nn.Sequential(*_conv(width, r5, 1), *_conv(r5, n5), *_conv(n5, n5)),
                nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), *_conv(width, np, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the branches' outputs side by side: [b, width, h, w] -> [b, sum, h, w]."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def _conv(width_in: int, width_out: int, kernel: int = 3) -> tuple[nn.Module, nn.Module]:
    return ConvNorm(width_in, width_out, kernel, bias=True), nn.ReLU()


def _stages(channels: int, pool) -> list[nn.Module]:  # type: ignore[no-untyped-def]
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((channels, 32, 64, 128)):
        layers += [*_conv(width_in, width_out), *_conv(width_out, width_out), pool()]
    return layers


def _head(width: int, classes: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((width, 512, 256)):
        layers += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out), nn.ReLU(), nn.Dropout(dropout)]
    return [*layers, nn.Linear(256, classes)]
