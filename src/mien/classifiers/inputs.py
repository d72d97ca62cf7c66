"""The one check of what is handed to a classifier; every classifier calls it first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import DataError

if TYPE_CHECKING:
    from mien.preprocess import Preprocess


def check_crops(crops: object, preprocess: Preprocess) -> None:
    """Refuse what is not an array of crops as `preprocess` fits them: u8 [n, s, s, c].

    Raises:
        DataError: says what came, and how to make crops of it.
    """
    wanted = (preprocess.size_px, preprocess.size_px, preprocess.channels)
    if not isinstance(crops, np.ndarray):
        came, advice = f"a {type(crops).__name__}", [_advice_for(crops)]
    elif crops.dtype == np.uint8 and crops.ndim == 4 and crops.shape[1:] == wanted:
        return
    else:
        came = f"{crops.dtype} {list(crops.shape)}"
        advice = [*_to_shape(crops.shape, wanted), *_to_bytes(crops)]
    raise DataError(
        f"expected crops as uint8 [n, {', '.join(map(str, wanted))}], got {came}: {' and '.join(advice)}"
    )


def _advice_for(other: object) -> str:
    if isinstance(other, list | tuple):
        return "join them with np.stack"
    return "convert it to a NumPy array"


def _to_shape(shape: tuple[int, ...], wanted: tuple[int, int, int]) -> list[str]:
    side, _, channels = wanted
    if shape[1:] == wanted and len(shape) == 4:
        return []
    if shape == wanted:
        return ["add the axis of images, crops[None]"]
    if shape[1:] == (channels, side, side):
        return ["move the channels last, crops.transpose(0, 2, 3, 1)"]
    if channels == 1 and shape == (side, side):
        return ["add the axes of images and channels, crops[None, :, :, None]"]
    if channels == 1 and shape[1:] == (side, side):
        return ["add the axis of channels, crops[..., None]"]
    return ["use classifier.preprocess.fit on each image"]


def _to_bytes(crops: np.ndarray) -> list[str]:
    if crops.dtype == np.uint8:
        return []
    if crops.dtype.kind not in "iufb" or not crops.size:
        return ["convert to uint8"]
    low, high = crops.min(), crops.max()
    if crops.dtype.kind in "fb" and low >= 0 and high <= 1:
        return ["multiply by 255 and convert to uint8"]
    if low >= 0 and high <= 255:
        return ["convert to uint8"]
    return [f"give pixels from 0 to 255 as uint8, not values from {low:g} to {high:g}"]
