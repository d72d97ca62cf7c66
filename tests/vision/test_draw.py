"""Annotation stays inside the picture and leaves the original alone."""

from __future__ import annotations

import numpy as np
import pytest

from mien.results import FaceResult, ImageResult
from mien.vision.draw import annotate


def result(*boxes, label="happy") -> ImageResult:
    return ImageResult("x", 0, 0, tuple(FaceResult(box, label, {label: 0.91}) for box in boxes))


@pytest.mark.parametrize("box", [(20, 40, 90, 110), (-30, -20, 30, 40), (150, 0, 260, 90), (3, 3, 6, 6)])
@pytest.mark.parametrize("shape", [(120, 200, 3), (7, 5, 3), (1000, 30, 3)])
def test_any_box_in_any_picture(box, shape):
    image = np.full(shape, 128, np.uint8)
    drawn = annotate(image, result(box))
    assert drawn.shape == shape
    assert (image == 128).all()


def test_box_and_tag_are_drawn():
    drawn = annotate(np.zeros((300, 300, 3), np.uint8), result((100, 150, 200, 250)))
    assert drawn[200, 100].max() > 150  # left edge of the box
    assert drawn[135:148, 105:190].max() > 150  # the tag above it
    assert drawn[200, 150].max() == 0  # the face itself stays free
    other = annotate(np.zeros((300, 300, 3), np.uint8), result((100, 150, 200, 250), label="bored"))
    assert (other != drawn).any()


def test_nothing_found_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
    assert (annotate(image, result()) == image).all()
