"""All networks as one literal table, readable without importing torch."""

from __future__ import annotations

import inspect
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from mien.errors import ConfigError, did_you_mean, needs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from mien.preprocess import Preprocess


class Network(NamedTuple):
    """One network of the table."""

    builder: str
    """``module:function`` under `mien.networks`, called with classes, the input's `Preprocess` and options."""
    size_px: int
    """Side of the input it was designed for."""
    parameters: int | None
    """Trainable parameters for 7 classes and one input channel of that size, before deployment folds any;
    None where they were not counted here."""
    source: str


_A = "reference system A, Image-Sentiment-Classification"
_B = "reference system B, Emotion-Classification-using-CNN"
_C = "reference system C, Human Emotion Detection"
_D = "reference system D, FacialExpressionMachineLearning"
_E = "reference system E, Building an image classifier using CNNs"

TIMM = "timm/"
"""What a backbone's name begins with: any of timm's models can be named."""
TIMM_OPTIONS = (
    *("drop_rate", "drop_path_rate", "drop_block_rate", "attn_drop_rate", "proj_drop_rate", "pos_drop_rate"),
    *(
        "patch_drop_rate",
        "img_size",
        "patch_size",
        "window_size",
        "embed_dim",
        "depth",
        "num_heads",
        "mlp_ratio",
    ),
    *("qkv_bias", "init_values", "class_token", "global_pool", "act_layer", "norm_layer", "output_stride"),
)
"""The options of a timm backbone that ``network_options`` may set. They shape the network and nothing else: timm
also has options that load files and download, and a bundle of unknown origin states its own options."""
NETWORKS = {
    "mien_nano": Network("plain:mien_nano", 48, 294_615, "ours: plain 3x3 convolution + ReLU when deployed"),
    "mien_small": Network("plain:mien_small", 48, 1_174_439, "ours: as mien_nano, twice as wide"),
    "mien_base": Network("plain:mien_base", 48, 4_689_735, "ours: as mien_nano, four times as wide"),
    "plain": Network(
        "plain:plain", 48, 294_615, "ours: the family of mien_nano; widths and shape are options"
    ),
    "blog_cnn_1": Network("reference:blog_cnn_1", 48, 3_984_775, _E),
    "blog_cnn_3": Network("reference:blog_cnn_3", 48, 355_847, _E),
    "blog_cnn_4": Network("reference:blog_cnn_4", 48, 7_815_659, _E),
    "inception": Network("reference:inception", 48, 6_275_687, _A),
    "inception_simplified": Network("reference:inception_simplified", 48, 2_872_375, _A),
    "lenet": Network("reference:lenet", 48, 168_971, f"{_C}; LeCun et al. 1998, with ReLU and max-pooling"),
    "mish_cnn": Network("reference:mish_cnn", 48, 684_743, _B),
    "mynet_v1": Network("reference:mynet_v1", 48, 488_039, _A),
    "mynet_v2": Network("reference:mynet_v2", 48, 625_111, _A),
    "pooled_cnn": Network(
        "reference:pooled_cnn", 48, 981_191, f"{_D}; it states the layers, the widths are ours"
    ),
    "vit": Network("vit:vit", 48, 2_690_311, f"{_C}; Dosovitskiy et al. 2021, arXiv:2010.11929, small"),
    "timm/efficientnet_b0": Network("backbones:timm_backbone", 224, 4_015_939, f"{_C}; timm"),
    "timm/mobilenetv2_100": Network("backbones:timm_backbone", 224, 2_232_263, f"{_C}; timm"),
    "timm/resnet34": Network("backbones:timm_backbone", 224, 21_281_991, f"{_C}; timm"),
    "timm/vit_base_patch16_224": Network("backbones:timm_backbone", 224, 85_410_823, f"{_C}; timm"),
}


def network(name: str) -> Network:
    """Return the row of a network.

    Raises:
        ConfigError: there is no such network.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if name.startswith(TIMM):
        return Network("backbones:timm_backbone", 224, None, "timm")
    raise ConfigError(
        f"unknown network {name!r}{did_you_mean(name, NETWORKS)} "
        f"(known: {', '.join(NETWORKS)}, and timm/ with the name of any of timm's models)"
    )


def build(
    name: str,
    classes: int,
    spec: Preprocess,
    options: Mapping[str, Any] | None = None,
    *,
    pretrained: bool = False,
) -> nn.Module:
    """Build a network with fresh weights: f32 [b, c, s, s] -> logits f32 [b, classes].

    `pretrained` gives a backbone of timm's the weights that timm offers on the hub; it uses the network.

    Raises:
        ConfigError: no such network, an option that it does not have, or an input that it cannot take.
    """
    options = dict(options or {})
    module, function = network(name).builder.split(":")
    with needs("train"):
        builder = getattr(import_module(f"mien.networks.{module}"), function)
    if name.startswith(TIMM):
        _check_options(name, options, TIMM_OPTIONS)
        builder = partial(builder, name.removeprefix(TIMM), pretrained=pretrained)
    else:
        _check_options(name, options, list(inspect.signature(builder).parameters)[2:])
    try:
        made: nn.Module = builder(classes, spec, **options)
        check_takes(made, spec.channels, spec.size_px)
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ConfigError(
            f"{name} cannot be built for {spec.size_px} pixels with network_options {options}: {error}"
        ) from error
    return made


def check_takes(network: nn.Module, channels: int, side_px: int) -> None:
    """Let a network answer one image: that an image is too small for its pools shows only then.

    Raises:
        ValueError: it cannot take images of this size.
    """
    import torch

    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, side_px, side_px))
    except (RuntimeError, ValueError, AssertionError) as error:  # timm asserts
        raise ValueError(next(iter(str(error).splitlines()), type(error).__name__)) from error
    finally:
        network.train()


def _check_options(name: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for option in options:
        if option.startswith(("pretrained", "checkpoint")):
            raise ConfigError(
                f"network_options cannot have {option!r}: a run starts from the weights that transfer.weights names, "
                f"a bundle has its own"
            )
        if option not in known:
            raise ConfigError(
                f"{name} has no option {option!r}{did_you_mean(option, known)} "
                f"(it has: {', '.join(known) or 'none'})"
            )
