"""Duplicates: the last pixel counts, and a key on disk is five bytes."""

from __future__ import annotations

import hashlib

import numpy as np

from mien.data.duplicates import are_duplicates, from_bytes, picture_keys, to_bytes

PICTURES = np.random.default_rng(0).integers(0, 256, (7, 5, 5, 1), np.uint8)


def test_one_pixel_makes_another_picture():
    changed = PICTURES.copy()
    changed[3, 4, 4, 0] ^= 1
    assert are_duplicates(changed, picture_keys(PICTURES)).tolist() == [True] * 3 + [False] + [True] * 3


def test_a_key_is_forty_bits_of_a_sha256():
    digest = hashlib.sha256(PICTURES[2].tobytes()).digest()
    assert picture_keys(PICTURES)[2] == int.from_bytes(digest[:5], "big")
    view = PICTURES[:, ::-1][:, ::-1]  # the bytes of the pixels, not of the memory
    np.testing.assert_array_equal(picture_keys(view), picture_keys(PICTURES))


def test_a_set_on_disk():
    keys = picture_keys(PICTURES[[0, 1, 1, 5]])
    content = to_bytes(keys)
    assert len(content) == 3 * 5
    assert from_bytes(content).tolist() == sorted(set(keys.tolist()))
    assert from_bytes(b"").tolist() == []
    assert are_duplicates(PICTURES, from_bytes(content)).tolist() == [
        True,
        True,
        False,
        False,
        False,
        True,
        False,
    ]
