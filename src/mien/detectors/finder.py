"""`Finder`: a face detector for several threads; each thread borrows a detector, or waits until one is free."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from mien.detectors import open_detector
from mien.errors import ConfigError, ImageError
from mien.results import Face
from mien.workers import Lent

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from mien.detectors import FaceDetector
    from mien.results import Box


class Finder:
    """Finds faces for several threads at once."""

    def __init__(self, detector: str | FaceDetector, weights: str | Path | None = None) -> None:
        """Open a detector of the catalog by its name, or take one of your own, which is called under a lock.

        Raises:
            ConfigError: no such detector, or weights are missing; or your own has no method `detect`.
        """
        own = not isinstance(detector, str)
        if own:
            check_object(detector, "detector", "a name or an object", "detect")
        path = None if weights is None else Path(weights)
        self._detectors = Lent(
            lambda: open_detector(detector, path) if isinstance(detector, str) else detector
        )
        self.one_at_a_time = own or getattr(self.detector, "one_at_a_time", False)
        """Whether one image is searched at a time: the detector uses all cores, or may not be thread-safe."""
        self._turn = threading.Lock() if self.one_at_a_time else contextlib.nullcontext()
        self._is_own = own

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
            ConfigError: the answer of a detector of your own is no list of faces, or has a box that cannot be.
        """
        try:
            with self._turn, self._detectors.borrow() as detector:
                faces = detector.detect(image_rgb_u8)
                return _checked(faces, self.name, image_rgb_u8.shape) if self._is_own else faces
        except cv2.error as error:
            raise ImageError(f"OpenCV cannot work on this image: {error.err or error}") from error


def check_object(given: object, option: str, expected: str, *names: str) -> None:
    """Refuse an object that lacks what the protocol of `option` names, or the class in place of an object.

    Raises:
        ConfigError: says what came.
    """
    if isinstance(given, type):
        raise ConfigError(
            f"`{option}` is the class {given.__name__}: give an object of it, {given.__name__}(...)"
        )
    if missing := [name for name in names if not hasattr(given, name)]:
        raise ConfigError(
            f"`{option}` must be {expected} with {', '.join(names)}; got {type(given).__name__} without "
            f"{', '.join(missing)}"
        )


def _checked(answer: object, name: str, shape: tuple[int, ...]) -> list[Face]:
    """Return the answer of a user's detector as faces of plain numbers; NumPy's could not be written as JSON.

    Raises:
        ConfigError: it is no list of faces, or a box is not in order or lies outside the image.
    """
    if not isinstance(answer, Iterable):
        raise ConfigError(f"detector {name} must return a list of mien.Face, got {type(answer).__name__}")
    faces: list[Face] = []
    for face in answer:
        if not isinstance(face, Face):
            raise ConfigError(
                f"detector {name} must return a list of mien.Face, got {type(face).__name__} in it"
            )
        try:
            faces.append(_plain(face, shape))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"detector {name} returned a wrong face: {error}") from error
    return faces


def _plain(face: Face, shape: tuple[int, ...]) -> Face:
    """Return a face with plain numbers.

    Raises:
        TypeError, ValueError: it is wrong; the message says how.
    """
    box = _box(face.box_xyxy_px)
    height, width = shape[:2]
    if not (box[0] < width and box[2] > 0 and box[1] < height and box[3] > 0):
        raise ValueError(f"its box {box} lies outside the image of {width}x{height} pixels")
    score = None if face.score is None else float(face.score)
    if score is not None and not math.isfinite(score):
        raise ValueError(f"expected a score from 0 to 1 or None, got {score}")
    if not isinstance(face.detector, str):
        raise TypeError(f"expected the name of the detector as text, got {type(face.detector).__name__}")
    frame = None if face.frame_xyxy_px is None else _box(face.frame_xyxy_px)
    return replace(face, box_xyxy_px=box, score=score, frame_xyxy_px=frame)


def _box(given: Any) -> Box:
    """Return a box as plain numbers.

    Raises:
        TypeError, ValueError: it is no box.
    """
    box = tuple(float(side) for side in given)
    if len(box) != 4 or not all(map(math.isfinite, box)) or not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(
            f"expected a box as left, top, right, bottom with left < right and top < bottom, got {box}"
        )
    return box
