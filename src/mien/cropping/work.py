"""Cut the faces of one photo: decode it, find them, cut them. Several threads may do so at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mien.errors import DataError
from mien.results import Face
from mien.tracking.pairs import paired
from mien.vision.crop import cut, frame_of
from mien.vision.images import encode_png

if TYPE_CHECKING:
    from jaxtyping import UInt8

    from mien.data.reading import Reading
    from mien.detectors.finder import Finder
    from mien.options import CropOptions

BOXES = "boxes"
"""The detector that the table states for a face whose box the source gave."""
LEAST_IOU = 0.2
"""Least intersection over union at which a found face counts as the face in a box of the source."""
NO_FACE, SEVERAL, UNREADABLE = "no face found", "several faces, one label", "cannot be read"
NO_FACE_IN_BOX, OUTSIDE = "no face found in the box", "box outside the photo"


class Photo(NamedTuple):
    """A photo with the rows of the source that are about it: one, or one for each box."""

    name: str
    rows: list[int]


class Cut(NamedTuple):
    """A face of a photo."""

    row: int
    face: Face
    png: bytes


class Done(NamedTuple):
    """The result for a photo."""

    photo: Photo
    cuts: list[Cut]
    found: int
    reasons: list[str]
    """Why no face was cut, or one face fewer."""


class Work:
    """Decodes a photo, finds its faces and cuts them. One object may serve several threads."""

    def __init__(self, source: Reading, finder: Finder | None, options: CropOptions) -> None:
        self.source, self.finder, self.options = source, finder, options

    def __call__(self, photo: Photo) -> Done:
        """Return the faces of one photo.

        Raises:
            DataError: the memory is not enough.
        """
        try:
            picture = self.source.picture(photo.rows[0])
            faces, found, reasons = self._faces(photo, picture)
            return Done(photo, [self._cut(row, face, picture) for row, face in faces], found, reasons)
        except MemoryError:
            raise DataError(f"the memory is not enough to decode {photo.name}") from None
        except Exception as error:  # a damaged archive raises exceptions of many kinds
            return Done(photo, [], 0, [f"{UNREADABLE}: {error}"])

    def _faces(
        self, photo: Photo, picture: UInt8[np.ndarray, "h w c"]
    ) -> tuple[list[tuple[int, Face]], int, list[str]]:
        """Return the faces to cut with the rows they belong to, how many there are, and why some are not cut."""
        boxes = (
            None
            if self.source.boxes is None
            else [tuple(self.source.boxes[row].tolist()) for row in photo.rows]
        )
        if self.finder is None:
            assert boxes is not None
            kept = [(row, Face(box, detector=BOXES)) for row, box in zip(photo.rows, boxes, strict=True)]
            inside = [(row, face) for row, face in kept if _is_inside(face, picture)]
            return inside, len(inside), [OUTSIDE] * (len(kept) - len(inside))
        rgb = picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)
        found = self.finder.find(rgb)
        if boxes is not None:
            places = paired(boxes, [face.box_xyxy_px for face in found], least_iou=LEAST_IOU)
            pairs = [
                (photo.rows[old], found[new]) for new, old in sorted(places.items(), key=lambda item: item[1])
            ]
            return pairs, len(found), [NO_FACE_IN_BOX] * (len(boxes) - len(pairs))
        (row,) = photo.rows
        if not found:
            return [], 0, [NO_FACE]
        labelled = bool(self.source.targets[row].any())
        if len(found) > 1 and self.options.several == "skip" and labelled:
            return [], len(found), [SEVERAL]
        if self.options.several == "largest":
            return [(row, max(found, key=_side))], len(found), []
        return [(row, face) for face in found], len(found), []

    def _cut(self, row: int, face: Face, picture: UInt8[np.ndarray, "h w c"]) -> Cut:
        crop = cut(picture, frame_of(face, self.options.margin))
        size = self.options.size_px
        if size is not None and max(crop.shape[:2]) > size:
            crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA).reshape(
                size, size, crop.shape[2]
            )
        return Cut(row, face, encode_png(crop, quick=True))


def _side(face: Face) -> float:
    left, _, right, _ = frame_of(face)
    return right - left


def _is_inside(face: Face, picture: UInt8[np.ndarray, "h w c"]) -> bool:
    (x0, y0, x1, y1), (height, width) = face.box_xyxy_px, picture.shape[:2]
    return min(x1, width) > max(x0, 0) and min(y1, height) > max(y0, 0)
