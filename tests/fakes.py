"""The two fakes at the two seams: everything above them is tested in milliseconds, without weights."""

from __future__ import annotations

import numpy as np

from mien.preprocess import Preprocess
from mien.results import Face, ModelId


class ConstantClassifier:
    """Gives every crop the same logits."""

    def __init__(self, logits=(0.0, 2.0), labels=("sad", "happy"), **preprocess):
        self.id, self.preprocess = ModelId("constant", "0" * 64, tuple(labels)), Preprocess(**preprocess)
        self._row = np.array(logits, np.float32)

    def logits(self, crops):
        return np.tile(self._row, (len(crops), 1))


class FixedDetector:
    """Finds the same boxes in every picture."""

    def __init__(self, *boxes):
        self._faces = [Face(box, 0.5) for box in boxes]

    def detect(self, image_rgb_u8):
        return self._faces
