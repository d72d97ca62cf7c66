"""`haar`: OpenCV's cascades, which need no weights file (Lienhart & Maydt 2002, doi:10.1109/ICIP.2002.1038171)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mien.detectors.shrink import iou, search
from mien.errors import ConfigError
from mien.results import Face
from mien.vision.crop import FrameRule

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from mien.results import Box

PROFILE = FrameRule(scale=0.86, shift_x=-0.085, shift_y=0.025)
"""Turns a window of the profile cascade into the one that the frontal cascade would draw around the same face:
medians of 337 windows over the faces that `benchmarks/detectors.py` uses."""


_SAME_IOU = 0.3
"""Boxes of two searches that overlap at least so much are of one face."""


class Pass(NamedTuple):
    """One search of an image with one cascade."""

    cascade: str
    size_step: float = 1.2
    """Each window size is this many times the size before."""
    fraction: float = 1.0
    """Size of the searched image as a fraction of the whole; each pass has another, to try other sizes of face."""
    mirrored: bool = False
    rule: FrameRule = FrameRule()


FIRST = Pass("frontalface_alt2")
CLOSE_UP = Pass("frontalface_alt2", size_step=1.1)
MORE = (
    Pass("frontalface_alt2", fraction=0.91, mirrored=True),
    Pass("profileface", fraction=0.625, rule=PROFILE),
    Pass("profileface", fraction=0.57, rule=PROFILE, mirrored=True),
)


class Haar:
    """One pass with the frontal cascade; further passes only over an image in which it finds no face.

    A cascade tries square windows of many sizes and accepts several around a face, so a face is where windows agree.
    If the first pass finds none, or one that nearly fills the image, the image is extended beyond its borders and
    searched for large faces: the window of a face that fills it reaches beyond it. If that finds none either, the
    mirrored image and the profile cascade add their windows. Different passes make different mistakes, so together
    they find more faces with as many false positives.
    """

    name = "haar"
    frame = FrameRule(side="width", scale=1.03)
    """Median over 300 faces of FER2013, measured by `benchmarks/crop_rule.py`."""
    longest_side_px = 512
    close_up_px = 160
    """Longest side of the image that is searched for one large face."""
    border = 0.25
    """Width of the border around it, as a fraction of that side."""
    fills = 0.7
    """A window of at least this part of the shorter side may be too small, as it must lie inside the image."""
    one_at_a_time = True
    """OpenCV works on one image with all cores: two images at once were not faster than one after the other."""

    def __init__(self) -> None:
        self._cascades = {one.cascade: _cascade(one.cascade) for one in (FIRST, *MORE)}

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right; the cascades give no score.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        return search(image_rgb_u8, self.longest_side_px, self._find)

    def _find(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        grey = cv2.cvtColor(image_rgb_u8, cv2.COLOR_RGB2GRAY)
        windows = self._windows(grey, FIRST)
        boxes = _agreed(windows, 2)
        others = [box for box in boxes if box[2] - box[0] < self.fills * min(grey.shape)]
        if (not boxes or len(others) < len(boxes)) and (large := self._close_up(grey)):
            boxes = [box for box in others if all(iou(box, one) < _SAME_IOU for one in large)] + large
        if not boxes:
            for one in MORE:
                windows += self._windows(grey, one)
            boxes = _agreed(windows, 3)
        return [Face(box, None, self.name, self.frame.place(box)) for box in boxes]

    def _close_up(self, grey: UInt8[np.ndarray, "h w"]) -> list[Box]:
        """Return the boxes of faces that fill at least a third of the image."""
        fraction = min(1.0, self.close_up_px / max(grey.shape))
        small = _resized(grey, fraction)
        border = round(self.border * max(small.shape))
        bordered = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
        boxes = _agreed(self._windows(bordered, CLOSE_UP, max(small.shape) // 3), 4)
        x0, y0, x1, y1 = np.divide(np.subtract(np.reshape(boxes, (-1, 4)), border), fraction).T.tolist()
        return list(zip(x0, y0, x1, y1, strict=True))

    def _windows(self, grey: UInt8[np.ndarray, "h w"], one: Pass, least_px: int = 0) -> list[list[int]]:
        """Return the windows (x, y, w, h) that one pass accepts, as the frontal cascade would draw them."""
        small = _resized(grey, one.fraction)
        width = small.shape[1]
        accepted = self._cascades[one.cascade].detectMultiScale(
            cv2.flip(small, 1) if one.mirrored else small,
            scaleFactor=one.size_step,
            minNeighbors=0,
            minSize=(least_px, least_px),
        )
        windows = []
        for x, y, w, h in np.asarray(accepted, float).reshape(-1, 4).tolist():
            left, top, right, bottom = one.rule.place((x, y, x + w, y + h))
            if one.mirrored:
                left, right = width - right, width - left
            windows.append([round(side / one.fraction) for side in (left, top, right - left, bottom - top)])
        return windows


def _resized(grey: UInt8[np.ndarray, "h w"], fraction: float) -> UInt8[np.ndarray, "y x"]:
    width, height = (max(1, round(fraction * side)) for side in reversed(grey.shape))
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)


def _agreed(windows: list[list[int]], votes: int) -> list[Box]:
    """Return the mean of every group of similar windows that has more than `votes` of them."""
    grouped, _ = cv2.groupRectangles(windows, votes) if windows else ((), ())
    return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in grouped]


def _cascade(name: str) -> cv2.CascadeClassifier:
    path = str(Path(cv2.__file__).with_name("data") / f"haarcascade_{name}.xml")
    cascade = cv2.CascadeClassifier(path)
    if cascade.empty():
        raise ConfigError(f"OpenCV cannot load its cascade {path}: install opencv-python-headless again")
    return cascade
