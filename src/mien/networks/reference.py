"""The published networks, layer for layer, as their projects describe them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mien.errors import ConfigError
from mien.networks.plain import ConvNorm, GlobalMean

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.preprocess import Preprocess

ACTIVATIONS = {"mish": nn.Mish, "silu": nn.SiLU, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


def mynet_v1(classes: int, spec: Preprocess, *, dropout: float = 0.3) -> nn.Sequential:
    """Three stages of two 3x3 convolutions and a three-layer head (reference system A)."""
    stages = _stages(spec.channels, lambda: nn.MaxPool2d(2))  # 48 -> 24 -> 12 -> 6 px
    return nn.Sequential(*stages, GlobalMean(), *_head(128, classes, dropout))


def mynet_v2(classes: int, spec: Preprocess, *, dropout: float = 0.2) -> nn.Sequential:
    """`mynet_v1` with overlapping pools and one Inception block (reference system A)."""
    stages = _stages(spec.channels, _halve)  # 48 -> 24 -> 12 -> 6 px
    block = Inception(128, 48, 48, 96, 24, 48, 24)
    return nn.Sequential(*stages, block, GlobalMean(), *_head(216, classes, dropout))


def inception(classes: int, spec: Preprocess, *, dropout: float = 0.3) -> nn.Sequential:
    """Nine Inception blocks at 24, 12 and 6 pixels (reference system A)."""
    return nn.Sequential(
        *_inception_stem(spec.channels),
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
        nn.Dropout(dropout),
        nn.Linear(1024, classes),
    )


def inception_simplified(classes: int, spec: Preprocess, *, dropout: float = 0.3) -> nn.Sequential:
    """`inception` with five blocks and a two-layer head (reference system A)."""
    return nn.Sequential(
        *_inception_stem(spec.channels),
        _halve(),  # 24 -> 12 px
        Inception(480, 192, 96, 208, 16, 48, 64),
        Inception(512, 112, 144, 288, 32, 64, 64),
        _halve(),  # 12 -> 6 px
        Inception(528, 256, 160, 320, 32, 128, 128),
        GlobalMean(),
        nn.BatchNorm1d(832),
        nn.Dropout(dropout),
        nn.Linear(832, 256),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(256, classes),
    )


def mish_cnn(
    classes: int,
    spec: Preprocess,
    *,
    activation: str = "mish",
    dropout: float = 0.1,
    head_dropout: float = 0.3,
) -> nn.Sequential:
    """Four stages of one convolution and a hidden layer (reference system B; the amounts of dropout are ours).

    `activation` is one of mish, silu, relu, leaky_relu.
    """
    active = _activation(activation)
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((spec.channels, 32, 64, 128, 256)):  # 48 -> 24 -> 12 -> 6 -> 3 px
        layers += [ConvNorm(width_in, width_out, bias=True), active(), nn.MaxPool2d(2), nn.Dropout(dropout)]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Dropout(head_dropout),
        nn.Linear(_flat(256, spec.size_px // 16), 128),
        active(),
        nn.Dropout(head_dropout),
        nn.Linear(128, classes),
    )


def pooled_cnn(
    classes: int, spec: Preprocess, *, dropout: float = 0.25, head_dropout: float = 0.5
) -> nn.Sequential:
    """3x3 convolutions, each followed by pooling, BatchNorm and dropout (reference system D; widths are ours)."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((spec.channels, 32, 64, 128, 256)):  # 48 -> 24 -> 12 -> 6 -> 3 px
        convolution = nn.Conv2d(width_in, width_out, 3, padding=1)
        layers += [convolution, nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(width_out), nn.Dropout(dropout)]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(_flat(256, spec.size_px // 16), 256),
        nn.ReLU(),
        nn.BatchNorm1d(256),
        nn.Dropout(head_dropout),
        nn.Linear(256, classes),
    )


def lenet(classes: int, spec: Preprocess) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling (LeCun et al. 1998; reference system C)."""
    side = ((spec.size_px - 4) // 2 - 4) // 2  # 48 -> 44, 22 -> 18, 9 px
    return nn.Sequential(
        nn.Conv2d(spec.channels, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(_flat(16, side), 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )


def blog_cnn_1(classes: int, spec: Preprocess, *, dropout: float = 0.5) -> nn.Sequential:
    """Two unpadded convolutions, one pool, one hidden layer (reference system E)."""
    side = (spec.size_px - 4) // 2  # 48 -> 46 -> 44, 22 px
    return nn.Sequential(
        *_unpadded(spec.channels, 32),
        *_unpadded(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(_flat(64, side), 128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, classes),
    )


def blog_cnn_3(classes: int, spec: Preprocess) -> nn.Sequential:
    """Three unpadded convolutions, each with a pool (reference system E)."""
    return _pooled_blog(spec, (32, 64, 128), 128, classes)  # 48 -> 46, 23 -> 21, 10 -> 8, 4 px


def blog_cnn_4(classes: int, spec: Preprocess) -> nn.Sequential:
    """Two unpadded convolutions, each with a pool, and a wide hidden layer (reference system E)."""
    return _pooled_blog(spec, (36, 76), 1024, classes)  # 48 -> 46, 23 -> 21, 10 px


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


def _pooled_blog(spec: Preprocess, widths: tuple[int, ...], hidden: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    side = spec.size_px
    for width_in, width_out in pairwise((spec.channels, *widths)):
        layers += [*_unpadded(width_in, width_out), nn.MaxPool2d(2)]
        side = (side - 2) // 2
    head = (nn.Linear(_flat(widths[-1], side), hidden), nn.ReLU(), nn.Linear(hidden, classes))
    return nn.Sequential(*layers, nn.Flatten(), *head)


def _flat(width: int, side: int) -> int:
    if side < 1:
        raise ValueError("the picture is too small for its pools")
    return width * side**2


def _activation(name: str) -> type[nn.Module]:
    if name not in ACTIVATIONS:
        raise ConfigError(f"unknown activation {name!r}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _stages(channels: int, pool: Callable[[], nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((channels, 32, 64, 128)):
        layers += [*_conv(width_in, width_out), *_conv(width_out, width_out), pool()]
    return layers


def _head(width: int, classes: int, dropout: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((width, 512, 256)):
        layers += [nn.Linear(width_in, width_out), nn.BatchNorm1d(width_out), nn.ReLU(), nn.Dropout(dropout)]
    return [*layers, nn.Linear(256, classes)]
