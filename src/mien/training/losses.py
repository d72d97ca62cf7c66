"""The objective: one formula that is cross-entropy, weighted, focal or logit-adjusted by its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mien.data.balance import class_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import Int

    from mien.config import Loss


def objective(
    loss: Loss, counts: Int[np.ndarray, " k"], drawn: Int[np.ndarray, " k"], device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the mean loss of a batch as a function of logits f32 [b, k] and targets f32 [b, k].

    `counts` are the training images of each class, `drawn` how often an epoch shows each, up to a factor. With
    every option off it is the cross-entropy of `torch.nn.functional`, soft targets and label smoothing included.
    Class weights count an image by its own label. The smoothed fraction of its target is spread evenly, whatever the
    classes weigh (torch weighs it by class, which would draw every image to the rare ones).
    """
    weights = torch.from_numpy(class_weights(counts, loss.class_weights, loss.effective_beta)).to(device)
    # A class without images is adjusted as the rarest one that has some: the logarithm of zero has no end.
    shares = torch.from_numpy(drawn.clip(min=drawn[drawn > 0].min()) / drawn.sum()).float().to(device)
    shift = loss.logit_adjustment_tau * shares.log()

    def of(logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = loss.label_smoothing
        targets = targets * weights
        spread = targets.sum(dim=1, keepdim=True) / targets.shape[1]
        targets = targets * (1 - smoothing) + smoothing * spread
        logs = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) + shift, dim=1)
        if loss.focal_gamma:
            # at zero the slope of a power below one is infinite
            targets = targets * (1 - logs.exp()).clamp(min=1e-6) ** loss.focal_gamma
        return -(targets * logs).sum(dim=1).mean()

    return of
