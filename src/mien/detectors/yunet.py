"""`yunet`: a small network, by OpenCV's own runner (Wu et al. 2023, doi:10.1007/s11633-023-1423-y)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.detectors.shrink import search
from mien.results import Face
from mien.vision.crop import FrameRule

if TYPE_CHECKING:
    from jaxtyping import UInt8


class YuNet:
    """OpenCV's `FaceDetectorYN`; one object serves one thread at a time."""

    name = "yunet"
    frame = FrameRule(side="width", scale=1.30, shift_x=-0.01, shift_y=0.02)
    """Median over 1,000 faces of FER2013, measured by `benchmarks/crop_rule.py`."""
    longest_side_px = 1280
    least_side_px = 64
    """Smaller images are padded: if a side, rounded up to a multiple of 32, is 32, OpenCV 4.14 finds random boxes."""
    score_threshold = 0.7

    def __init__(self, weights: bytes) -> None:
        empty = np.empty(0, np.uint8)
        self._net = cv2.FaceDetectorYN.create(
            "onnx", np.frombuffer(weights, np.uint8), empty, (0, 0), score_threshold=self.score_threshold
        )

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right with their scores.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        return search(image_rgb_u8, self.longest_side_px, self._find)

    def _find(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        below, beside = (max(0, self.least_side_px - side) for side in image_rgb_u8.shape[:2])
        padded = cv2.copyMakeBorder(image_rgb_u8, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._net.setInputSize((padded.shape[1], padded.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(padded, cv2.COLOR_RGB2BGR))
        faces = []
        for row in np.empty((0, 15)) if rows is None else np.asarray(rows, float):
            x, y, w, h = row[:4].tolist()
            box = (x, y, x + w, y + h)
            faces.append(Face(box, float(row[-1]), self.name, self.frame.place(box)))
        return faces
