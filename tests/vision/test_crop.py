"""From a box to the crop, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.preprocess import CropRule, Preprocess
from mien.results import Face
from mien.vision.crop import crop_box, crop_faces

number = st.floats(-500, 500)
side = st.floats(1, 500)


def test_a_rule_by_hand():
    rule = CropRule(side="height", scale=0.5, shift_x=0.1, shift_y=-0.2)
    assert crop_box((10, 20, 30, 60), rule) == (14, 22, 34, 42)  # centre 20, 40; base 40; side 20


@given(number, number, side, side, st.sampled_from(["width", "height"]), st.floats(0.2, 3))
def test_every_crop_is_a_square_around_the_centre(x, y, w, h, base, scale):
    box = crop_box((x, y, x + w, y + h), CropRule(side=base, scale=scale))
    assert box[2] - box[0] == pytest.approx(box[3] - box[1], abs=1e-6)
    assert (box[0] + box[2]) / 2 == pytest.approx(x + w / 2, abs=1e-6)
    assert (box[1] + box[3]) / 2 == pytest.approx(y + h / 2, abs=1e-6)


def test_crops_are_cut_where_the_box_is():
    image = np.zeros((31, 41, 3), np.uint8)
    image[7:15, 11:19] = 200
    crops = crop_faces(image, [Face((11, 7, 19, 15))], Preprocess(size_px=8))
    assert crops.shape == (1, 8, 8, 1)
    assert (crops == 200).all()


@pytest.mark.parametrize(
    "box", [(-9, -7, 3, 5), (35, 25, 60, 50), (-50, -50, -40, -40), (100, 90, 130, 120), (5, 5, 5, 5)]
)
def test_beyond_the_picture_its_edge_continues(box):
    image = np.random.default_rng(0).integers(0, 256, (31, 41, 3), np.uint8)
    assert crop_faces(image, [Face(box)], Preprocess(size_px=11)).shape == (1, 11, 11, 1)
    flat = np.full((31, 41, 3), 55, np.uint8)
    assert (crop_faces(flat, [Face(box)], Preprocess(size_px=11)) == 55).all()


def test_no_face_gives_no_crop():
    assert crop_faces(np.zeros((9, 9, 3), np.uint8), [], Preprocess()).shape == (0, 48, 48, 1)


def test_each_face_is_cut_by_the_rule_of_its_detector():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    spec = Preprocess(size_px=16, channels=3, crops={"haar": CropRule(scale=2.0)})
    box = (24.0, 24.0, 40.0, 40.0)
    by_rule, whole = crop_faces(image, [Face(box, detector="haar"), Face(box)], spec)
    assert (whole == image[24:40, 24:40]).all()
    assert (by_rule == spec.fit(image[16:48, 16:48])).all()
