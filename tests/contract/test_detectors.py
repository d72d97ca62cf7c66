"""What every detector of the catalog must keep, and `auto` with each that it may choose."""

from __future__ import annotations

import numpy as np
import pytest

from mien.detectors import CATALOG, DETECTORS, Auto, FaceDetector, advice


def test_protocol(detector):
    assert isinstance(detector, FaceDetector)
    assert detector.name in CATALOG


def test_boxes_are_plain_floats_ordered_and_near_the_image(detector, photo):
    faces = detector.detect(photo)
    height, width = photo.shape[:2]
    assert faces
    assert [face.box_xyxy_px for face in faces] == sorted(face.box_xyxy_px for face in faces)
    for face in faces:
        left, top, right, bottom = face.box_xyxy_px
        assert -0.25 * width <= left < right <= 1.25 * width
        assert -0.25 * height <= top < bottom <= 1.25 * height
        assert {type(side) for side in face.box_xyxy_px} == {float}
        assert face.score is None or (type(face.score) is float and 0 <= face.score <= 1)
        assert face.detector == detector.name


def test_frames_are_squares_around_the_middle_of_the_box(detector, photo):
    for face in detector.detect(photo):
        if face.frame_xyxy_px is None:
            continue
        left, top, right, bottom = face.frame_xyxy_px
        assert {type(side) for side in face.frame_xyxy_px} == {float}
        assert right - left == pytest.approx(bottom - top)
        box = face.box_xyxy_px
        assert 1 <= (right - left) / (box[2] - box[0]) < 1.5
        for low in (0, 1):
            middle = sum(face.frame_xyxy_px[low::2]) / 2
            assert middle == pytest.approx(sum(box[low::2]) / 2, abs=0.05 * (right - left))


def test_the_same_photo_gives_the_same_faces_and_is_not_changed(detector, photo):
    given = photo.copy()
    first = detector.detect(given)
    assert first == detector.detect(given)
    assert (given == photo).all()


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (2, 300, 3), (300, 2, 3), (37, 41, 3), (67, 2003, 3), (1511, 7, 3)]
)
@pytest.mark.parametrize("content", ["black", "noise"])
def test_any_size_gives_an_answer_without_a_face(detector, shape, content):
    image = np.zeros(shape, np.uint8)
    if content == "noise":
        image[:] = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
    found = detector.detect(image)
    assert isinstance(found, list)
    if detector.name == "whole" or (isinstance(detector, Auto) and max(shape) <= 64):
        assert [face.detector for face in found] == ["whole"]
    else:
        assert found == []


def test_every_detector_says_what_it_is():
    assert ("auto", *CATALOG) == DETECTORS
    for name, entry in CATALOG.items():
        assert advice(name).startswith(f"detector: {name}, {entry.about}")
        assert entry.licence in {"MIT", "Apache-2.0", "BSD-3-Clause"}
