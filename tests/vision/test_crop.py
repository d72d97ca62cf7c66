"""From a box to the crop, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.preprocess import Preprocess
from mien.results import Face
from mien.vision.crop import DEFAULT_VIEWS, VIEWS, FrameRule, around, crop_faces, cut

number = st.floats(-500, 500)
side = st.floats(1, 500)


def test_a_rule_by_hand():
    rule = FrameRule(side="height", scale=0.5, shift_x=0.1, shift_y=-0.2)
    assert rule.place((10, 20, 30, 60)) == (14, 22, 34, 42)  # centre 20, 40; base 40; side 20


@given(number, number, side, side, st.sampled_from(["width", "height"]), st.floats(0.2, 3))
def test_every_frame_is_a_square_around_the_centre(x, y, w, h, base, scale):
    box = FrameRule(side=base, scale=scale).place((x, y, x + w, y + h))
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


@pytest.mark.parametrize("upright", [False, True])
def test_a_picture_of_one_line_as_a_face_takes_little_memory(monkeypatch, upright):
    """The square around it has the square of its pixels: a PNG of 100 bytes could fill the memory."""
    line = np.linspace(0, 255, 4801).astype(np.uint8)[None, :, None].repeat(3, axis=2)
    image = line.transpose(1, 0, 2) if upright else line
    box = (0.0, 0.0, float(image.shape[1]), float(image.shape[0]))
    plain = crop_faces(image, [Face(box)], Preprocess())
    monkeypatch.setattr("mien.vision.crop.PIXEL_LIMIT", 1_000_000, raising=False)
    assert cut(image, around(box)).size <= 3 * 1_000_000
    assert np.abs(crop_faces(image, [Face(box)], Preprocess()).astype(int) - plain).max() <= 3


def test_no_face_gives_no_crop():
    assert crop_faces(np.zeros((9, 9, 3), np.uint8), [], Preprocess()).shape == (0, 48, 48, 1)


def test_without_a_frame_a_face_is_the_square_around_its_box():
    assert around((10, 20, 30, 60)) == (0, 20, 40, 60)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    spec = Preprocess(size_px=16, channels=3)
    stated, square = crop_faces(
        image, [Face((0, 0, 9, 9), None, "x", (24, 24, 40, 40)), Face((10, 8, 30, 40))], spec
    )
    assert (stated == image[24:40, 24:40]).all()
    assert (square == spec.fit(image[8:40, 4:36])).all()


def test_margin_and_zoom_change_the_side_around_the_same_centre():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    face = [Face((24, 24, 40, 40))]
    wide = Preprocess(size_px=16, channels=3, margin=0.25)  # 16 + 2 * 4 = 24
    assert (crop_faces(image, face, wide)[0] == wide.fit(image[20:44, 20:44])).all()
    assert (crop_faces(image, face, wide, zoom=1.5)[0] == image[24:40, 24:40]).all()


def test_a_cut_keeps_the_channels():
    image = np.random.default_rng(0).integers(0, 256, (11, 13, 1), np.uint8)
    assert cut(image, (-2.4, -1, 5, 6)).shape == (7, 7, 1)
    assert (cut(image, (2, 3, 7, 8)) == image[3:8, 2:7]).all()


def test_the_views_of_a_number_are_that_many_and_hold_the_frame_as_it_is():
    for number, zooms in VIEWS.items():
        assert number == (1 if number == 1 else 2 * len(set(zooms)))
        assert 1.0 in zooms
    assert DEFAULT_VIEWS in VIEWS
