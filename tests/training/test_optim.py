"""Parameter groups, schedules, moving average."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mien.config import Optim
from mien.training.optim import build_optimizer, learning_rate, moving_average


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_applies_to_filters_and_matrices_only(name):
    decayed, free = build_optimizer(net(), Optim(name=name, weight_decay=0.1)).param_groups
    assert {tuple(p.shape) for p in decayed["params"]} == {(3, 1, 3, 3), (2, 3)}
    assert {p.ndim for p in free["params"]} == {1}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("schedule", "progress", "rate"),
    [
        ("one_cycle", 0.0, 0.04),
        ("one_cycle", 0.1, 0.52),
        ("one_cycle", 0.2, 1.0),
        ("one_cycle", 0.6, 0.5),
        ("one_cycle", 1.0, 0.0),
        ("cosine", 0.0, 0.0),
        ("cosine", 0.1, 0.5),
        ("cosine", 0.6, 0.5),
        ("constant", 0.9, 1.0),
    ],
)
def test_rates_by_hand(schedule, progress, rate):
    optim = Optim(peak_lr=1.0, schedule=schedule, warmup_fraction=0.2)
    assert learning_rate(optim, progress) == pytest.approx(rate, abs=1e-9)


def test_the_average_by_hand():
    network = nn.Linear(1, 1, bias=False)
    average = moving_average(network, 0.9)
    values = []
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        values.append(average.module.weight.item())
    # the first value is copied; then (1 + n) / (10 + n) of the old is kept: 2/11, 3/12
    assert values == pytest.approx([1.0, 2 - 1 * 2 / 11, 4 - (4 - (2 - 2 / 11)) * 3 / 12])


def test_the_average_takes_batchnorm_along():
    network = net()
    average = moving_average(network, 0.5)
    for _ in range(9):
        network(torch.randn(7, 1, 3, 3) + 5)
        average.update_parameters(network)
    assert average.module[1].num_batches_tracked == 9
    assert (average.module[1].running_mean != 0).all()
