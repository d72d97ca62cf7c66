"""`Finder`: a face detector for several threads; each thread borrows a detector, or waits until one is free."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from mien.detectors import open_detector
from mien.errors import ImageError
from mien.workers import Lent

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from mien.detectors import FaceDetector
    from mien.results import Face


class Finder:
    """Finds faces for several threads at once."""

    def __init__(self, detector: str | FaceDetector, weights: str | Path | None = None) -> None:
        """Open a detector of the catalog by its name, or take one of your own, which is called under a lock.

        Raises:
            ConfigError: no such detector, or weights are missing.
        """
        own = not isinstance(detector, str)
        path = None if weights is None else Path(weights)
        self._detectors = Lent(
            lambda: open_detector(detector, path) if isinstance(detector, str) else detector
        )
        self.one_at_a_time = own or getattr(self.detector, "one_at_a_time", False)
        """Whether one image is searched at a time: the detector uses all cores, or may not be thread-safe."""
        self._turn = threading.Lock() if self.one_at_a_time else contextlib.nullcontext()

    @property
    def detector(self) -> FaceDetector:
        """The detector itself."""
        return self._detectors.first

    @property
    def name(self) -> str:
        """The detector's name, or that of its type."""
        return str(getattr(self.detector, "name", type(self.detector).__name__))

    @property
    def identity(self) -> str:
        """What must be equal for equal answers: the name, what ``auto`` takes, the hash of trained weights."""
        return str(getattr(self.detector, "identity", self.name))

    def find(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces of an image, from left to right.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        try:
            with self._turn, self._detectors.borrow() as detector:
                return detector.detect(image_rgb_u8)
        except cv2.error as error:
            raise ImageError(f"OpenCV cannot work on this image: {error.err or error}") from error
