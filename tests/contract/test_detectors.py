"""What every detector must keep."""

from __future__ import annotations

import numpy as np
import pytest

from mien.detectors import FaceDetector, open_detector
from mien.vision import images


@pytest.fixture(params=["auto", "haar", "yunet", "whole"])
def detector(request) -> FaceDetector:
    return open_detector(
        request.param, request.getfixturevalue("yunet_weights") if request.param == "yunet" else None
    )


def test_protocol(detector):
    assert isinstance(detector, FaceDetector)


def test_boxes_are_ordered_and_inside_or_near_the_picture(detector, shared):
    image = images.read(shared / "photos" / "single_face.jpg")
    before = image.copy()
    height, width = image.shape[:2]
    (face,) = detector.detect(image)
    left, top, right, bottom = face.box_xyxy_px
    assert -0.25 * width <= left < right <= 1.25 * width
    assert -0.25 * height <= top < bottom <= 1.25 * height
    assert face.score is None or 0 <= face.score <= 1
    assert (image == before).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 300, 3), (300, 2, 3), (37, 41, 3)])
def test_any_size_gives_an_answer(detector, shape):
    assert isinstance(detector.detect(np.zeros(shape, np.uint8)), list)
