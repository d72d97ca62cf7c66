"""From a detected box to the crop a network was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.preprocess import CropRule, Preprocess
    from mien.results import Face

Box = tuple[float, float, float, float]


def crop_box(box_xyxy_px: Box, rule: CropRule) -> Box:
    """Return the square that `rule` places in a detector's box."""
    left, top, right, bottom = box_xyxy_px
    base = right - left if rule.side == "width" else bottom - top
    x = (left + right) / 2 + rule.shift_x * base
    y = (top + bottom) / 2 + rule.shift_y * base
    half = rule.scale * base / 2
    return (x - half, y - half, x + half, y + half)


def crop_faces(
    image_rgb_u8: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face], preprocess: Preprocess
) -> UInt8[np.ndarray, "n s s c"]:
    """Cut each face as `preprocess` says for its detector; beyond the picture its edge pixels continue.

    A detector without a rule (``whole``) gives its box as it is.
    """
    size = preprocess.size_px
    crops = np.empty((len(faces), size, size, preprocess.channels), np.uint8)
    for crop, face in zip(crops, faces, strict=True):
        rule = preprocess.crops.get(face.detector)
        box = crop_box(face.box_xyxy_px, rule) if rule else face.box_xyxy_px
        crop[:] = preprocess.fit(_cut(image_rgb_u8, box))
    return crops


def _cut(image: UInt8[np.ndarray, "h w 3"], box: Box) -> UInt8[np.ndarray, "y x 3"]:
    height, width = image.shape[:2]
    left, top, right, bottom = (round(side) for side in box)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    inside = image[
        min(max(top, 0), height - 1) : max(min(bottom, height), 1),
        min(max(left, 0), width - 1) : max(min(right, width), 1),
    ]
    if inside.shape[:2] == (bottom - top, right - left):
        return inside
    pads = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    return cv2.copyMakeBorder(inside, *pads, cv2.BORDER_REPLICATE)
