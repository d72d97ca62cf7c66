"""Our networks: plain 3x3 convolution + ReLU when deployed, whatever helps training folded away.

Plain convolutions with channels in multiples of 16 are what CPUs run fastest in FP32 and INT8 alike;
depthwise convolution, squeeze-excite and Swish each cost more there than they bring.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from mien.preprocess import Preprocess


class ConvNorm(nn.Sequential):
    """Convolution and BatchNorm, which `deploy` folds into one convolution."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int = 3, *, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__(
            nn.Conv2d(width_in, width_out, kernel, stride, padding=kernel // 2, bias=bias),
            nn.BatchNorm2d(width_out),
        )


def deploy(network: nn.Module) -> nn.Module:
    """Return a copy for inference, in which every `ConvNorm` is one convolution with the same output."""
    network = copy.deepcopy(network).eval()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvNorm):
                convolution, norm = child
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                setattr(parent, name, fuse_conv_bn_eval(convolution, norm))
    return network


class GlobalMean(nn.Module):
    """Mean over height and width: [b, c, h, w] -> [b, c]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each channel."""
        return x.mean((2, 3))


def mien_nano(classes: int, spec: Preprocess) -> nn.Sequential:
    """Seven 3x3 convolutions, 27 M multiply-adds at 48 pixels.

    The first one halves the picture: two convolutions of 16 channels at full size read no better (docs/LOG.md),
    and this runs faster.
    """
    layers: list[nn.Module] = [ConvNorm(spec.channels, 32, stride=2), nn.ReLU()]  # 48 -> 24 px
    for stage, widths in enumerate(((32, 32, 32), (32, 64, 64), (64, 128, 128))):  # 24, 12, 6 px
        if stage:
            layers.append(nn.MaxPool2d(2))
        for width_in, width_out in pairwise(widths):
            layers += [ConvNorm(width_in, width_out), nn.ReLU()]
    return nn.Sequential(*layers, GlobalMean(), nn.Linear(128, classes))
