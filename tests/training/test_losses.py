"""The objective, held against torch's own cross-entropy and against answers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from mien.config import Balance, Loss
from mien.data.balance import learnt_prior
from mien.training.losses import objective

COUNTS = np.array([70, 20, 10])
CPU = torch.device("cpu")


def batch(b: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.softmax(torch.randn(b, 3, generator=generator), 1)
    return torch.randn(b, 3, generator=generator), targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_every_option_off_it_is_cross_entropy(smoothing):
    logits, targets = batch()
    ours = objective(Loss(label_smoothing=smoothing), COUNTS, COUNTS, CPU)(logits, targets)
    torch.testing.assert_close(ours, functional.cross_entropy(logits, targets, label_smoothing=smoothing))


def test_class_weights_make_a_rare_class_count_more():
    logits = torch.zeros(1, 3)
    weigh = objective(Loss(class_weights="inverse_frequency"), COUNTS, COUNTS, CPU)
    losses = [float(weigh(logits, torch.eye(3)[k : k + 1])) for k in range(3)]
    assert losses == pytest.approx([math.log(3) * 100 / 3 / n for n in (70, 20, 10)])
    mean = sum(n * loss for n, loss in zip(COUNTS, losses, strict=True)) / 100
    assert mean == pytest.approx(math.log(3))  # over the images the scale of the loss stays


def test_smoothing_draws_no_image_to_the_rare_class():
    """The smoothed fraction is spread evenly, whatever the classes weigh: torch's is not."""
    loss = objective(Loss(class_weights="inverse_frequency", label_smoothing=0.3), COUNTS, COUNTS, CPU)
    logits = torch.zeros(1, 3, requires_grad=True)
    loss(logits, torch.eye(3)[:1]).backward()
    weight = 100 / 3 / 70
    assert logits.grad[0].tolist() == pytest.approx(
        [weight * (1 / 3 - 0.8), weight * (1 / 3 - 0.1), weight * (1 / 3 - 0.1)]
    )


def test_focal_loss_by_hand():
    logits = torch.tensor([[math.log(8), 0.0, 0.0]])
    focal = objective(Loss(focal_gamma=2.0), COUNTS, COUNTS, CPU)
    assert float(focal(logits, torch.eye(3)[:1])) == pytest.approx(0.2**2 * -math.log(0.8))
    assert float(focal(logits, torch.eye(3)[1:2])) == pytest.approx(0.9**2 * -math.log(0.1))


def test_logit_adjustment_adds_the_logarithm_of_the_share():
    logits, targets = batch()
    adjusted = objective(Loss(logit_adjustment_tau=1.0), COUNTS, COUNTS, CPU)(logits, targets)
    shares = torch.tensor([0.7, 0.2, 0.1])
    torch.testing.assert_close(adjusted, functional.cross_entropy(logits + shares.log(), targets))
    even = objective(Loss(logit_adjustment_tau=1.0), COUNTS, np.array([1, 1, 1]), CPU)(logits, targets)
    torch.testing.assert_close(even, functional.cross_entropy(logits, targets))  # nothing is left to adjust


def test_a_class_without_images_is_adjusted_as_the_rarest_that_has_some():
    logits, targets = batch()
    counts = np.array([70, 30, 0])
    adjusted = objective(Loss(logit_adjustment_tau=1.0), counts, counts, CPU)(logits, targets)
    shares = torch.tensor([0.7, 0.3, 0.3])
    torch.testing.assert_close(adjusted, functional.cross_entropy(logits + shares.log(), targets))


@pytest.mark.parametrize("gamma", [2.0, 0.5])
def test_every_option_gives_every_logit_a_finite_gradient(gamma):
    loss = Loss(
        focal_gamma=gamma, class_weights="effective_number", logit_adjustment_tau=1.0, label_smoothing=0.1
    )
    logits, targets = (torch.tensor([[60.0, -60.0, 0.0]], requires_grad=True), torch.eye(3)[1:2])
    objective(loss, COUNTS, COUNTS, CPU)(logits, targets).backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()


RARE = {
    "nothing": ({}, {}),
    "sampler": ({"sampler": "weighted"}, {}),
    "copies": ({"enlarge_to_ratio": 0.5}, {}),
    "weights": ({}, {"class_weights": "effective_number", "effective_beta": 0.9}),
    "adjustment": ({}, {"logit_adjustment_tau": 0.5}),
    "full adjustment": ({}, {"logit_adjustment_tau": 1.0}),
    "all": ({"enlarge_to_ratio": 0.5}, {"class_weights": "inverse_frequency", "logit_adjustment_tau": 0.3}),
}


@pytest.mark.parametrize("case", RARE)
def test_a_network_that_sees_nothing_learns_the_frequencies_that_are_stated(case):
    """Only biases are trained, on the images that the recipe shows, with its loss."""
    balance, loss = Balance(**RARE[case][0]), Loss(**RARE[case][1])
    drawn = np.maximum(COUNTS, int(balance.enlarge_to_ratio * COUNTS.max()))
    drawn = drawn.clip(max=1) if balance.sampler == "weighted" else drawn
    targets = torch.eye(3)[torch.from_numpy(np.repeat(np.arange(3), drawn))]
    bias, of = torch.zeros(3, requires_grad=True), objective(loss, COUNTS, drawn, CPU)
    optimiser = torch.optim.LBFGS([bias], max_iter=100, tolerance_grad=1e-9, tolerance_change=1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = of(bias.expand(len(targets), 3), targets)
        value.backward()
        return value

    optimiser.step(closure)
    recipe = {"balance": balance.model_dump(), "loss": loss.model_dump()}
    assert torch.softmax(bias, 0).tolist() == pytest.approx(learnt_prior(COUNTS, recipe), abs=1e-4)
