"""From a detected face to the crop that a network takes: squares in an image, never stretched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from mien.vision.images import PIXEL_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

    from mien.preprocess import Preprocess
    from mien.results import Box, Face, FaceResult

VIEWS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0,),
    6: (0.91, 1.0, 1.11),
    10: (0.91, 0.95, 1.0, 1.05, 1.11),
}
"""Number of views of a face -> their zooms; every crop comes with its mirror image, except for the single view.

On photos of another source, a wider range of zooms had lower accuracy and higher log-loss.
"""
DEFAULT_VIEWS = 1
"""More views gain little (`benchmarks/views.py --photos other_world.zip --yunet WEIGHTS`; `mien_nano`, 7 classes): on
YuNet's 459 faces 67.8 % with 1 view, then +0.7 +- 1.1 points with 2, +1.3 +- 1.2 with 6, +1.5 +- 1.2 with 10; on the
cascade's 447 faces 68.5 %, +1.1 +- 1.1, +1.1 +- 1.3, +0.2 +- 1.3. The log-loss falls by .03 to .05. Two views take
half as much time again, six views four times the time of one."""


class FrameRule(NamedTuple):
    """From a detector's box to the face frame, the square that FER2013's crops show, around a shifted centre."""

    side: Literal["width", "height"] = "width"
    """The side of the box that varies less between faces; the unit of the other numbers."""
    scale: float = 1.0
    """Side of the frame, in sides of the box."""
    shift_x: float = 0.0
    """Shift of the centre to the right, in sides of the box."""
    shift_y: float = 0.0
    """Shift of the centre downwards, in sides of the box."""

    def place(self, box_xyxy_px: Box) -> Box:
        """Return the frame of a box, in the same pixels."""
        left, top, right, bottom = box_xyxy_px
        base = right - left if self.side == "width" else bottom - top
        x, y = (left + right) / 2 + self.shift_x * base, (top + bottom) / 2 + self.shift_y * base
        return _square(x, y, self.scale * base)


def around(box_xyxy_px: Box) -> Box:
    """Return the square around a box: the same centre, the longer side."""
    left, top, right, bottom = box_xyxy_px
    return _square((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top))


def crop_faces(
    image_rgb_u8: UInt8[np.ndarray, "h w 3"],
    faces: Sequence[Face],
    preprocess: Preprocess,
    *,
    zoom: float = 1.0,
) -> UInt8[np.ndarray, "n s s c"]:
    """Cut each face's frame with the margin that the model wants; beyond the image its edge pixels continue.

    `zoom` above 1 shows less of the face's surroundings, below 1 more. It does not apply to an image that is
    a face as a whole (detector `whole`), which has no surroundings.
    """
    size = preprocess.size_px
    crops = np.empty((len(faces), size, size, preprocess.channels), np.uint8)
    for crop, face in zip(crops, faces, strict=True):
        frame = frame_of(face, preprocess.margin, 1 if face.detector == "whole" else zoom)
        crop[:] = preprocess.fit(cut(image_rgb_u8, frame))
    return crops


def frame_of(face: Face | FaceResult, margin: float = 0.0, zoom: float = 1.0) -> Box:
    """Return the square that is cut for a face: its frame, else the square around its box, with a margin.

    `margin` is on every side, as a fraction of the frame's side.
    """
    left, top, right, bottom = face.frame_xyxy_px or around(face.box_xyxy_px)
    side = (right - left) * (1 + 2 * margin) / zoom
    return _square((left + right) / 2, (top + bottom) / 2, side)


def cut(image: UInt8[np.ndarray, "h w c"], box_xyxy_px: Box) -> UInt8[np.ndarray, "y x c"]:
    """Return the part of an image in a box, rounded to whole pixels; beyond the image its edge pixels continue.

    A box of more than `PIXEL_LIMIT` pixels, such as the square around a picture of one line, is cut from a smaller
    copy of the image: a small file must not take gigabytes.
    """
    height, width, channels = image.shape
    left, top, right, bottom = (round(side) for side in box_xyxy_px)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    if (right - left) * (bottom - top) > PIXEL_LIMIT:
        factor = math.ceil(math.sqrt((right - left) * (bottom - top) / PIXEL_LIMIT))
        smaller = (max(1, width // factor), max(1, height // factor))
        small = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA).reshape(*smaller[::-1], channels)
        return cut(small, (left / factor, top / factor, right / factor, bottom / factor))
    inside = image[
        min(max(top, 0), height - 1) : max(min(bottom, height), 1),
        min(max(left, 0), width - 1) : max(min(right, width), 1),
    ]
    if inside.shape[:2] == (bottom - top, right - left):
        return inside
    pads = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
    bordered = cv2.copyMakeBorder(inside, *pads, cv2.BORDER_REPLICATE)
    return bordered.reshape(*bordered.shape[:2], channels)


def _square(x: float, y: float, side: float) -> Box:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
