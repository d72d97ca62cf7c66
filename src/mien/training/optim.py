"""Parameter groups, the learning rate as a pure function of progress, and the moving average."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import AveragedModel

from mien.training.transfer import head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from mien.config import Optim
    from mien.history import EpochRow


def build_optimizer(
    network: nn.Module, optim: Optim, *, backbone_lr_factor: float = 1.0
) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay is for filters and matrices only, the factor for all but the head."""
    in_head, members = set(head(network).parameters()), defaultdict(list)
    for p in network.parameters():
        members[p.ndim > 1, 1.0 if p in in_head else backbone_lr_factor].append(p)
    groups = [
        {"params": group, "weight_decay": optim.weight_decay if decays else 0.0, "lr_factor": factor}
        for (decays, factor), group in members.items()
    ]
    if optim.name == "sgd":
        nesterov = optim.momentum > 0
        return torch.optim.SGD(groups, lr=optim.peak_lr, momentum=optim.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=optim.peak_lr, betas=(optim.momentum, 0.999))


def learning_rate(optim: Optim, progress: float, *, epochs: int, history: Sequence[EpochRow] = ()) -> float:
    """Return the rate at a point of the run, `progress` in [0, 1) of `epochs`.

    ``one_cycle`` rises along a cosine from 1/25 of the peak, then falls along one to nothing (Smith 2018,
    arXiv:1708.07120); ``cosine`` rises in a straight line and falls along a cosine; ``restarts`` falls so in every
    period; ``plateau`` is lowered when the validation loss of `history` no longer falls; ``constant`` stays.
    """
    warmup, low, peak = optim.warmup_fraction, optim.final_lr, optim.peak_lr
    if optim.schedule == "constant":
        return peak
    if optim.schedule == "plateau":
        return max(low, peak * _after_plateaus(optim, history))
    if optim.schedule == "restarts":
        return _fall(peak, low, progress * epochs / optim.period_epochs % 1)
    if progress >= warmup:
        return _fall(peak, low if optim.schedule == "cosine" else 0.0, (progress - warmup) / (1 - warmup))
    rise = progress / warmup
    if optim.schedule == "cosine":
        return peak * rise
    return peak * (1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * rise)) / 2)


def _fall(high: float, low: float, part: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * part)) / 2


def _after_plateaus(optim: Optim, history: Sequence[EpochRow]) -> float:
    """Return the part of the peak rate that is left: a function of the history, so a resumed run agrees."""
    left, best, waited = 1.0, math.inf, 0
    for row in history:
        best, waited = (row.val_loss, 0) if row.val_loss < best else (best, waited + 1)
        if waited > optim.plateau_patience_epochs:
            left, waited = left * optim.plateau_factor, 0
    return left


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group, each by its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Return a copy that follows `network`, BatchNorm statistics included, at `decay` a step.

    The first steps decay faster, (1 + n) / (10 + n), so that a short run is not judged on its random start.
    """

    def follow(averages: Sequence[Tensor], values: Sequence[Tensor], steps: Tensor | int) -> None:
        if averages[0].is_floating_point():
            done = float(steps)  # waits for the device
            kept = min(decay, (1 + done) / (10 + done))
            torch._foreach_lerp_(list(averages), list(values), 1 - kept)
        else:  # BatchNorm's count of batches
            torch._foreach_copy_(list(averages), list(values))

    return AveragedModel(network, multi_avg_fn=follow, use_buffers=True)
