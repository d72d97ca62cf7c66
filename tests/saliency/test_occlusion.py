"""Occlusion maps of classifiers that are known to look at one place."""

from __future__ import annotations

import numpy as np
import pytest

from mien.saliency.draw import AGAINST, FOR, overlay, strength
from mien.saliency.occlusion import PLACES, Deepest, Occlusion, occlusion, upsampled
from tests.fakes import ConstantClassifier


class Spot(ConstantClassifier):
    """Is as sure of ``happy`` as one place of the crop is bright."""

    def __init__(self, row, column, **preprocess):
        super().__init__((0.0, 0.0), ("sad", "happy"), **preprocess)
        self.row, self.column, self.calls = row, column, 0

    def logits(self, crops):
        self.calls += len(crops)
        bright = crops[:, self.row, self.column, 0].astype(np.float32) / 32
        return np.stack([np.zeros_like(bright), bright - 4], axis=1)


def dotted(side, row, column, channels=1):
    """Return a dark crop with one bright square, which the blur dims."""
    crop = np.zeros((side, side, channels), np.uint8)
    crop[row - 1 : row + 2, column - 1 : column + 2] = 255
    return crop


@pytest.mark.parametrize(
    ("row", "column", "where"),
    [(8, 8, "upper left"), (24, 40, "right"), (40, 24, "lower middle"), (24, 24, "centre")],
)
def test_the_map_is_highest_where_the_classifier_looks(row, column, where):
    classifier = Spot(row, column, size_px=48)
    one, two = occlusion(classifier, np.stack([dotted(48, row, column), np.zeros((48, 48, 1), np.uint8)]))
    most = one.deepest(1)
    assert most.where == where
    assert abs(most.y * 47 - row) <= 2.1, "the nearest centre of the patch, which are 3.9 pixels apart"
    assert abs(most.x * 47 - column) <= 2.1
    assert most.fall > 0.8
    np.testing.assert_allclose(one.falls[..., 0], -one.falls[..., 1], atol=1e-6)
    far = np.hypot(*(np.indices((48, 48)) - np.array([row, column])[:, None, None])) > 16
    assert np.abs(one.map(1, 48)[far]).max() < 0.02, "the patch ends 8 pixels from its centre"
    assert not two.falls.any(), "nothing can be hidden in an even crop"
    assert classifier.calls == 2 * (PLACES**2 + 1)


def test_any_size_and_colour_and_a_constant_classifier():
    crops = np.random.default_rng(0).integers(0, 256, (2, 31, 31, 3), np.uint8)
    for one in occlusion(ConstantClassifier(size_px=31, channels=3), crops):
        assert one.falls.shape == (PLACES, PLACES, 2)
        assert not one.falls.any()
        assert one.probs == pytest.approx([0.1192, 0.8808], abs=1e-4)
        assert one.map(0, 31).shape == (31, 31)


def test_a_rise_is_negative_and_no_place_lowers():
    falls = np.full((PLACES, PLACES, 1), -0.25, np.float32)
    falls[3, 12] = -0.5
    one = Occlusion(np.float32([0.5]), falls)
    assert one.deepest(0).fall == -0.25
    assert one.map(0, 25)[6, 24] == -0.5, "row 3 of 13 lies at pixel 6 of 25"


def test_between_centres_the_map_is_linear():
    grid = np.zeros((PLACES, PLACES))
    grid[0, 0] = 1
    large = upsampled(grid, 49)
    assert large[0, :5].tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert large[2, 2] == 0.25


@pytest.mark.parametrize(
    ("x", "y", "where"),
    [(0, 0, "upper left"), (1, 1, "lower right"), (0.5, 0, "upper middle"), (0, 0.5, "left")],
)
def test_places_in_words(x, y, where):
    assert Deepest(0.1, x, y).where == where


def test_colours_say_the_direction_and_small_changes_stay_pale():
    crop = np.full((4, 4, 1), 128, np.uint8)
    change = np.zeros((4, 4), np.float32)
    change[0, 0], change[3, 3] = 0.01, -0.01
    assert strength(change) == 0.05
    assert strength(10 * change) == pytest.approx(0.1)
    full = overlay(crop, 10 * change, 0.1, 4).astype(int)
    pale = overlay(crop, change, 0.05, 4).astype(int)
    assert full[0, 0].tolist() == np.rint(0.25 * 128 + 0.75 * FOR).astype(int).tolist()
    assert full[3, 3].tolist() == np.rint(0.25 * 128 + 0.75 * AGAINST).astype(int).tolist()
    assert full[1, 1].tolist() == [128] * 3
    assert np.abs(pale[0, 0] - 128).max() < 0.25 * np.abs(full[0, 0] - 128).max()
