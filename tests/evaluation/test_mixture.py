"""Ensembles from arrays: worked by hand, and the laws of the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import DataError
from mien.evaluation.mixture import RULES, combine, fit_weights, judge_mixture

# three members, two pictures, two classes
PROBS = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.2, 0.8], [0.3, 0.7]], [[0.4, 0.6], [0.8, 0.2]]], np.float32)
THIRDS = np.full(3, 1 / 3)


def drawn(n=350, members=3, k=5, seed=0, skill=(2.0, 2.0, 2.0)):
    """Members that know the truth with noise of their own."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % k
    logits = rng.normal(size=(members, n, k)) + np.array(skill)[:, None, None] * np.eye(k)[truth]
    probs = np.exp(logits)
    return (probs / probs.sum(axis=2, keepdims=True)).astype(np.float32), truth


def test_the_rules_by_hand():
    np.testing.assert_allclose(combine(PROBS, "mean", THIRDS), [[0.5, 0.5], [0.5, 0.5]], atol=1e-6)
    weighted = combine(PROBS, "weighted", np.array([0.5, 0.5, 0]))
    np.testing.assert_allclose(weighted, [[0.55, 0.45], [0.35, 0.65]], atol=1e-6)
    voted = combine(PROBS, "vote", THIRDS)
    np.testing.assert_allclose(voted[0], 0.99 * np.array([1 / 3, 2 / 3]) + 0.01 * 0.5, atol=1e-6)
    np.testing.assert_allclose(voted.sum(axis=1), 1, atol=1e-6)


def test_the_mean_decides_a_tied_vote():
    tied = np.array([[[0.9, 0.1]], [[0.4, 0.6]]], np.float32)
    assert combine(tied, "vote", THIRDS[:2]).argmax() == 0


def test_a_member_that_knows_nothing_gets_nothing():
    probs, truth = drawn(skill=(2.0, 0.0, 2.0))
    weights = fit_weights(probs, truth)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] < 0.02
    assert min(weights[0], weights[2]) > 0.3


@given(st.integers(0, 99), st.integers(2, 4))
def test_no_other_weights_make_the_truth_likelier(seed, members):
    rng = np.random.default_rng(seed)
    probs, truth = drawn(35, members, seed=seed, skill=rng.uniform(0, 3, members))

    def likelihood(weights):
        return np.log(np.einsum("mn,m->n", probs[:, np.arange(len(truth)), truth], weights)).sum()

    best = likelihood(fit_weights(probs, truth))
    assert all(likelihood(other) <= best + 1e-3 for other in rng.dirichlet(np.ones(members), 50))


def test_who_adds_nothing_weighs_nothing():
    probs, truth = drawn(skill=(3.0, 3.0, 0.0))
    weights = fit_weights(probs, truth)
    assert weights[2] == 0
    assert weights.sum() == pytest.approx(1)


def test_the_report():
    probs, truth = drawn(skill=(2.0, 0.3, 1.5))
    report = judge_mixture(probs, truth)
    assert report.members == tuple((row.argmax(axis=1) == truth).mean() for row in probs)
    assert report.mean == (probs.mean(axis=0).argmax(axis=1) == truth).mean()
    assert report.gain == pytest.approx(report.weighted_cross_validated - report.mean)
    assert report.weighted > report.mean, "one member is poor"
    assert [report.accuracy(rule) for rule in RULES] == [
        report.mean, report.weighted_cross_validated, report.vote,
    ]  # fmt: skip
    assert replace(report, mean=0.4, members=(0.3, 0.41)).is_worse("mean")
    assert not replace(report, mean=0.4, members=(0.3, 0.4)).is_worse("mean")
    assert 0 < report.gain_standard_error < 0.05


def test_a_class_with_too_few_pictures():
    probs, truth = drawn(20, k=5)
    with pytest.raises(
        DataError, match="20 images, 4 of the rarest class, are too few to judge what is fitted"
    ):
        judge_mixture(probs, truth)
