"""Seam 2: a face detector is anything that turns a picture into boxes.

`yunet` is the better one and needs a weights file; `haar` ships with OpenCV; `whole` says that the picture
already is a face; `auto` takes the best one at hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import cv2
import numpy as np

from mien.errors import ConfigError, did_you_mean
from mien.results import Face
from mien.vision.weights import YUNET, verified

if TYPE_CHECKING:
    from jaxtyping import UInt8

DETECTORS = ("auto", "yunet", "haar", "whole")
WHOLE_PICTURE_PX = 64
"""`auto` takes pictures no larger than this, on both sides, for a face already cropped."""


@runtime_checkable
class FaceDetector(Protocol):
    """A picture in, faces out."""

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right; none is an answer."""


def open_detector(name: str = "auto", weights: Path | None = None) -> FaceDetector:
    """Return the detector of that name; YuNet's weights come from a file or from `mien fetch yunet`.

    Raises:
        ConfigError: no such name, or YuNet is asked for and its weights are missing or not the pinned ones.
    """
    if name not in DETECTORS:
        raise ConfigError(
            f"unknown detector {name!r}: expected {', '.join(DETECTORS)}{did_you_mean(name, DETECTORS)}"
        )
    if weights and name in ("haar", "whole"):
        raise ConfigError(
            f"detector {name} takes no weights: leave --detector-weights away, or use --detector yunet"
        )
    if name == "whole":
        return Whole()
    if name == "haar":
        return Haar()
    found = weights or YUNET.cached()
    if name == "yunet" or found:
        yunet = YuNet(verified(YUNET, found))
        return yunet if name == "yunet" else Auto(yunet)
    return Auto(Haar())


class Whole:
    """The picture is already a face."""

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return one box around the whole picture."""
        height, width = image_rgb_u8.shape[:2]
        return [Face((0.0, 0.0, float(width), float(height)))]


class Auto:
    """`whole` for pictures that are too small to hold more than a face, else another detector."""

    def __init__(self, inner: FaceDetector) -> None:
        self._inner, self.spreads_itself = inner, getattr(inner, "spreads_itself", False)

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return what the detector for a picture of this size finds."""
        small = max(image_rgb_u8.shape[:2]) <= WHOLE_PICTURE_PX
        return (Whole() if small else self._inner).detect(image_rgb_u8)


class Haar:
    """OpenCV's `alt2` frontal-face cascade (Lienhart & Maydt 2002), on a padded picture.

    The cascade misses faces that fill the frame; padding by a quarter with the edge's own pixels brought
    its hits from 50 % to 96 % on 200 photos with one face each.
    """

    longest_side_px = 1280
    spreads_itself = True
    """OpenCV works on one picture with all cores: two cascades at once took longer than one after the other."""

    def __init__(self) -> None:
        path = str(Path(cv2.__file__).with_name("data") / "haarcascade_frontalface_alt2.xml")
        self._cascade = cv2.CascadeClassifier(path)
        if self._cascade.empty():
            raise ConfigError(f"OpenCV cannot load its cascade {path}: install opencv-python-headless again")

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right; the cascade gives no score."""
        small, factor = _limited(image_rgb_u8, self.longest_side_px)
        height, width = small.shape[:2]
        pad_y, pad_x = height // 4, width // 4
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        padded = cv2.copyMakeBorder(grey, pad_y, pad_y, pad_x, pad_x, cv2.BORDER_REPLICATE)
        least = max(24, min(height, width) // 20)
        boxes = self._cascade.detectMultiScale(
            padded, scaleFactor=1.1, minNeighbors=4, minSize=(least, least)
        )
        faces = []
        for x, y, w, h in np.asarray(boxes, float).reshape(-1, 4):
            left, top = (x - pad_x) * factor, (y - pad_y) * factor
            faces.append(Face((left, top, left + w * factor, top + h * factor), detector="haar"))
        return sorted(faces, key=lambda face: face.box_xyxy_px)


class YuNet:
    """YuNet (Wu et al. 2023, doi:10.1007/s11633-023-1423-y) through OpenCV's `FaceDetectorYN`."""

    longest_side_px = 1280
    least_side_px = 64
    """Where a side, rounded up to a multiple of 32, is 32, OpenCV 4.14 answers with boxes at random."""
    score_threshold = 0.7

    def __init__(self, weights: bytes) -> None:
        empty = np.empty(0, np.uint8)
        self._net = cv2.FaceDetectorYN.create(
            "onnx", np.frombuffer(weights, np.uint8), empty, (0, 0), score_threshold=self.score_threshold
        )

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right with their scores."""
        small, factor = _limited(image_rgb_u8, self.longest_side_px)
        below, beside = (max(0, self.least_side_px - side) for side in small.shape[:2])
        padded = cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._net.setInputSize((padded.shape[1], padded.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))
        faces = []
        for row in np.empty((0, 15)) if rows is None else np.asarray(rows, float):
            x, y, w, h = row[:4] * factor
            faces.append(Face((x, y, x + w, y + h), score=float(row[-1]), detector="yunet"))
        return sorted(faces, key=lambda face: face.box_xyxy_px)


def _limited(image: UInt8[np.ndarray, "h w 3"], longest_px: int) -> tuple[UInt8[np.ndarray, "y x 3"], float]:
    """Shrink a large picture for detection; the factor leads back to its own pixels."""
    factor = max(image.shape[:2]) / longest_px
    if factor <= 1:
        return image, 1.0
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor
