"""Estimates by hand; and of each interval, how often it holds the truth of drawn data."""

from __future__ import annotations

from functools import cache
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from mien.statistics import (
    balanced_accuracy,
    binned_calibration_error,
    bootstrap,
    calibration_error,
    class_figures,
    class_intervals,
    compare_recipes,
    confidence_bins,
    confusion,
    difference,
    holm,
    interval,
    macro_f1,
    mcnemar,
    mean_of,
    paired_difference,
    percentile,
    ranks,
    resampled_confusion,
    wilson,
    wilson_of,
)

FOLDS = 400
COVERED = (0.92, 0.98)
CHANCES = np.array([[0.7, 0.2, 0.1], [0.15, 0.75, 0.1], [0.3, 0.1, 0.6]])
"""Of each prediction (column) for an image of each class (row)."""


def coverage(draw, truth, folds=FOLDS):
    """Return the fraction of the intervals of `draw(rng)` that hold the truth."""
    found = [draw(np.random.default_rng(seed)) for seed in range(folds)]
    return np.mean([one.low <= truth + 1e-9 and truth - 1e-9 <= one.high for one in found])


def answered(rng, n=151):
    truth = rng.integers(0, 3, n)
    chosen = (rng.random((n, 1)) > CHANCES[truth].cumsum(axis=1)).sum(axis=1)
    return truth, chosen.clip(max=2)


@cache
def confusions(folds=200):
    """Confusion matrices of drawn images, each followed by those of its resamples."""
    found = []
    for seed in range(folds):
        truth, chosen = answered(np.random.default_rng(seed))
        found.append(resampled_confusion(confusion(truth, chosen, 3), seed=1))
    return found


def surprise(rng, n=401):
    """The mean log-loss of two classes, its interval by the bootstrap alone."""
    p = rng.beta(4, 1.5, n)
    hit = rng.random(n) < p
    return interval(bootstrap(-np.log(np.where(hit, p, 1 - p))[:, None], resamples=300)[:, 0] / n)


def two_models(rng, n=151):
    """Models right on 70 % and 60 % of the images, often the same ones."""
    hard = rng.random(n)
    return (hard + rng.normal(0, 0.1, n) < 0.7), (hard + rng.normal(0, 0.1, n) < 0.6)


def paired(rng):
    one, other = two_models(rng)
    return paired_difference(int((one & ~other).sum()), int((~one & other).sum()), len(one))


def recipes(rng, seeds=(3, 4), n=151, skills=(0.70, 0.62)):
    """Seeds of two recipes: each has a skill of its own, and images are hard for all."""
    hard = rng.random(n)
    return [
        hard + rng.normal(0, 0.15, (many, n)) < skill + rng.normal(0, 0.03, (many, 1))
        for many, skill in zip(seeds, skills, strict=True)
    ]


def sure(rng, too_sure, n=2003):
    confidence = 0.2 + 0.8 * rng.beta(4, 1.5, n)
    return confidence, rng.random(n) < confidence - too_sure


def test_wilson_holds_the_truth():
    assert COVERED[0] <= coverage(lambda rng: wilson(rng.random(53) < 0.8), 0.8) <= COVERED[1]


def test_a_mean_of_fractions_holds_the_truth():
    def balanced(rng):
        return [wilson(rng.random(n) < p) for n, p in ((17, 0.9), (53, 0.6), (101, 0.8))]

    plain = coverage(lambda rng: mean_of(balanced(rng)), (0.9 + 0.6 + 0.8) / 3)
    weighted = coverage(lambda rng: mean_of(balanced(rng), [1, 2, 3]), (0.9 + 2 * 0.6 + 3 * 0.8) / 6)
    assert COVERED[0] <= min(plain, weighted) <= max(plain, weighted) <= COVERED[1]


def test_the_difference_of_fractions_holds_the_truth():
    def apart(rng):
        return difference(wilson(rng.random(41) < 0.9), wilson(rng.random(73) < 0.7))

    assert COVERED[0] <= coverage(apart, 0.2) <= COVERED[1]


def test_the_difference_of_two_models_holds_the_truth():
    rng = np.random.default_rng(10**6)
    one, other = two_models(rng, 1_000_000)
    assert COVERED[0] <= coverage(paired, float(one.mean() - other.mean())) <= COVERED[1]


def test_the_bootstrap_holds_the_truth():
    """Of a log-loss, of macro-F1 and of balanced accuracy, whose truths are those of the chances themselves."""
    p = np.random.default_rng(10**6).beta(4, 1.5, 10**6)
    truth = -float((p * np.log(p) + (1 - p) * np.log(1 - p)).mean())
    assert COVERED[0] <= coverage(surprise, truth) <= COVERED[1]
    known = class_figures(CHANCES / 3)
    for figure, true in ((macro_f1, known.macro_f1), (balanced_accuracy, known.balanced_accuracy)):
        found = [figure(draws) for draws in confusions()]
        assert COVERED[0] <= np.mean([one.low <= true <= one.high for one in found]) <= COVERED[1]


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_the_figures_of_each_class_hold_the_truth(name):
    for label, truth in enumerate(getattr(class_figures(CHANCES / 3), name)):

        def figure(rng, label=label):
            return class_intervals(confusion(*answered(rng), 3))[name][label]

        assert COVERED[0] <= coverage(figure, float(truth)) <= COVERED[1]


def test_a_percentile_has_two_values_above_it():
    times = np.random.default_rng(0).permutation(200) + 1.0
    assert (percentile(times, 50), percentile(times, 99)) == (100.5, np.percentile(times, 99))
    assert (times > percentile(times, 99)).sum() == 2
    assert percentile(times[:199], 99) is None
    assert percentile(times[:40], 95) is not None
    assert percentile(times[:39], 95) is percentile([], 50) is None


@pytest.mark.parametrize("too_sure", [0.0, 0.03, 0.08])
def test_the_calibration_error_holds_the_truth(too_sure):
    """And its middle is near: the plain one of a calibrated model with 2,003 images reads 2 %."""
    found = coverage(lambda rng: calibration_error(*sure(rng, too_sure)), too_sure, 200)
    least, most = COVERED if too_sure else (0.95, 0.99)  # at 0 only the lower bound can miss: 97.5 %
    assert least <= found <= most
    values = [calibration_error(*sure(np.random.default_rng(seed), too_sure)).value for seed in range(60)]
    assert np.median(values) == pytest.approx(too_sure, abs=0.013)
    if not too_sure:
        plain = [binned_calibration_error(*sure(np.random.default_rng(seed), 0)) for seed in range(60)]
        assert np.mean(plain) > 0.015


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60))
def test_the_calibration_error_does_not_depend_on_the_order_of_the_rows(seed, n, levels):
    rng = np.random.default_rng(seed)
    confidence, hits = rng.integers(1, levels + 1, n) / levels, rng.random(n) < 0.6
    order = rng.permutation(n)
    assert calibration_error(confidence[order], hits[order]) == calibration_error(confidence, hits)


def test_the_calibration_error_of_votes_holds_the_truth():
    """Five members that vote give five confidences, here each of them 5 points too high."""

    def votes(rng, n=1009):
        confidence = rng.choice([0.2, 0.4, 0.6, 0.8, 1.0], n, p=[0.1, 0.1, 0.2, 0.2, 0.4])
        return calibration_error(confidence, rng.random(n) < confidence - 0.05)

    assert COVERED[0] <= coverage(votes, 0.05, 300) <= COVERED[1]


def test_a_constant_confidence_that_is_the_accuracy_has_no_calibration_error():
    """Though the rows are sorted by class, so that those of one bin of equally many would be all right."""
    hits = np.arange(2000) < 500
    assert calibration_error(np.full(2000, 0.25), hits).value == 0


def test_different_confidences_are_in_bins_of_equally_many():
    """Half of each bin of 20 is right: sorted by confidence, 10 right ones, then 10 wrong ones, and so on."""
    confidence = 0.5 + np.linspace(-1e-6, 1e-6, 300)
    hits = np.arange(300) // 10 % 2 == 0
    assert calibration_error(confidence, hits).value == pytest.approx(0, abs=1e-6)
    assert calibration_error(confidence, np.roll(hits, 5)).value == pytest.approx(0, abs=1e-6)
    assert calibration_error(confidence, np.arange(300) // 20 % 2 == 0).value > 0.4


def test_recipes_over_seeds_and_images_hold_the_truth():
    rng = np.random.default_rng(10**6)
    first, second = recipes(rng, seeds=(400, 400), n=4001)
    truth = float(first.mean() - second.mean())
    found = coverage(lambda rng: compare_recipes(*recipes(rng)).difference, truth)
    assert COVERED[0] <= found <= COVERED[1]


def test_equal_recipes_are_seldom_called_different():
    called = [
        compare_recipes(*recipes(np.random.default_rng(seed), skills=(0.7, 0.7))).p < 0.05
        for seed in range(FOLDS)
    ]
    assert 0.02 <= np.mean(called) <= 0.08


def test_recipes_by_hand():
    """Two seeds each, 4 images: means .75 and .25; nothing varies between seeds or images but the images."""
    first, second = np.array([[1, 1, 1, 0]] * 2, bool), np.array([[0, 0, 0, 1]] * 2, bool)
    found = compare_recipes(first, second)
    # gains 1 1 1 -1: variance 1 of n - 1, over 4 images .25; t of 3 degrees 3.182
    assert found.difference == (0.5, -1, 1), (
        "3.182 times .5 on both sides would leave the possible differences"
    )
    assert found.degrees == 3
    twice = compare_recipes(np.tile(first, 4), np.tile(second, 4))
    # the same images four times: variance 16/15 * .75 over 16; t of 15 degrees 2.131
    reach = 2.1314 * (16 / 15 * 0.75 / 16) ** 0.5
    assert twice.difference == pytest.approx((0.5, 0.5 - reach, 0.5 + reach), abs=1e-4)
    assert compare_recipes(first, first).difference == (0, 0, 0)


def test_a_fraction_of_a_few_that_are_all_right_is_not_certain():
    assert wilson(np.array([True] * 15)) == pytest.approx((1, 15 / (15 + 1.96**2), 1), abs=1e-4)
    assert wilson(np.array([False] * 5)) == pytest.approx((0, 0, 1.96**2 / (5 + 1.96**2)), abs=1e-4)
    assert paired_difference(0, 0, 15).low < -0.05 < 0.05 < paired_difference(0, 0, 15).high
    perfect = class_intervals(np.diag([15, 15]))
    assert mean_of(perfect["f1"]).low < 0.95


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_is_scipys(hits, more):
    theirs = binomtest(hits, hits + more).proportion_ci(0.95, "wilson")
    assert wilson_of(hits, hits + more)[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_the_difference_of_two_fractions():
    """56 of 70 and 48 of 80, example (a) of Newcombe 1998, Statistics in Medicine 17, 873-890."""
    ones, others = np.arange(70) < 56, np.arange(80) < 48
    assert difference(wilson(ones), wilson(others)) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_classes_by_hand():
    """Class 0: 2 of 3 found, one more called so; class 2 never occurs."""
    counts = confusion(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 0, 1]), 3)
    figures = class_figures(counts)
    assert figures.f1[:2] == pytest.approx([2 / 3, 1 / 2])
    assert np.isnan(figures.f1[2])
    assert (figures.macro_f1, figures.balanced_accuracy) == pytest.approx(
        ((2 / 3 + 1 / 2) / 2, (2 / 3 + 1 / 2) / 2)
    )
    found = class_intervals(counts)
    assert found["f1"][0].value == pytest.approx(2 / 3)
    assert found["recall"][0] == wilson_of(2, 3)
    assert found["precision"][2] is None


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_the_first_rank_is_the_answer_and_ties_share_no_rank(seed, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (23, 5)).astype(np.float32)
    each = np.stack([ranks(scores, np.full(23, label)) for label in range(5)], axis=1)
    assert (np.sort(each, axis=1) == np.arange(5)).all()
    assert (each.argmin(axis=1) == scores.argmax(axis=1)).all()
    assert (np.diff(np.take_along_axis(scores, each.argsort(axis=1), axis=1), axis=1) <= 0).all()


def test_a_bin_holds_its_upper_edge():
    assert confidence_bins(np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 0.99, 1.0])).tolist() == [0, 0, 1, 14, 14]


def test_mcnemar_by_hand():
    """Of 6 deciding images the first wins 5: 2 (1 + 6) / 64; mid-p counts this very outcome half."""
    assert mcnemar(5, 1) == pytest.approx((14 / 64, 14 / 64 - 6 / 64))
    assert mcnemar(1, 5) == mcnemar(5, 1)
    assert mcnemar(0, 5) == pytest.approx((2 / 32, 1 / 32))
    assert mcnemar(3, 3) == pytest.approx((1, 1 - 20 / 64 / 2))
    assert mcnemar(0, 0) == (1, 1), "right on the same images: no sign of a difference"


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test(a, b):
    exact, mid = mcnemar(a, b)
    wanted = binomtest(a, a + b).pvalue if a + b else 1
    assert exact == pytest.approx(wanted, rel=1e-6, abs=1e-300)
    assert 0 <= mid <= exact <= 1
    whole = comb(a + b, min(a, b)) / 2 ** (a + b)
    assert mid == pytest.approx(exact - whole * (0 if a == b == 0 else 0.5 if a == b else 1), abs=1e-12)


def test_holm_by_hand():
    """Sorted: 0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06, no less than the one before; 0.5 x 1."""
    assert holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.4, 0.5]) == pytest.approx([0.8, 0.8])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_lies_between_none_and_bonferroni(raw):
    corrected = holm(raw)
    for p, q in zip(raw, corrected, strict=True):
        assert p <= q <= min(1, len(raw) * p) + 1e-12 or q == pytest.approx(max(corrected))
    order = np.argsort(raw, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_resamples_of_a_confusion_matrix_are_those_of_its_images():
    """Of 7 images: the mean of a cell is its count, its variance n p (1 - p), and each resample has 7 images."""
    counts = np.array([[3, 1], [0, 3]])
    drawn = resampled_confusion(counts)
    assert (drawn[0] == counts).all()
    assert (drawn.sum(axis=(1, 2)) == 7).all()
    assert drawn[1:].mean(axis=0) == pytest.approx(counts, abs=0.15)
    assert drawn[1:].var(axis=0) == pytest.approx(counts * (1 - counts / 7), abs=0.2)


def test_the_interval_of_very_many_images_needs_no_row_for_each():
    figure = balanced_accuracy(resampled_confusion(np.array([[8, 2], [1, 9]]) * 10**12))
    assert tuple(figure) == pytest.approx((0.85, 0.85, 0.85), abs=1e-5)


def test_the_same_seed_the_same_draws():
    parts = np.random.default_rng(0).normal(size=(31, 2))
    assert (bootstrap(parts) == bootstrap(parts)).all()
    assert (bootstrap(parts) != bootstrap(parts, seed=1))[1:].any()


def test_an_interval_of_a_difference_of_shares_ends_at_one():
    first = np.array([[1, 1, 1], [1, 1, 0]], bool)
    second = np.array([[0, 0, 0], [0, 1, 0]], bool)
    found = compare_recipes(first, second)
    assert (found.difference.value, found.difference.high) == (pytest.approx(2 / 3), 1)
