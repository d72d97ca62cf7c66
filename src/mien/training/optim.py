"""Parameter groups, the learning rate as a pure function of progress, and the moving average."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import AveragedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from mien.config import Optim


def build_optimizer(network: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay applies to filters and matrices only."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if optim.name == "adamw":
        return torch.optim.AdamW(groups, lr=optim.peak_lr, betas=(optim.momentum, 0.999))
    nesterov = optim.momentum > 0
    return torch.optim.SGD(groups, lr=optim.peak_lr, momentum=optim.momentum, nesterov=nesterov)


def learning_rate(optim: Optim, progress: float) -> float:
    """Return the rate at a point of the run, `progress` in [0, 1).

    ``one_cycle`` rises along a cosine from 1/25 of the peak, then falls along one to nothing (Smith 2018,
    arXiv:1708.07120); ``cosine`` rises in a straight line and falls along a cosine; ``constant`` stays.
    """
    warmup = optim.warmup_fraction
    if optim.schedule == "constant":
        return optim.peak_lr
    if progress < warmup:
        rise = progress / warmup
        if optim.schedule == "one_cycle":
            return optim.peak_lr * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * rise)) / 2)
        return optim.peak_lr * rise
    return optim.peak_lr * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy that follows `network`, BatchNorm statistics included, at `decay` a step.

    The first steps decay faster, (1 + n) / (10 + n), so that a short run is not judged on its random start.
    """

    def follow(averages: Sequence[Tensor], values: Sequence[Tensor], steps: Tensor | int) -> None:
        kept = min(decay, (1 + float(steps)) / (10 + float(steps)))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(values), 1 - kept)
        else:  # BatchNorm's count of batches
            torch._foreach_copy_(list(averages), list(values))

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
