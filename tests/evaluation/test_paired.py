"""Paired tests by hand, and by the laws of those who worked them out before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from mien.evaluation.paired import compare_pairs, pareto, resample, shown_p, shown_points
from mien.statistics import Estimate, class_figures, confusion, macro_f1, resampled_confusion


def compared(truth, *answers, names="ABCDEFGH", k=3):
    truth, answers = np.array(truth), np.array(answers)
    return compare_pairs(names[: len(answers)], truth, answers, resample(truth, answers, k))


def test_a_pair_by_hand():
    truth = [0, 0, 1, 1, 2, 2, 2]
    first = [0, 0, 1, 2, 2, 2, 0]  # right on 0 1 2 4 5
    second = [0, 1, 1, 1, 0, 0, 0]  # right on 0 2 3
    (pair,) = compared(truth, first, second)
    assert (pair.both_right, pair.only_first, pair.only_second, pair.both_wrong) == (2, 3, 1, 1)
    assert pair.p_exact == pair.p_holm == pytest.approx(2 * (1 + 4) / 16)
    assert pair.accuracy.value == pytest.approx(2 / 7)
    assert pair.agreement == pytest.approx(3 / 7)
    # F1 of the first: 4/5, 2/3, 4/6; of the second: 2/6, 4/5, 0
    assert pair.macro_f1.value == pytest.approx((4 / 5 + 2 / 3 + 4 / 6 - 2 / 6 - 4 / 5) / 3)
    assert pair.meaning == (
        f"No clear difference between A and B: A is ahead by 28.6 points (95 % interval "
        f"{100 * pair.accuracy.low:.1f} to {100 * pair.accuracy.high:.1f}), which also happens by chance (p = 0.62)."
    )
    assert pair.to_dict()["accuracy"] == pair.accuracy._asdict()


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(2, 8), st.integers(1, 60))
def test_figures_are_scikit_learns(seed, k, n):
    rng = np.random.default_rng(seed)
    truth, answers = rng.integers(0, k, n), rng.integers(0, k, (2, n))
    drawn = resample(truth, answers, k, seed=seed)
    for model in range(2):
        assert np.trace(drawn[model, 0]) == (truth == answers[model]).sum()
        assert class_figures(drawn[model, 0]).macro_f1 == pytest.approx(
            f1_score(truth, answers[model], average="macro")
        )
    (pair,) = compare_pairs("AB", truth, answers, drawn)
    if pair.kappa is not None:
        assert pair.kappa == pytest.approx(cohen_kappa_score(*answers))
    assert pair.both_right + pair.only_first + pair.only_second + pair.both_wrong == n
    assert pair.accuracy.value == pytest.approx((pair.only_first - pair.only_second) / n)
    assert pair.accuracy.low <= pair.accuracy.high


def test_resamples_are_the_same_images_for_all_models_whatever_the_order_of_the_rows():
    rng = np.random.default_rng(3)
    truth, answers = rng.integers(0, 3, 211), rng.integers(0, 3, (2, 211))
    drawn = resample(truth, np.stack([answers[0], answers[0], answers[1]]), 3)
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0].sum(axis=2) == drawn[2].sum(axis=2)).all(), "each class as often for all"
    alone = macro_f1(resampled_confusion(confusion(truth, answers[1], 3)))
    assert tuple(macro_f1(drawn[2])) == pytest.approx(tuple(alone), abs=0.01)
    order = rng.permutation(211)
    assert (resample(truth[order], answers[:, order], 3) == resample(truth, answers, 3)).all()


def test_a_real_difference_is_called_one_and_chance_is_not():
    """Of 199 images A misses the first 40, B the first 20, C the 21 after those."""
    truth = np.arange(199) % 3
    best, worse, other = truth.copy(), truth.copy(), truth.copy()
    worse[:40] = (worse[:40] + 1) % 3
    best[:20] = (best[:20] + 1) % 3
    other[20:41] = (other[20:41] + 1) % 3
    pairs = compared(truth, worse, best, other)
    assert pairs[0].meaning == (
        f"B is better than A by 10.1 points (95 % interval {-100 * pairs[0].accuracy.high:.1f} to "
        f"{-100 * pairs[0].accuracy.low:.1f}). Chance alone is an unlikely explanation "
        "(p < 0.0001, corrected for 3 pairs)."
    )
    assert pairs[0].accuracy.high < 0
    assert pairs[2].meaning.startswith("No clear difference between B and C: B is ahead by 0.5 points")
    assert pairs[2].meaning.endswith("which also happens by chance (p = 1, corrected for 3 pairs).")


def test_equal_models_in_three_ways():
    truth = [0, 1, 2, 0]
    same, elsewhere = (
        compared(truth, [0, 1, 0, 1], [0, 1, 0, 1], k=3)[0],
        compared(truth, [0, 1, 0, 1], [0, 1, 1, 2])[0],
    )
    assert same.meaning == "A and B give the same answer to every image."
    assert (same.kappa, same.agreement, same.p_exact) == (pytest.approx(1), 1, 1)
    assert elsewhere.meaning == "A and B are right on exactly the same images."
    swapped = compared(truth, [0, 1, 0, 1], [0, 2, 2, 1])[0]
    assert swapped.meaning == "A and B are right equally often, on different images."


def test_one_image_and_one_answer():
    (pair,) = compared([1], [1], [1], k=2)
    assert pair.kappa is None
    assert pair.accuracy.value == 0
    assert pair.accuracy.low < 0 < pair.accuracy.high, "one image says little"


def test_the_front_by_hand():
    costs, gains = [5, 1, 3, 2, 3, 9], [0.7, 0.5, 0.6, 0.6, 0.6, 0.7]
    assert pareto(costs, gains) == [1, 3, 0]
    assert pareto([2, 2, 1], [0.5, 0.5, 0.4]) == [2, 0, 1], "equal ones stand together"
    assert pareto([1.0, 1.04, 2], [0.4, 0.5, 0.5], slack=1.05) == [1], "4 % faster is not faster"
    assert pareto([1.0, 1.04, 2], [0.5, 0.5, 0.6], slack=1.05) == [0, 1, 2]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_everyone_is_on_the_front_or_beaten_by_one_on_it(points):
    front = pareto(*zip(*points, strict=True))
    kept = [points[place] for place in front]
    assert kept == sorted(kept)
    for cost, gain in points:
        assert any(c <= cost and g >= gain for c, g in kept)


@pytest.mark.parametrize(
    ("p", "text"), [(0.00004, "< 0.0001"), (0.0312, "= 0.031"), (0.996, "= 1"), (1.0, "= 1")]
)
def test_how_a_probability_is_shown(p, text):
    assert shown_p(p) == text


def test_a_small_difference_is_not_shown_as_none():
    assert shown_points(Estimate(0.0003, -0.001, 0.0016)) == "0.03 points (95 % interval -0.10 to 0.16)"
    assert shown_points(Estimate(0.021, 0.001, 0.04)) == "2.1 points (95 % interval 0.1 to 4.0)"
