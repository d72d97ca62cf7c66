"""Parameter groups, schedules, moving average."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mien.config import Optim, Validation
from mien.history import EpochRow
from mien.training.history import best_epoch, out_of_patience
from mien.training.optim import MovingAverage, build_optimizer, learning_rate, momentum, orthogonal, set_step


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_decay_applies_to_filters_and_matrices_only(name):
    decayed, free = build_optimizer(net(), Optim(name=name, weight_decay=0.1)).param_groups
    assert {tuple(p.shape) for p in decayed["params"]} == {(3, 1, 3, 3), (2, 3)}
    assert {p.ndim for p in free["params"]} == {1}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_decay_by_hand():
    """One step of a weight of 1 at rate 0.1 with decay 0.5: in the gradient, which Adam then scales, or beside it."""
    found = {}
    for name, gradient in (("sgd", 0.0), ("adam", 0.0), ("adam", -1.0), ("adamw", 0.0), ("adamw", -1.0)):
        layer = nn.Linear(1, 1)
        nn.init.ones_(layer.weight)
        layer.weight.grad, layer.bias.grad = torch.full((1, 1), gradient), torch.zeros(1)
        build_optimizer(layer, Optim(name=name, peak_lr=0.1, momentum=0.0, weight_decay=0.5)).step()
        found[name, gradient] = layer.weight.item()
    assert found == pytest.approx({
        ("sgd", 0.0): 1 - 0.1 * 0.5, ("adam", 0.0): 1 - 0.1, ("adam", -1.0): 1 + 0.1,
        ("adamw", 0.0): 1 - 0.1 * 0.5, ("adamw", -1.0): 1 - 0.1 * 0.5 + 0.1,
    }, abs=1e-5)  # fmt: skip


@pytest.mark.parametrize("shape", [(16, 144), (128, 16), (32, 16, 3, 3), (16, 1, 3, 3)])
def test_a_step_of_muon_moves_every_direction_alike(shape):
    """However unlike the directions of the gradient are, and however small it is."""
    torch.manual_seed(0)
    gradient = torch.randn(shape) * 1e-6
    values = torch.linalg.svdvals(orthogonal(gradient).flatten(1))
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.linalg.svdvals(gradient.flatten(1)).max() < 1e-3
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_muon_moves_matrices_as_torch_does(shape):
    """`torch.optim.Muon` computes in bfloat16, so they agree to some hundredths of what the weights move."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(shape[1], shape[0], bias=False), nn.Linear(shape[0], 2))
    ours = network[0].weight
    theirs = nn.Parameter(ours.detach().clone())
    optimizer = build_optimizer(network, Optim(name="muon", peak_lr=0.05, momentum=0.9, weight_decay=0.2))
    reference = torch.optim.Muon([theirs], lr=0.05, momentum=0.9, weight_decay=0.2)
    begun = ours.detach().clone()
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()
    assert (ours - theirs).norm() < 0.03 * (ours - begun).norm()


def test_with_muon_what_is_no_filter_moves_by_sgd():
    """Biases, BatchNorm and the head move by SGD at their own rate, and do not decay; nothing frozen moves."""
    torch.manual_seed(0)
    network, optim = net(), Optim(name="muon", peak_lr=0.1, sgd_lr_factor=3.0, momentum=0.5, weight_decay=0.2)
    begun = {name: value.detach().clone() for name, value in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.ones_like(p)
    network[0].bias.grad = None
    set_step(optimizer := build_optimizer(network, optim), 0.1, 0.5)
    optimizer.step()
    moved = {name: value.detach() - begun[name] for name, value in network.named_parameters()}
    for name in ("1.weight", "1.bias", "3.weight", "3.bias"):  # Nesterov's first step: 1 + momentum
        torch.testing.assert_close(moved[name], torch.full_like(moved[name], -0.1 * 3 * 1.5))
    assert not moved["0.bias"].any()
    step = -0.1 * orthogonal(torch.ones(3, 1, 3, 3)) - 0.1 * 0.2 * begun["0.weight"]
    torch.testing.assert_close(moved["0.weight"], step)


def test_muon_leaves_tables_to_sgd():
    """Embeddings, positions and biases of attention have two axes, too, but multiply nothing."""
    network = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 6), nn.Linear(6, 2))
    network.register_parameter("position", nn.Parameter(torch.zeros(9, 3)))
    groups = build_optimizer(network, Optim(name="muon", peak_lr=0.1)).param_groups
    assert [p for group in groups if group["muon"] for p in group["params"]] == [network[1].weight]


@pytest.mark.parametrize(
    ("schedule", "progress", "rate"),
    [
        ("one_cycle", 0.0, 0.04),
        ("one_cycle", 0.1, 0.52),
        ("one_cycle", 0.2, 1.0),
        ("one_cycle", 0.6, 0.5),
        ("one_cycle", 1.0, 0.0),
        ("cosine", 0.0, 0.04),
        ("cosine", 0.1, 0.52),
        ("cosine", 0.6, 0.5),
        ("constant", 0.9, 1.0),
        ("restarts", 0.0, 1.0),  # periods of 3 of 12 epochs
        ("restarts", 0.125, 0.5),
        ("restarts", 0.2499999999, 0.0),
        ("restarts", 0.25, 1.0),
        ("restarts", 0.875, 0.5),
    ],
)
def test_rates_by_hand(schedule, progress, rate):
    optim = Optim(peak_lr=1.0, schedule=schedule, warmup_fraction=0.2, period_epochs=3)
    assert learning_rate(optim, progress, epochs=12) == pytest.approx(rate, abs=1e-9)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "restarts"])
def test_they_end_at_the_final_rate(schedule):
    optim = Optim(peak_lr=1.0, schedule=schedule, final_lr=0.25, period_epochs=4)
    assert learning_rate(optim, 1 - 1e-9, epochs=4) == pytest.approx(0.25)


def rows(*val_losses: float, accuracies=()) -> list[EpochRow]:
    return [
        EpochRow(number, 0.1, 1.0, 0.5, loss, accuracy, (1 - accuracy) / 2, 1.0)
        for number, (loss, accuracy) in enumerate(
            zip(val_losses, accuracies or [0.5] * 99, strict=False), start=1
        )
    ]


def test_a_plateau_lowers_the_rate_as_torch_does():
    losses = [3.0, 2.0, 2.5, 2.0, 2.1, 2.2, 1.9, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    optim = Optim(
        peak_lr=1.0, schedule="plateau", plateau_patience_epochs=2, plateau_factor=0.5, final_lr=0.2
    )
    theirs = torch.optim.SGD(net().parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, factor=0.5, patience=2, threshold=0, min_lr=0.2
    )
    for done, loss in enumerate(losses, start=1):
        schedule.step(loss)
        ours = learning_rate(optim, 0.5, epochs=99, history=rows(*losses[:done]))
        assert ours == theirs.param_groups[0]["lr"], done
    assert ours == 0.2  # it was lowered, and the floor met


def test_a_plateau_waits_epochs_and_not_judgements():
    """Judged in every second epoch and patient for three: the rate falls in the fourth epoch after the best."""
    optim = Optim(peak_lr=1.0, schedule="plateau", plateau_patience_epochs=3, plateau_factor=0.5)
    none = math.nan
    history = rows(none, 1.0, none, 1.0, none, 1.0, none, 1.0)
    rates = [
        learning_rate(optim, 0.5, epochs=99, history=history[:done]) for done in range(1, len(history) + 1)
    ]
    assert rates == [1.0] * 5 + [0.5] * 3


def test_patience_and_the_best_epoch():
    history = rows(1.0, 0.8, 0.9, 0.9, accuracies=(0.5, 0.5, 0.6, 0.5))
    assert best_epoch(history).epoch == 3
    assert best_epoch(history, "loss").epoch == 2
    assert best_epoch(history, "macro_f1").epoch == 2  # of three equal ones, that of the least loss
    assert not out_of_patience(history, Validation())
    assert not out_of_patience([], Validation(patience_epochs=1))
    assert out_of_patience(history, Validation(patience_epochs=1))
    assert not out_of_patience(history, Validation(patience_epochs=2))
    assert out_of_patience(history, Validation(patience_epochs=2, monitor="loss"))


def test_only_an_epoch_that_was_judged_ends_a_run():
    """Judged in epochs 5 and 10: the second time, the best one is five epochs ago."""
    none, rule = math.nan, Validation(patience_epochs=3, every_epochs=5)
    history = rows(*[none] * 4, 0.8, *[none] * 4, 0.9, accuracies=(*[none] * 4, 0.6, *[none] * 4, 0.5))
    assert [out_of_patience(history[:n], rule) for n in range(11)] == [False] * 10 + [True]


def test_the_backbone_learns_by_its_factor():
    network = net()
    optimizer = build_optimizer(network, Optim(), backbone_lr_factor=0.1)
    set_step(optimizer, 2.0, 0.8)
    assert {group["momentum"] for group in optimizer.param_groups} == {0.8}
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in network[3].parameters()} == {2.0}
    assert {rates[id(p)] for p in [*network[0].parameters(), *network[1].parameters()]} == {0.2}
    assert len(rates) == len(list(network.parameters()))


def test_momentum_falls_while_the_rate_rises_as_in_torch():
    """torch's own OneCycleLR, which reaches its peak at step 15 - 1 of 50 and ends at step 49."""
    layer, steps = nn.Linear(1, 1), 50
    theirs = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.95)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=1.0, total_steps=steps, pct_start=0.3, base_momentum=0.85, max_momentum=0.95
    )
    optim = Optim(peak_lr=1.0, momentum=0.95, momentum_low=0.85, warmup_fraction=14 / 49)
    for step in range(steps - 1):
        assert momentum(optim, step / 49) == pytest.approx(theirs.param_groups[0]["momentum"], abs=1e-9)
        theirs.step()
        schedule.step()
    assert momentum(optim.model_copy(update={"momentum_low": 0.0}), 0.5) == 0.95


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"schedule": "cosine", "momentum_low": 0.8},
            "momentum_low is for the schedule one_cycle, not for cosine",
        ),
        ({"momentum_low": 0.95}, "momentum_low 0.95 must not exceed momentum 0.9"),
    ],
)
def test_a_cycle_of_momentum_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        Optim(**settings)


def test_the_average_by_hand():
    network = nn.Linear(1, 1, bias=False)
    average = MovingAverage(network, 0.9)
    values = []
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, value)
        average.update()
        values.append(average.module.weight.item())
    # the first value is copied; then (1 + n) / (10 + n) of the old is kept: 2/11, 3/12
    assert values == pytest.approx([1.0, 2 - 1 * 2 / 11, 4 - (4 - (2 - 2 / 11)) * 3 / 12])


def test_the_average_takes_batchnorm_along():
    network = net()
    average = MovingAverage(network, 0.5)
    for _ in range(9):
        network(torch.randn(7, 1, 3, 3) + 5)
        average.update()
    assert average.module[1].num_batches_tracked == 9
    assert (average.module[1].running_mean != 0).all()
