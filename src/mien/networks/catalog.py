"""The zoo as one literal table, readable without importing torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from mien.errors import ConfigError, did_you_mean, needs

if TYPE_CHECKING:
    from torch import nn


class Network(NamedTuple):
    """One row of the zoo."""

    builder: str
    """``module:function`` under `mien.networks`, called with (classes, channels)."""
    size_px: int
    """Side of the input it was designed for."""
    parameters: int
    """Trainable parameters for 7 classes and one input channel, before deployment folds any."""
    source: str
    any_size: bool = True
    """Whether it also takes other sizes; one that flattens its last pictures does not."""


_A = "reference system A, Image-Sentiment-Classification"
_E = "reference system E, Building an image classifier using CNNs"

NETWORKS = {
    "mien_nano": Network("plain:mien_nano", 48, 297_063, "ours: plain 3x3 convolution + ReLU when deployed"),
    "blog_cnn_1": Network("reference:blog_cnn_1", 48, 3_984_775, _E, any_size=False),
    "blog_cnn_3": Network("reference:blog_cnn_3", 48, 355_847, _E, any_size=False),
    "blog_cnn_4": Network("reference:blog_cnn_4", 48, 7_815_659, _E, any_size=False),
    "inception": Network("reference:inception", 48, 6_275_687, _A),
    "inception_simplified": Network("reference:inception_simplified", 48, 2_872_375, _A),
    "mynet_v1": Network("reference:mynet_v1", 48, 488_039, _A),
    "mynet_v2": Network("reference:mynet_v2", 48, 625_111, _A),
}


def network(name: str) -> Network:
    """Return a row of the zoo.

    Raises:
        ConfigError: there is no such network.
    """
    if name not in NETWORKS:
        raise ConfigError(
            f"unknown network {name!r}{did_you_mean(name, NETWORKS)} (known: {', '.join(NETWORKS)})"
        )
    return NETWORKS[name]


def build(name: str, classes: int, channels: int) -> nn.Module:
    """Build a network with fresh weights: f32 [b, channels, h, w] -> logits f32 [b, classes]."""
    module, function = network(name).builder.split(":")
    with needs("train"):
        builder = getattr(import_module(f"mien.networks.{module}"), function)
    made: nn.Module = builder(classes, channels)
    return made
