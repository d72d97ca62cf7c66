"""Parameter groups, the learning rate as a pure function of progress, and the moving average."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from typing import TYPE_CHECKING

import torch
from torch import nn

from mien.training.transfer import head

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mien.config import Optim
    from mien.history import EpochRow


class Muon(torch.optim.SGD):
    """SGD whose groups marked ``muon`` get orthogonal steps (Jordan 2024, kellerjordan.github.io/posts/muon).

    A filter [out, in, h, w] is taken as a matrix [out, in * h * w]. Its momentum is replaced by the nearest matrix
    with orthonormal rows or columns, so that every direction moves equally far. The weights decay beside the step.

    `torch.optim.Muon` takes matrices only, and always computes in bfloat16: without instructions for that, the CPU
    needs some fifteen times longer than in 32 bits.
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Make one step. The gradients of marked groups are used up."""
        for group in self.param_groups:
            for p in group["params"] if group["muon"] else ():
                if p.grad is None:  # frozen
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                moving = state["momentum_buffer"]
                moving.mul_(group["momentum"]).add_(p.grad)
                direction = orthogonal(p.grad + group["momentum"] * moving)
                aspect = max(1.0, p.shape[0] ** 2 / p.numel()) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"] * aspect)
                p.grad = None
        super().step()


def orthogonal(filters: torch.Tensor) -> torch.Tensor:
    """Return filters [out, ...] whose singular values, as a matrix [out, rest], lie between 0.7 and 1.2 or so.

    Five steps of a Newton-Schulz iteration whose three factors raise small singular values fastest (Jordan 2024).
    """
    x = filters.flatten(1).to(torch.bfloat16 if filters.is_cuda else torch.float32)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return (x.T if tall else x).to(filters.dtype).reshape(filters.shape)


def build_optimizer(
    network: nn.Module, optim: Optim, *, backbone_lr_factor: float = 1.0
) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay is for filters and matrices only, the factor for all but the head.

    ``muon`` moves the weights of linear layers and convolutions outside the head. All else, embeddings and tables of
    positions among it, moves by SGD and does not decay.
    """
    in_head, muon, members = set(head(network).parameters()), optim.name == "muon", defaultdict(list)
    filters = {
        layer.weight for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)
    } - in_head
    for p in network.parameters():
        matrix = p in filters if muon else p.ndim > 1
        factor = 1.0 if p in in_head else backbone_lr_factor
        members[matrix, factor if matrix or not muon else factor * optim.sgd_lr_factor].append(p)
    groups = [
        {
            "params": group,
            "weight_decay": optim.weight_decay if matrix else 0.0,
            "lr_factor": factor,
            "muon": muon and matrix,
        }
        for (matrix, factor), group in members.items()
    ]
    if optim.name in ("sgd", "muon"):
        by_momentum = Muon if muon else torch.optim.SGD
        nesterov = optim.momentum > 0
        return by_momentum(groups, lr=optim.peak_lr, momentum=optim.momentum, nesterov=nesterov, fused=True)
    adaptive = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    return adaptive(groups, lr=optim.peak_lr, betas=(optim.momentum, 0.999), fused=True)


def learning_rate(optim: Optim, progress: float, *, epochs: int, history: Sequence[EpochRow] = ()) -> float:
    """Return the rate at a point of the run, `progress` in [0, 1) of `epochs`.

    ``one_cycle`` rises along a cosine from `initial_lr_fraction` of the peak and falls along one to `final_lr` (Smith
    2018, arXiv:1708.07120); ``cosine`` rises linearly and falls along a cosine; ``restarts`` falls so in every
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
        return _fall(peak, low, (progress - warmup) / (1 - warmup))
    first, rise = optim.initial_lr_fraction * peak, progress / warmup
    return first + (peak - first) * (
        rise if optim.schedule == "cosine" else (1 - math.cos(math.pi * rise)) / 2
    )


def momentum(optim: Optim, progress: float) -> float:
    """Return the momentum at a point of the run: lowest where the rate of ``one_cycle`` is highest."""
    if not optim.momentum_low:
        return optim.momentum
    rising = progress < optim.warmup_fraction
    part = progress / optim.warmup_fraction if rising else (1 - progress) / (1 - optim.warmup_fraction)
    return _fall(optim.momentum, optim.momentum_low, part)


def _fall(high: float, low: float, part: float) -> float:
    return low + (high - low) * (1 + math.cos(math.pi * part)) / 2


def _after_plateaus(optim: Optim, history: Sequence[EpochRow]) -> float:
    """Return the part of the peak rate that is left: a function of the history, so a resumed run agrees."""
    left, best, since = 1.0, math.inf, 0
    for row in history:
        if row.val_loss < best:  # not true of an epoch that was not judged
            best, since = row.val_loss, row.epoch
        elif row.epoch - since > optim.plateau_patience_epochs and not math.isnan(row.val_loss):
            left, since = left * optim.plateau_factor, row.epoch
    return left


def set_step(optimizer: torch.optim.Optimizer, rate: float, momentum: float) -> None:
    """Set the rate of every parameter group, each by its own factor, and the momentum or first beta."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


class MovingAverage:
    """A copy of a network whose weights and BatchNorm statistics follow it at `decay` a step.

    The first steps decay faster, (1 + n) / (10 + n), so that a short run is not judged on its random start. The count
    of steps is a Python number and the update is one call, so a step does not wait for the device.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = copy.deepcopy(network), decay, 0
        pairs = list(zip(self.module.state_dict().values(), network.state_dict().values(), strict=True))
        floats = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        counts = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]
        self._averages, self._values = [mine for mine, _ in floats], [theirs for _, theirs in floats]
        self._counts, self._counted = [mine for mine, _ in counts], [theirs for _, theirs in counts]

    @torch.no_grad()
    def update(self) -> None:
        """Follow the network after one of its steps. The first step copies it."""
        kept = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 0.0
        torch._foreach_lerp_(self._averages, self._values, 1 - kept)
        if self._counts:  # BatchNorm's count of batches
            torch._foreach_copy_(self._counts, self._counted)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and the count of steps."""
        return {"steps": self.steps, "module": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.steps = state["steps"]
        self.module.load_state_dict(state["module"])
