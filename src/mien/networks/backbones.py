"""Any of timm's networks, by name, for any input, with fresh weights or pre-trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from mien.errors import ConfigError, did_you_mean, needs

with needs("backbones"):
    import timm

if TYPE_CHECKING:
    from mien.preprocess import Preprocess


def timm_backbone(
    model: str, classes: int, spec: Preprocess, *, pretrained: bool, **options: Any
) -> nn.Module:
    """Build timm's `model`; `options` go to its builder, as ``drop_rate`` does.

    With `pretrained`, its weights come from the hub.

    Raises:
        ConfigError: timm has no such model.
    """
    if not timm.is_model(model):
        raise ConfigError(
            f"timm {timm.__version__} has no model {model!r}{did_you_mean(model, timm.list_models())}"
        )
    config = timm.get_pretrained_cfg(model)
    if config is not None and config.fixed_input_size:
        options["img_size"] = spec.size_px  # such a network must be told
    made: nn.Module = timm.create_model(
        model, pretrained=pretrained, num_classes=classes, in_chans=spec.channels, **options
    )
    answering = made.get_classifier()  # type: ignore[operator]  # every network of timm has it
    if isinstance(answering, nn.Linear):
        # EfficientNet's and MobileNet's own draw suits 1,000 classes: with seven, training begins at a loss of 4
        nn.init.normal_(answering.weight, std=0.01)
        nn.init.zeros_(answering.bias)
    return made
