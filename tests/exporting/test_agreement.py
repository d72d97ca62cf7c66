"""Agreement of two runtimes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mien.exporting.agreement import BOUNDS, EXACT, Bound, compare

LABELS = ("angry", "happy", "sad")
REFERENCE = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8]], np.float32
)
OTHER = REFERENCE.copy()
OTHER[3] = [0.3, 0.4, 0.3]  # the answer changes from angry to happy
TRUTH = np.array([0, 1, 2, 0, 1])


def test_figures_by_hand():
    found = compare(REFERENCE, OTHER, TRUTH, LABELS)
    assert (found.n, found.equal_labels, found.accuracy) == (5, 0.8, 0.6)
    assert found.change == pytest.approx(-0.2)
    assert found.max_probability_difference == pytest.approx(0.1)
    assert found.per_class_change == {"angry": -0.5, "happy": 0.0, "sad": 0.0}
    low, high = found.change_interval_95
    assert low < -0.5
    assert high > 0, "one change of five images may be chance"


def test_breaches_come_with_their_figures():
    found = compare(REFERENCE, OTHER, TRUTH, LABELS)
    assert found.breaches(BOUNDS["int8"]) == [
        "80.00% equal labels, the limit is 98.0%",
        "accuracy falls by 20.00 points, the limit is 0.3",
    ]
    assert "probabilities differ by up to 0.1, the limit is 0.0001" in found.breaches(EXACT)
    assert compare(REFERENCE, REFERENCE, TRUTH, LABELS).breaches(EXACT) == []
    broken = np.full_like(REFERENCE, np.nan)
    assert any("nan" in line for line in compare(REFERENCE, broken, None, LABELS).breaches(EXACT))
    lenient = Bound(equal_labels=0.0, drop=1.0)
    assert compare(REFERENCE, broken, None, LABELS).breaches(lenient) == [
        "some probabilities are not numbers"
    ]


def test_images_without_labels_have_no_accuracy():
    found = compare(REFERENCE, OTHER, None, LABELS)
    assert (found.accuracy, found.change, found.per_class_change) == (None, None, None)
    assert found.breaches(BOUNDS["fp16"]) == ["80.00% equal labels, the limit is 99.5%"]
