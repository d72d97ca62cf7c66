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
    stages = _stages(channels, _halve)  # 48 -> 24 -> 12 -> 6 px
    block = Inception(128, 48, 48, 96, 24, 48, 24)
    return nn.Sequential(*stages, block, GlobalMean(), *_head(216, classes, dropout=0.2))


def inception(classes: int, channels: int) -> nn.Sequential:
    """Nine Inception blocks at 24, 12 and 6 pixels (reference system A)."""
    return nn.Sequential(
        *_inception_stem(channels),
        _halve(),  # 24 -> 12 px
        Inception(480, 192, 96, 208, 16, 48, 64),
        Inception(512, 160, 112, 224, 24, 64, 64),
        Inception(512, 128, 128, 256, 24, 64, 64),
        Inception(512, 112, 144, 288, 32, 64, 64),
        Inception(528, 256, 160, 320, 32, 128, 128),
        _halve(),  # 12 -> 6 px
        Inception(832, 256, 160, 320, 32, 128, 128),
        Inception(832, 384, 192, 384, 48, 128, 128),
        GlobalMean(),
        nn.BatchNorm1d(1024),
        nn.Dropout(0.3),
        nn.Linear(1024, classes),
    )


def inception_simplified(classes: int, channels: int) -> nn.Sequential:
    """`inception` with five blocks and a two-layer head (reference system A)."""
    return nn.Sequential(
        *_inception_stem(channels),
        _halve(),  # 24 -> 12 px
        Inception(480, 192, 96, 208, 16, 48, 64),
        Inception(512, 112, 144, 288, 32, 64, 64),
        _halve(),  # 12 -> 6 px
        Inception(528, 256, 160, 320, 32, 128, 128),
        GlobalMean(),
        nn.BatchNorm1d(832),
        nn.Dropout(0.3),
        nn.Linear(832, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, classes),
    )


def blog_cnn_1(classes: int, channels: int) -> nn.Sequential:
    """Two unpadded convolutions, one pool, one hidden layer (reference system E)."""
    return nn.Sequential(
        *_unpadded(channels, 32),  # 48 -> 46 px
        *_unpadded(32, 64),  # 44 px
        nn.MaxPool2d(2),  # 22 px
        nn.Flatten(),
        nn.Linear(64 * 22 * 22, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, classes),
    )


def blog_cnn_3(classes: int, channels: int) -> nn.Sequential:
    """Three unpadded convolutions, each with a pool (reference system E)."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((channels, 32, 64, 128)):  # 48 -> 46, 23 -> 21, 10 -> 8, 4 px
        layers += [*_unpadded(width_in, width_out), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, classes)
    )


def blog_cnn_4(classes: int, channels: int) -> nn.Sequential:
    """Two unpadded convolutions, each with a pool, and a wide hidden layer (reference system E)."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((channels, 36, 76)):  # 48 -> 46, 23 -> 21, 10 px
        layers += [*_unpadded(width_in, width_out), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(76 * 10 * 10, 1024), nn.ReLU(), nn.Linear(1024, classes)
    )


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


def _inception_stem(channels: int) -> list[nn.Module]:
    return [
        *_conv(channels, 64),
        *_conv(64, 64, 1),
        *_conv(64, 192),
        _halve(),  # 48 -> 24 px
        Inception(192, 64, 96, 128, 16, 32, 32),
        Inception(256, 128, 128, 192, 32, 96, 64),
    ]


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=1)


def _unpadded(width_in: int, width_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(width_in, width_out, 3), nn.ReLU()


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
