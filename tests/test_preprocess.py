"""The one rule from crop to input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from mien.preprocess import CropRule, Preprocess


def test_grey_by_hand():
    image = np.zeros((11, 11, 3), np.uint8)
    image[:] = (200, 100, 50)
    grey = Preprocess(size_px=11).fit(image)
    assert grey.shape == (11, 11, 1)
    assert (grey == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()


def test_grey_pictures_stay_exactly_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 1), np.uint8)
    assert (Preprocess().fit(image) == image).all()
    assert (Preprocess().fit(np.repeat(image, 3, axis=2)) == image).all()
    assert (Preprocess(channels=3).fit(image) == np.repeat(image, 3, axis=2)).all()


@pytest.mark.parametrize("side", [7, 48, 101])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_becomes_the_input_size(side, channels):
    image = np.random.default_rng(0).integers(0, 256, (side, side + 6, 3), np.uint8)
    assert Preprocess(size_px=13, channels=channels).fit(image).shape == (13, 13, channels)


def test_area_averages_when_shrinking():
    image = np.zeros((26, 26, 1), np.uint8)
    image[::2] = 200
    assert (Preprocess(size_px=13).fit(image) == 100).all()


def test_normalise_by_hand():
    crops = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    out = Preprocess(size_px=8, mean=(0.5,), std=(0.25,)).normalise(crops)
    assert out.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(out.ravel(), [-2, -1.2, 2], rtol=1e-6)


def test_normalise_each_channel_with_its_own_numbers():
    spec = Preprocess(size_px=8, channels=3, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    out = spec.normalise(np.full((2, 8, 8, 3), 255, np.uint8))
    assert out.shape == (2, 3, 8, 8)
    np.testing.assert_allclose(out[0, :, 0, 0], [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean needs 1 value for channels = 1, got 2"),
        ({"std": (0.0,)}, "std must be positive"),
        ({"size_px": 4}, "greater than or equal to 8"),
        ({"colour": "grey"}, "Extra inputs"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        Preprocess(**options)


def test_one_side_grows_while_the_other_shrinks_linearly():
    """OpenCV's area mode would repeat whole pixels of the side that grows."""
    image = np.repeat(np.array([[0], [200]], np.uint8)[..., None], 100, axis=1)
    column = Preprocess(size_px=8).fit(image)[:, 0, 0].astype(int)
    assert (np.diff(column) >= 0).all()
    assert len(set(column.tolist())) > 3


def test_a_crop_rule_that_is_not_named_keeps_its_default():
    spec = Preprocess(crops={"haar": CropRule(scale=2.0)})
    assert spec.crops["haar"].scale == 2.0
    assert spec.crops["yunet"] == Preprocess().crops["yunet"]


def test_json_round_trip():
    spec = Preprocess(channels=3, crops={"haar": CropRule(side="height", scale=1.2)})
    assert Preprocess.model_validate(json.loads(spec.model_dump_json())) == spec
