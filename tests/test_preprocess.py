"""The one rule from crop to input."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
from pydantic import ValidationError

from mien.errors import ImageError
from mien.preprocess import Preprocess


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


def test_shape_is_kept_and_the_edge_continues():
    image = np.repeat(np.arange(0, 100, 10, dtype=np.uint8)[None, :, None], 26, axis=0)
    fitted = Preprocess(size_px=26).fit(image)[:, :, 0]
    assert (fitted == [*[0] * 8, *range(0, 100, 10), *[90] * 8]).all()
    half = Preprocess(size_px=13).fit(image)[:, :, 0]
    assert (half == [*[5] * 4, 5, 25, 45, 65, 85, *[85] * 4]).all()


def test_old_rules_for_detectors_are_dropped_only_where_they_say_what_the_detectors_say():
    old = {"haar": {"side": "width", "scale": 1.04, "shift_x": 0.0, "shift_y": 0.01},
           "yunet": {"side": "width", "scale": 1.3, "shift_x": -0.01, "shift_y": 0.02}}  # fmt: skip
    assert Preprocess.model_validate({"size_px": 64, "crops": old}) == Preprocess(size_px=64)
    old["haar"]["scale"] = 2.0
    with pytest.raises(ValidationError, match="a model no longer holds rules for each detector"):
        Preprocess.model_validate({"crops": old})


def test_json_round_trip():
    spec = Preprocess(channels=3, margin=0.1)
    assert Preprocess.model_validate(json.loads(spec.model_dump_json())) == spec


@pytest.mark.parametrize(
    "image",
    [np.zeros((48, 48), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((48, 48, 1), np.float32)],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(ImageError, match=r"expected an image of uint8 \[h, w, 1 or 3\], got "):
        inspect.unwrap(Preprocess.fit)(Preprocess(), image)  # without the check of types in tests
