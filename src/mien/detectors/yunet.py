"""`yunet`: a small network, by OpenCV's own runner (Wu et al. 2023, doi:10.1007/s11633-023-1423-y)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.detectors.shrink import SAME_FACE_IOU, iou, moved, search, shrunk
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
    close_up_px = 320
    """Longest side of the copy that is searched for large faces: of 39 portraits in which a face takes 0.8 of the
    side, YuNet finds 39 if they have 480 px, 27 if 640 px, and none if 960 px."""
    least_close_up = 0.25
    """Least width of a face that is taken from that copy, as a fraction of its longer side."""
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
        found = self._at_its_size(image_rgb_u8)
        small, factor = shrunk(image_rgb_u8, self.close_up_px)
        if factor == 1:
            return found
        least_px = self.least_close_up * self.close_up_px
        large = [moved(face, factor, 0, 0) for face in self._at_its_size(small)
                 if face.box_xyxy_px[2] - face.box_xyxy_px[0] >= least_px]  # fmt: skip
        return found + [
            face for face in large
            if all(iou(face.box_xyxy_px, other.box_xyxy_px) <= SAME_FACE_IOU for other in found)
        ]  # fmt: skip

    def _at_its_size(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
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
