"""Figures by hand and against scikit-learn; intervals; what are no probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from mien.errors import DataError
from mien.evaluation.metrics import (
    average_precisions,
    headline,
)
from mien.statistics import balanced_accuracy, confusion, macro_f1, resampled_confusion


def drawn(n=211, k=5, seed=0, skill=1.5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + skill * np.eye(k)[truth]
    probs = np.exp(logits)
    return probs / probs.sum(axis=1, keepdims=True), truth


@settings(max_examples=15)
@given(st.integers(0, 30))
def test_every_figure_is_scikit_learns(seed):
    probs, truth = drawn(97, 5, seed)
    truth[truth == 4] = 3  # a class that is answered and never true
    predicted, ours = probs.argmax(axis=1), {name: f.value for name, f in headline(probs, truth).items()}
    every = np.arange(5)
    occurring = np.union1d(truth, predicted)
    assert ours["accuracy"] == pytest.approx(theirs.accuracy_score(truth, predicted))
    assert ours["macro_f1"] == pytest.approx(
        theirs.f1_score(truth, predicted, average="macro", labels=occurring)
    )
    assert ours["weighted_f1"] == pytest.approx(theirs.f1_score(truth, predicted, average="weighted"))
    recalls = theirs.recall_score(truth, predicted, average=None, labels=np.unique(truth), zero_division=0)
    assert ours["balanced_accuracy"] == pytest.approx(recalls.mean())
    assert ours["kappa"] == pytest.approx(theirs.cohen_kappa_score(truth, predicted))
    assert ours["log_loss"] == pytest.approx(theirs.log_loss(truth, probs, labels=every))
    for k in (2, 3):
        expected = theirs.top_k_accuracy_score(truth, probs, k=k, labels=every)
        assert ours[f"top_{k}_accuracy"] == pytest.approx(expected)


def test_tied_answers_are_not_all_in_the_first_two():
    """One of three classes is the answer, two are in the first two."""
    found = headline(np.full((3, 3), 1 / 3), np.arange(3))
    assert (found["accuracy"].value, found["top_2_accuracy"].value) == (1 / 3, 2 / 3)


def test_brier_by_hand():
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    assert headline(probs, np.array([0, 1, 0, 1]))["brier"].value == pytest.approx(
        (0.02 + 1.62 + 0.32 + 0.18) / 4
    )


def test_every_interval_holds_its_figure():
    for n in (15, 97):
        for skill in (0.0, 9.0):
            for name, figure in headline(*drawn(n, skill=skill)).items():
                assert figure.low <= figure.value <= figure.high, name


def test_fifteen_of_fifteen_is_not_certain():
    """No figure of images that are all right has an interval of no width."""
    perfect = headline(np.eye(3)[np.arange(15) % 3], np.arange(15) % 3)
    assert perfect["accuracy"] == pytest.approx((1, 0.796, 1), abs=1e-3)
    for name in ("macro_f1", "balanced_accuracy", "weighted_f1", "kappa", "top_2_accuracy", "ece"):
        assert perfect[name].high - perfect[name].low > 0.1, name


def test_one_image_one_class_and_perfection():
    one = headline(np.array([[1.0, 0.0, 0.0]]), np.array([0]))
    assert (one["accuracy"].value, one["macro_f1"].value, one["kappa"].value) == (1, 1, 0)
    perfect = headline(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 2]))
    assert [perfect[name].value for name in ("accuracy", "macro_f1", "kappa", "ece", "brier")] == [
        1,
        1,
        1,
        0,
        0,
    ]
    assert "top_2_accuracy" not in headline(np.array([[1.0, 0.0]]), np.array([0]))


def test_average_precision():
    probs, truth = drawn()
    ours = average_precisions(probs, truth % 4)
    assert ours[4] is None
    assert ours[1] == theirs.average_precision_score(truth % 4 == 1, probs[:, 1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([2.0, 1.0], r"row 1 of the probabilities sums to 3 with values from 1 to 2: expected a softmax"),
        ([1.5, -0.5], r"row 1 of the probabilities sums to 1 with values from -0\.5 to 1\.5"),
        ([np.nan, 1.0], "row 1 of the probabilities sums to nan"),
        ([np.inf, -np.inf], "row 1 of the probabilities sums to nan"),
    ],
)
def test_what_are_no_probabilities(row, message):
    with pytest.raises(DataError, match=message):
        headline(np.array([[0.5, 0.5], row]), np.array([0, 1]))


def test_a_confusion_matrix_alone_gives_the_intervals_of_the_report():
    rng = np.random.default_rng(5)
    probs, truth = rng.dirichlet(np.ones(3), 211), rng.integers(0, 3, 211)
    drawn = resampled_confusion(confusion(truth, probs.argmax(axis=1), 3))
    full = headline(probs, truth)
    assert macro_f1(drawn) == full["macro_f1"]
    assert balanced_accuracy(drawn) == full["balanced_accuracy"]
