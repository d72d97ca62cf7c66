"""Mean occlusion maps of each class, from a classifier that is known to look at one place."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien.classifiers import probabilities
from mien.data.dataset import FaceDataset, one_hot
from mien.evaluation.why import EACH, mean_maps
from tests.saliency.test_occlusion import Spot, dotted


def test_mean_maps_take_correct_predictions_alone():
    spot = Spot(36, 24, size_px=48)
    lit, dark = dotted(48, 36, 24), np.zeros((48, 48, 1), np.uint8)
    images = np.stack([lit] * 23 + [dark] * 4 + [lit])
    truth = np.array([1] * 23 + [0] * 3 + [1, 0])  # rows 26 and 27 are predicted wrongly
    rows = FaceDataset(
        images, one_hot(truth, 2), tuple(map(str, range(28))), np.full(28, "test"), spot.id.labels
    )
    probs = probabilities(spot.logits(images))
    spot.calls = 0
    section = mean_maps(spot, rows, probs)
    assert [row[:2] for row in section.rows] == [("sad", 3), ("happy", EACH)]
    assert spot.calls == 23 * 170
    sad, happy = section.rows
    assert happy[2] == pytest.approx(float(probs[0, 1]))
    assert happy[2] - happy[3] > 0.8
    assert happy[4] == "lower middle"
    assert sad[2] == pytest.approx(sad[3]), "an even crop has nothing to hide"
    assert "happy" in section.drawings[0].alt
    json.dumps(section.to_dict())
    none = mean_maps(spot, rows, 1 - probs)
    assert [row[1] for row in none.rows] == [1, 1]
    assert mean_maps(spot, rows.take(np.array([26, 27])), probs[26:]).drawings == ()
