"""Colours of emotions: the same everywhere, told apart by every reader, seen on white and on black."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mien.labels import EMOTIONS_8
from mien.palette import EMOTIONS_RGB, SERIES_HEX, colours, hex_code

SIGHT = {  # Machado et al. 2009, severity 1, on linear RGB
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
TO_LMS = [
    [0.4122215, 0.5363325, 0.0514460],
    [0.2119035, 0.6806995, 0.1073970],
    [0.0883025, 0.2817188, 0.6299787],
]
TO_LAB = [
    [0.2104543, 0.7936178, -0.0040720],
    [1.9779985, -2.4285922, 0.4505937],
    [0.0259040, 0.7827718, -0.8086758],
]


def linear(rgb) -> np.ndarray:
    c = np.array(rgb) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def oklab(rgb, sight: str) -> np.ndarray:
    return TO_LAB @ np.cbrt(TO_LMS @ (np.array(SIGHT[sight]) @ linear(rgb)).clip(0, 1))


def test_every_emotion_has_a_colour_of_its_own():
    assert set(EMOTIONS_RGB) == set(EMOTIONS_8)
    assert len(set(EMOTIONS_RGB.values())) == 8


@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_emotions_are_told_apart(sight):
    seen = {name: oklab(rgb, sight) for name, rgb in EMOTIONS_RGB.items()}
    least, pair = min((np.linalg.norm(seen[a] - seen[b]), (a, b)) for a, b in combinations(seen, 2))
    assert least > 0.095, pair  # the colours before these had 0.008 (protan)


@pytest.mark.parametrize("name", EMOTIONS_8)
def test_colours_show_on_white_and_on_nearly_black(name):
    luminance = linear(EMOTIONS_RGB[name]) @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) >= 2
    assert (luminance + 0.05) / (0.009 + 0.05) >= 2


def test_an_emotion_keeps_its_colour_in_any_label_set_and_under_any_name():
    red = EMOTIONS_RGB["angry"]
    assert colours(["bored", "angry"])["angry"] == red
    assert colours(["Anger", "x"])["Anger"] == red


def test_other_labels_take_colours_that_are_left():
    found = colours(["happy", "bored", "tired", "angry"])
    assert list(found) == ["happy", "bored", "tired", "angry"]
    assert len(set(found.values())) == 4
    assert found["bored"] == EMOTIONS_RGB["disgust"]  # the first that neither happy nor angry has
    assert colours(["happy", "bored", "tired", "angry"]) == found


def test_more_labels_than_colours_come_round_again():
    found = colours([f"class {number}" for number in range(11)])
    assert found["class 8"] == found["class 0"] != found["class 1"]
    assert set(colours([*EMOTIONS_8, "bored"])) == {*EMOTIONS_8, "bored"}


def test_hex():
    assert hex_code((1, 35, 255)) == "#0123ff"
    assert len(set(SERIES_HEX)) == len(SERIES_HEX) == 8
