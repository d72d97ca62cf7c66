"""Temperatures: found again where one was hidden, and judged on what they were not fitted to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as theirs

from mien.classifiers import probabilities
from mien.errors import DataError
from mien.evaluation.calibration import calibrate, estimate_prior, fit, log_loss


def honest(n: int, k: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the true chance of each class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, k)).astype(np.float32)
    truth = np.array([rng.choice(k, p=row / row.sum()) for row in probabilities(logits).astype(float)])
    return logits, truth


@pytest.mark.parametrize("hidden", [0.4, 1.0, 3.0])
def test_a_hidden_temperature_is_found(hidden):
    logits, truth = honest(20_000)
    moved = (logits + np.float32([0.5, 0, -0.5])) * np.float32(hidden)
    temperature, bias = fit(moved, truth)
    assert temperature == pytest.approx(hidden, rel=0.05)
    assert bias == pytest.approx([-0.5, 0, 0.5], abs=0.06)


def test_without_biases_the_temperature_alone_is_the_likeliest_and_no_label_changes():
    logits, truth = honest(2003)
    logits = logits * np.float32(2.5) + np.float32([0.5, 0, -0.5])
    temperature, bias = fit(logits, truth, biases=False)
    assert not bias.any()
    here = log_loss(logits / temperature, truth)
    assert all(log_loss(logits / (temperature * other), truth) > here for other in (0.98, 1.02))
    found = calibrate(logits, truth, biases=False)
    assert (found.temperature, found.bias) == (temperature, ())
    assert found.accuracy_calibrated == found.accuracy
    low, high = found.ece_calibrated_95
    assert low <= found.ece_calibrated <= high < found.ece


@settings(max_examples=25)
@given(st.floats(0.2, 5), st.floats(0.2, 5))
def test_no_other_temperature_makes_the_truth_likelier(scale, other):
    logits, truth = honest(3001)
    best, bias = fit(logits * np.float32(scale), truth)
    assert log_loss(logits * scale / best + bias, truth) <= log_loss(logits * scale / other, truth) + 1e-5


def test_the_log_loss_is_scikit_learns():
    logits, truth = honest(61, 5)
    assert log_loss(logits, truth) == pytest.approx(
        theirs(truth, probabilities(logits), labels=range(5)), rel=1e-5
    )


def test_an_overconfident_model_becomes_honest_on_images_it_was_not_fitted_to():
    logits, truth = honest(4000)
    found = calibrate(logits * np.float32(3), truth)
    assert found.ece > 0.1
    assert found.ece_calibrated < 0.03
    assert found.log_loss_calibrated < found.log_loss
    assert found.n == 4000


def test_noise_gains_nothing_under_cross_validation():
    """An honest model is not improved: what is reported after is not fitted to the images it is reported on."""
    gains = []
    for seed in range(6):
        logits, truth = honest(60, seed=seed)
        found = calibrate(logits, truth)
        gains.append(found.log_loss - found.log_loss_calibrated)
    assert np.mean(gains) < 0


def test_a_model_that_is_always_right_does_not_become_certain():
    """Of 50 right answers, the mean confidence is about that of one more image of which nothing is known: 98 %."""
    logits = np.eye(2, dtype=np.float32)[np.arange(50) % 2] * 3
    temperature, bias = fit(logits, np.arange(50) % 2)
    confidence = probabilities(logits / np.float32(temperature)).max(axis=1)
    assert confidence == pytest.approx(1 - 1 / 51 / 2, abs=1e-4)
    assert bias == pytest.approx([0, 0], abs=1e-6)


def test_too_few():
    logits, truth = honest(14)
    with pytest.raises(DataError, match="14 images are too few to calibrate on: expected at least 15"):
        calibrate(logits, truth)
    logits, truth = honest(40)
    truth[:] = 0
    truth[:4] = 1
    with pytest.raises(DataError, match="40 images, 4 of the rarest class, are too few"):
        calibrate(logits, truth)


def test_the_prior_of_unlabelled_images_is_found():
    """Honest probabilities for classes of a third each; in the new place the first is frequent, the last is rare."""
    logits, truth = honest(30_000)
    kept = np.random.default_rng(1).random(len(truth)) < np.array([1.0, 0.5, 0.1])[truth]
    before = np.bincount(truth) / len(truth)
    found = estimate_prior(probabilities(logits[kept]).astype(float), before)
    assert found == pytest.approx(np.bincount(truth[kept]) / kept.sum(), abs=0.02)
