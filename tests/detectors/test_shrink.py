"""Panoramas in tiles, by hand: boxes come back in the image's own pixels, each face once."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.detectors.shrink import MOST_TILES, iou, merged, search, tile_spans
from mien.errors import ImageError
from mien.results import Face


def bright(image) -> list[Face]:
    """Find each block of bright pixels, with a frame one pixel wider than its box."""
    columns = image[..., 0].max(axis=0) > 200
    edges = np.flatnonzero(np.diff(np.concatenate([[0], columns.astype(int), [0]])))
    faces = []
    for left, right in edges.reshape(-1, 2).tolist():
        rows = np.flatnonzero(image[:, left:right, 0].max(axis=1) > 200)
        box = (float(left), float(rows[0]), float(right), float(rows[-1] + 1))
        faces.append(Face(box, 0.9, "bright", (box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1)))
    return faces


@given(st.integers(1, 40_000), st.integers(1, 3_000), st.integers(64, 1280))
def test_tiles_cover_the_longer_side_and_overlap_by_a_face(longer, shorter, most):
    longer = max(longer, shorter)
    spans = tile_spans(longer, shorter, most)
    assert (spans[0][0], spans[-1][1]) == (0, longer)
    for (_, stop), (start, _) in pairwise(spans):
        assert stop - start >= min(shorter, (spans[0][1]) // 2) - 1  # rounded starts
    if longer <= 3 * shorter or longer <= most:
        assert len(spans) == 1


@given(st.integers(1, 64_000_000), st.integers(64, 1280))
def test_a_picture_of_one_line_costs_a_bounded_number_of_searches(longer, most):
    shorter = max(1, min(longer, 64_000_000 // longer))
    spans = tile_spans(longer, shorter, most)
    assert len(spans) <= 2 * MOST_TILES + 1
    assert (spans[0][0], spans[-1][1]) == (0, longer)


def test_the_spans_by_hand():
    assert tile_spans(900, 300, 200) == [(0, 900)]
    assert tile_spans(1000, 300, 200) == [(0, 600), (200, 800), (400, 1000)]
    assert tile_spans(5000, 10, 1000) == [
        (0, 1000),
        (800, 1800),
        (1600, 2600),
        (2400, 3400),
        (3200, 4200),
        (4000, 5000),
    ]


def test_an_image_that_fits_is_given_as_it_is():
    image = np.zeros((31, 97, 3), np.uint8)
    image[5:12, 40:47] = 255
    assert [face.box_xyxy_px for face in search(image, 97, bright)] == [(40, 5, 47, 12)]


def test_a_large_image_is_given_small_and_its_faces_come_back_large():
    image = np.zeros((300, 400, 3), np.uint8)
    image[100:140, 200:240] = 255
    given_shapes = []

    def find(small):
        given_shapes.append(small.shape)
        return bright(small)

    (face,) = search(image, 100, find)
    assert given_shapes == [(75, 100, 3)]
    assert (face.box_xyxy_px, face.frame_xyxy_px) == ((200, 100, 240, 140), (196, 96, 244, 144))


@pytest.mark.parametrize("upright", [False, True])
def test_every_face_of_a_panorama_is_found_once_and_whole(upright):
    image = np.zeros((100, 2003, 3), np.uint8)
    boxes = [(left, 20.0, left + 60.0, 80.0) for left in (3.0, 181.0, 290.0, 903.0, 1420.0, 1940.0)]
    for left, top, right, bottom in boxes:
        image[int(top) : int(bottom), int(left) : int(right)] = 255
    if not upright:
        found = search(image, 200, bright)
        assert [face.box_xyxy_px for face in found] == boxes
        return
    tall = np.ascontiguousarray(image.transpose(1, 0, 2))

    def find(small):
        turned = bright(np.ascontiguousarray(small.transpose(1, 0, 2)))
        return [Face((b[1], b[0], b[3], b[2])) for b in (face.box_xyxy_px for face in turned)]

    found = search(tall, 200, find)
    assert sorted(face.box_xyxy_px[1] for face in found) == [box[0] for box in boxes]


def test_of_two_boxes_of_one_face_the_better_stays():
    worse, better = Face((0, 0, 10, 10), 0.7), Face((1, 0, 11, 10), 0.8)
    beside = Face((10, 0, 20, 10), 0.75)
    assert merged([worse, better, beside]) == [better, beside]


def test_iou_by_hand():
    assert iou((0, 0, 4, 2), (2, 0, 6, 2)) == pytest.approx(4 / 12)
    assert iou((0, 0, 4, 2), (4, 0, 6, 2)) == 0


def test_an_image_that_opencv_refuses_is_an_error_of_the_image():
    with pytest.raises(ImageError, match="OpenCV cannot work on this image"):
        search(np.zeros((11, 13, 3), np.uint8), 512, lambda image: cv2.resize(image, (0, 0)))
