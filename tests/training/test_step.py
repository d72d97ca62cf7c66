"""The training step against a plain loop, written without the package's loss, optimiser and moving average.

In float64, as in float32 two right loops differ by chaos within 20 steps.
"""

from __future__ import annotations

import copy

import pytest
import torch

from mien.config import read_recipe
from mien.training.batches import Batches
from mien.training.fit import _Run
from mien.training.launch import open_place
from mien.training.optim import set_step
from tests.training.tiny import TINY, tiny_data

STEPS, MOMENTUM, DECAY, SMOOTHING, AVERAGE = 5, 0.9, 5e-4, 0.1, 0.998


@pytest.fixture
def doubles():
    """Take the default type back that a test sets."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("network", ["mien_nano", "lenet"])
def test_the_step_equals_a_plain_loop(doubles, network):
    """Weights, BatchNorm statistics and moving average agree to 1e-12 of their size after some steps."""
    recipe = read_recipe(
        TINY, [f"network={network}", "batch_size=23", "precision=32-true", "validation.split=test"]
    )
    assert (recipe.optim.momentum, recipe.optim.weight_decay) == (MOMENTUM, DECAY)
    assert (recipe.loss.label_smoothing, recipe.ema.decay) == (SMOOTHING, AVERAGE)
    data = tiny_data()
    singles = Batches(data, recipe, torch.device("cpu"))
    batches = [(x.double(), y.double()) for epoch in range(2) for x, y in singles.epoch(epoch)]
    torch.set_default_dtype(torch.float64)
    run = _Run(recipe, data, "test", open_place("cpu", recipe.precision))
    own = copy.deepcopy(run.raw).train()
    run.network.train()
    weights = list(own.parameters())
    velocity = [torch.zeros_like(one) for one in weights]
    average = {name: value.clone() for name, value in own.state_dict().items()}
    for step, (x, y) in enumerate(batches[:STEPS]):
        rate = 0.001 * (1 + step)  # small: large ones multiply rounding errors
        set_step(run.optimizer, rate, MOMENTUM)
        torch.manual_seed(step)  # for dropout
        run._train_step(x, y, torch.zeros(2))

        torch.manual_seed(step)
        logits = own(x)
        logs = logits - logits.exp().sum(dim=1, keepdim=True).log()
        loss = -(((1 - SMOOTHING) * y + SMOOTHING / y.shape[1]) * logs).sum(dim=1).mean()
        slopes = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, slope, moved in zip(weights, slopes, velocity, strict=True):
                slope = slope + (DECAY * weight if weight.ndim > 1 else 0)
                moved.mul_(MOMENTUM).add_(slope)
                weight -= rate * (slope + MOMENTUM * moved)
        kept = min(AVERAGE, (1 + step) / (10 + step)) if step else 0.0
        for name, value in own.state_dict().items():
            mean = average[name]
            average[name] = kept * mean + (1 - kept) * value if value.is_floating_point() else value.clone()
    assert len(batches) >= STEPS
    first = next(iter(run.raw.parameters()))
    assert first.dtype == torch.float64
    for theirs, ours in (
        (run.raw.state_dict(), own.state_dict()),
        (run.average.module.state_dict(), average),
    ):
        for name, value in ours.items():
            torch.testing.assert_close(
                theirs[name], value, rtol=1e-12, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}"
            )
