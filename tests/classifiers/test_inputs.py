"""What is not an array of crops is refused in one line that says how to make one of it."""

from __future__ import annotations

import numpy as np
import pytest

from mien.classifiers.inputs import check_crops
from mien.errors import DataError
from mien.preprocess import Preprocess

GREY, COLOUR = Preprocess(size_px=13), Preprocess(size_px=13, channels=3)


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize(
    ("crops", "preprocess"),
    [(pixels(7, 13, 13, 1), GREY), (pixels(0, 13, 13, 1), GREY), (pixels(5, 13, 13, 3), COLOUR)],
)
def test_crops_are_taken(crops, preprocess):
    check_crops(crops, preprocess)


REFUSED = [
    (pixels(7, 13, 13, 1) / 255, GREY, r"float64 \[7, 13, 13, 1\]: multiply by 255 and convert to uint8"),
    (pixels(7, 13, 13, 1) > 9, GREY, r"bool \[7, 13, 13, 1\]: multiply by 255 and convert to uint8"),
    (pixels(7, 13, 13, 1, dtype=np.float32), GREY, r"float32 \[7, 13, 13, 1\]: convert to uint8"),
    (pixels(7, 13, 13, 1, dtype=int), GREY, r"int64 \[7, 13, 13, 1\]: convert to uint8"),
    (np.full((2, 13, 13, 1), 1), GREY, r"int64 \[2, 13, 13, 1\]: convert to uint8"),
    (np.full((2, 13, 13, 1), 4095, np.uint16), GREY,
     r"uint16 \[2, 13, 13, 1\]: give pixels from 0 to 255 as uint8, not values from 4095 to 4095"),
    (np.full((2, 13, 13, 1), -1.5), GREY,
     r"float64 \[2, 13, 13, 1\]: give pixels from 0 to 255 as uint8, not values from -1\.5 to -1\.5"),
    (np.full((2, 13, 13, 1), np.nan), GREY,
     r"float64 \[2, 13, 13, 1\]: give pixels from 0 to 255 as uint8, not values from nan to nan"),
    (np.empty((0, 13, 13, 1)), GREY, r"float64 \[0, 13, 13, 1\]: convert to uint8"),
    (np.empty((2, 13, 13, 1), object), GREY, r"object \[2, 13, 13, 1\]: convert to uint8"),
    (pixels(7, 13, 13), GREY, r"uint8 \[7, 13, 13\]: add the axis of channels, crops\[\.\.\., None\]"),
    (pixels(13, 13), GREY, r"uint8 \[13, 13\]: add the axes of images and channels, crops\[None, :, :, None\]"),
    (pixels(13, 13, 1), GREY, r"uint8 \[13, 13, 1\]: add the axis of images, crops\[None\]"),
    (pixels(13, 13, 3), COLOUR, r"uint8 \[13, 13, 3\]: add the axis of images, crops\[None\]"),
    (pixels(7, 1, 13, 13), GREY, r"uint8 \[7, 1, 13, 13\]: move the channels last, crops\.transpose\(0, 2, 3, 1\)"),
    (pixels(7, 3, 13, 13), COLOUR,
     r"uint8 \[7, 3, 13, 13\]: move the channels last, crops\.transpose\(0, 2, 3, 1\)"),
    (pixels(7, 17, 17, 1), GREY, r"uint8 \[7, 17, 17, 1\]: use classifier\.preprocess\.fit on each image"),
    (pixels(7, 13, 13, 3), GREY, r"uint8 \[7, 13, 13, 3\]: use classifier\.preprocess\.fit on each image"),
    (pixels(7, 13, 13), COLOUR, r"uint8 \[7, 13, 13\]: use classifier\.preprocess\.fit on each image"),
    (pixels(169), GREY, r"uint8 \[169\]: use classifier\.preprocess\.fit on each image"),
    (pixels(7, 13, 13) / 255, GREY,
     r"float64 \[7, 13, 13\]: add the axis of channels, crops\[\.\.\., None\] and multiply by 255 and convert to "
     r"uint8"),
    ([pixels(13, 13, 1)], GREY, "a list: join them with np.stack"),
    ((), GREY, "a tuple: join them with np.stack"),
    (None, GREY, "a NoneType: convert it to a NumPy array"),
    ("face.jpg", GREY, "a str: convert it to a NumPy array"),
]  # fmt: skip


@pytest.mark.parametrize(("crops", "preprocess", "message"), REFUSED)
def test_what_is_refused(crops, preprocess, message):
    wanted = rf"^expected crops as uint8 \[n, 13, 13, {preprocess.channels}\], got {message}$"
    with pytest.raises(DataError, match=wanted):
        check_crops(crops, preprocess)


def test_the_advice_works():
    for crops, mend in [
        (pixels(7, 13, 13), lambda crops: crops[..., None]),
        (pixels(13, 13), lambda crops: crops[None, :, :, None]),
        (pixels(13, 13, 1), lambda crops: crops[None]),
        (pixels(7, 1, 13, 13), lambda crops: crops.transpose(0, 2, 3, 1)),
        ([pixels(13, 13, 1)] * 3, np.stack),
        (pixels(7, 17, 17, 1), lambda crops: np.stack([GREY.fit(one) for one in crops])),
        (pixels(7, 13, 13, 1) / 255, lambda crops: (crops * 255).astype(np.uint8)),
    ]:
        check_crops(mend(crops), GREY)
