"""Counting for rare classes: weights and copies worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mien.data.balance import class_counts, class_weights, imbalance_ratio, learnt_prior, rows_to_copy

COUNTS = np.array([70, 20, 10])


@pytest.mark.parametrize("rule", ["none", "inverse_frequency", "effective_number"])
def test_weights_are_one_on_the_average_over_the_images(rule):
    assert (class_weights(COUNTS, rule) * COUNTS).sum() / COUNTS.sum() == pytest.approx(1)


def test_weights_by_hand():
    assert class_weights(COUNTS, "none").tolist() == [1, 1, 1]
    assert class_weights(COUNTS, "inverse_frequency") == pytest.approx([100 / 210, 100 / 60, 100 / 30])
    effective = np.array([(1 - 0.9**n) / (1 - 0.9) for n in COUNTS])
    got = class_weights(COUNTS, "effective_number", 0.9)
    assert got / got[0] == pytest.approx(effective[0] / effective)


def test_an_absent_class_has_no_weight():
    assert class_weights(np.array([3, 0, 1]), "inverse_frequency") == pytest.approx([2 / 3, 0, 2])


def test_the_imbalance_ratio():
    assert imbalance_ratio(COUNTS) == 7


def test_copies_bring_each_class_to_the_ratio_and_use_its_images_evenly():
    truth = np.repeat([0, 1, 2], COUNTS)
    rows = rows_to_copy(truth, 3, 0.5, np.random.default_rng(0))
    assert (class_counts(truth, 3) + class_counts(truth[rows], 3)).tolist() == [70, 35, 35]
    used = np.bincount(rows, minlength=100)
    assert (used[:70] == 0).all()
    assert set(used[70:90]) == {0, 1}
    assert set(used[90:]) == {2, 3}


def test_no_copies_where_none_are_needed():
    assert len(rows_to_copy(np.repeat([0, 1], 7), 2, 1.0, np.random.default_rng(0))) == 0


def test_a_class_without_images_is_never_expected():
    """Also where more than the whole logit adjustment turns the frequencies round."""
    recipe = {"loss": {"logit_adjustment_tau": 2.0}}
    assert learnt_prior(np.array([4, 0, 1]), recipe) == pytest.approx([0.2, 0, 0.8])
