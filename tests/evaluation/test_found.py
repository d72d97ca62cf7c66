"""Faces as a detector finds them: pairs by overlap, passers-by, and what is missed."""

from __future__ import annotations

import numpy as np
import pytest

from mien.data.reading import Reading
from mien.errors import DataError, ImageError
from mien.evaluation.found import find_faces, matched
from mien.preprocess import Preprocess
from mien.results import Face
from tests.fakes import FixedDetector

SPEC = Preprocess(size_px=8)


def faces(*boxes) -> list[Face]:
    return [Face(box) for box in boxes]


def test_the_closest_pairs_first_and_half_of_the_union_at_least():
    labelled = np.float32([[0, 0, 10, 10], [100, 0, 110, 10], [200, 0, 210, 10]])
    seen = faces((1, 0, 11, 10), (0, 0, 10, 10), (206, 0, 216, 10), (103, 0, 113, 10))
    assert sorted(matched(labelled, seen)) == [(0, 1), (1, 3)], "4 of 16 is too little, 7 of 13 is enough"
    assert matched(labelled, []) == []
    assert matched(labelled[:0], seen) == []


def reading(n_photos: int, boxes=None, photos=None, channels: int = 1) -> Reading:
    n = n_photos if boxes is None else len(boxes)
    columns = {} if photos is None else {"photo": np.array(photos)}
    return Reading(
        source="album",
        ids=[f"{row}.jpg" for row in range(n)],
        splits=["test"] * n,
        classes=("happy", "sad"),
        targets=np.eye(2, dtype=np.float32)[np.arange(n) % 2],
        picture=lambda row: np.full((40, 60, channels), 10 * row, np.uint8),
        boxes=None if boxes is None else np.float32(boxes),
        columns=columns,
    )


def test_the_largest_face_has_the_photos_label():
    result = find_faces(reading(3), FixedDetector((0, 0, 5, 5), (10, 10, 30, 30)), SPEC)
    assert (len(result.found), len(result.missed), result.photos, result.extra) == (3, 0, 3, 3)
    assert result.found.images[2].mean() == 20
    assert result.found.ids == ("0.jpg", "1.jpg", "2.jpg")


def test_a_box_for_each_face_of_a_photo():
    boxes = [(0, 0, 10, 10), (20, 20, 30, 30), (0, 0, 10, 10)]
    album = reading(0, boxes, photos=["a", "a", "b"], channels=3)
    result = find_faces(album, FixedDetector((0, 0, 10, 10), (40, 0, 50, 10)), SPEC)
    assert result.found.ids == ("0.jpg", "2.jpg")
    assert result.missed.ids == ("1.jpg",)
    assert result.missed.truth.tolist() == [1]
    assert (result.photos, result.extra) == (2, 2)


def test_no_face_at_all():
    result = find_faces(reading(2), FixedDetector(), SPEC)
    assert (len(result.found), len(result.missed)) == (0, 2)


def test_a_photo_that_cannot_be_read():
    def broken(row):
        raise ValueError("cut off")

    album = reading(2)
    object.__setattr__(album, "picture", broken)
    with pytest.raises(DataError, match=r"0\.jpg of album cannot be read: cut off"):
        find_faces(album, FixedDetector(), SPEC)


def test_a_photo_that_the_detector_cannot_work_on():
    class Refusing(FixedDetector):
        def detect(self, image_rgb_u8):
            raise ImageError("too flat")

    with pytest.raises(DataError, match=r"0\.jpg of album: too flat"):
        find_faces(reading(2), Refusing(), SPEC)
