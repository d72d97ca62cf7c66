"""Our networks: plain 3x3 convolution + ReLU when deployed, whatever helps training folded away.

Plain convolutions with channels in multiples of 16 are what CPUs run fastest in FP32 and INT8 alike;
depthwise convolution, squeeze-excite and Swish each cost more there than they bring.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mien.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class PositiveNorm(nn.BatchNorm2d):
    """BatchNorm that multiplies by the absolute value of its weight."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, c, h, w], normalised."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        mean, variance, weight = self.running_mean, self.running_var, self.weight.abs()
        return functional.batch_norm(
            x, mean, variance, weight, self.bias, self.training, self.momentum or 0.0, self.eps
        )


class PooledConvNorm(nn.Module):
    """Convolution, 2x2 max-pool, BatchNorm: the pool first, so that BatchNorm and ReLU have a quarter of the work.

    Its BatchNorm has positive factors. It and ReLU may change places with the pool, so `deploy` folds the one away
    and puts the other right behind the convolution: runtimes compute these two as one, in 8 bits as well.
    """

    def __init__(self, width_in: int, width_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width_out, 3, stride, padding=1, bias=False)
        self.norm = PositiveNorm(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, width_in, h, w] -> [b, width_out, h / 2, w / 2]."""
        y: Tensor = self.norm(functional.max_pool2d(self.convolution(x), 2))
        return y

    def folded(self) -> nn.Module:
        """Return this module and the ReLU behind it, without BatchNorm."""
        norm = copy.deepcopy(self.norm)
        with torch.no_grad():
            norm.weight.abs_()
        return nn.Sequential(fuse_conv_bn_eval(self.convolution, norm), nn.ReLU(), nn.MaxPool2d(2))


class Branches(nn.Module):
    """The sum of a 3x3 and a 1x1 convolution and, where shapes allow, the input, each with BatchNorm.

    `deploy` folds them into one 3x3 convolution (Ding et al. 2021, arXiv:2101.03697).
    """

    def __init__(self, width_in: int, width_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.wide = ConvNorm(width_in, width_out, stride=stride)
        self.narrow = ConvNorm(width_in, width_out, 1, stride=stride)
        self.skip = nn.BatchNorm2d(width_in) if width_in == width_out and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, width_in, h, w] -> [b, width_out, h / stride, w / stride]."""
        y: Tensor = self.wide(x) + self.narrow(x)
        return y if self.skip is None else y + self.skip(x)

    def folded(self) -> nn.Module:
        """Return the same function as one convolution."""
        made, narrow = _fused(self.wide), _fused(self.narrow)
        assert made.bias is not None
        assert narrow.bias is not None
        with torch.no_grad():
            made.weight[:, :, 1:2, 1:2] += narrow.weight
            made.bias += narrow.bias
            if self.skip is not None:
                same = nn.Conv2d(len(made.weight), len(made.weight), 1, bias=False)
                same.weight.copy_(torch.eye(len(made.weight))[:, :, None, None])
                skip = fuse_conv_bn_eval(same.eval(), self.skip)
                assert skip.bias is not None
                made.weight[:, :, 1:2, 1:2] += skip.weight
                made.bias += skip.bias
        return made


def _fused(pair: ConvNorm) -> nn.Conv2d:
    convolution, norm = pair
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution, norm)


def deploy(network: nn.Module) -> nn.Module:
    """Return a copy for inference with the same output, in which whatever helps training alone is folded away."""
    network = copy.deepcopy(network).eval()
    for parent in list(network.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvNorm) and not isinstance(parent, Branches):
                setattr(parent, name, _fused(child))
            elif isinstance(child, PooledConvNorm | Branches):
                setattr(parent, name, child.folded().eval())
            elif isinstance(before, PooledConvNorm):
                delattr(parent, name)  # the ReLU, which is in front of the pool now
            before = child
    return network


class GlobalMean(nn.Module):
    """Mean over height and width: [b, c, h, w] -> [b, c]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of each channel."""
        return x.mean((2, 3))


def plain(
    classes: int,
    spec: Preprocess,
    *,
    widths: Sequence[Sequence[int]] = ((16, 16), (32, 32), (64, 64), (128, 128)),
    first_stride: int = 1,
    pool: str = "last",
    branches: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """3x3 convolutions with BatchNorm and ReLU, the mean of each channel, a linear layer.

    Args:
        classes: number of logits.
        spec: input of the network.
        widths: channels of every convolution, a list for each stage. The resolution halves between stages.
        first_stride: 2 halves the resolution in the first convolution as well.
        pool: ``last`` halves the resolution after ReLU; ``first`` before BatchNorm and ReLU, which is cheaper.
        branches: train each convolution as a sum of three branches that deployment folds into one. Not with
            ``pool="first"`` where the resolution halves: those convolutions have one branch.
        dropout: fraction of the features that is dropped before the linear layer.
    """
    if pool not in ("first", "last"):
        raise ConfigError(f"unknown network option pool {pool!r}: expected first or last")
    if not widths or not all(widths):
        raise ConfigError(
            f"network option widths: expected a list of channels for each stage, got {widths!r}"
        )
    layers: list[nn.Module] = []
    width_in: int = spec.channels
    stride = first_stride
    for number, stage in enumerate(widths, start=1):
        for position, width in enumerate(stage, start=1):
            halves = position == len(stage) and number < len(widths)
            kind: type[nn.Module] = Branches if branches else ConvNorm
            if halves and pool == "first":
                kind = PooledConvNorm
            layers += [kind(width_in, width, stride=stride), nn.ReLU()]
            if halves and pool == "last":
                layers.append(nn.MaxPool2d(2))
            width_in, stride = width, 1
    head = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, GlobalMean(), *head, nn.Linear(width_in, classes))


def mien_nano(
    classes: int, spec: Preprocess, *, pool: str = "first", branches: bool = False, dropout: float = 0.0
) -> nn.Sequential:
    """Eight 3x3 convolutions, 30 M multiply-adds at 48 pixels."""
    return plain(
        classes, spec, widths=((16, 16), (32, 32), (64, 64), (128, 128)),  # 48, 24, 12, 6 px
        pool=pool, branches=branches, dropout=dropout,
    )  # fmt: skip


def mien_small(
    classes: int, spec: Preprocess, *, pool: str = "first", branches: bool = False, dropout: float = 0.0
) -> nn.Sequential:
    """As `mien_nano`, twice as wide: 117 M multiply-adds at 48 pixels."""
    return plain(
        classes, spec, widths=((32, 32), (64, 64), (128, 128), (256, 256)),  # 48, 24, 12, 6 px
        pool=pool, branches=branches, dropout=dropout,
    )  # fmt: skip


def mien_base(
    classes: int, spec: Preprocess, *, pool: str = "first", branches: bool = False, dropout: float = 0.0
) -> nn.Sequential:
    """As `mien_nano`, four times as wide: 467 M multiply-adds at 48 pixels."""
    return plain(
        classes, spec, widths=((64, 64), (128, 128), (256, 256), (512, 512)),  # 48, 24, 12, 6 px
        pool=pool, branches=branches, dropout=dropout,
    )  # fmt: skip
