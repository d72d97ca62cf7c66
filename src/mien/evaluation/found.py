"""Labelled faces in photos: those that a detector finds, which are then classified, and those that it misses."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data.dataset import FaceDataset
from mien.errors import DataError, ImageError
from mien.vision.crop import crop_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Int, UInt8

    from mien.data.reading import Reading
    from mien.detectors import FaceDetector
    from mien.preprocess import Preprocess
    from mien.results import Face

MATCH_IOU = 0.5
"""Least intersection over union at which a found box counts as a labelled one."""


class Found(NamedTuple):
    """The labelled faces of a split: the found ones, and the missed ones."""

    found: FaceDataset
    missed: FaceDataset
    photos: int
    extra: int
    """Number of found boxes that have no label."""


def find_faces(reading: Reading, detector: FaceDetector, preprocess: Preprocess) -> Found:
    """Run a detector over every photo of a prepared reading of one split and crop what it finds.

    If the reading has boxes, each labelled box is paired with the found one that overlaps it most, at least by
    `MATCH_IOU`. If it has none, a photo's label belongs to its largest face, and its other faces are ignored.

    Raises:
        DataError: a photo cannot be decoded, or the detector cannot work on it.
    """
    whole = _dataset(reading, preprocess)
    took = np.zeros(len(reading.ids), bool)
    photos = _photos(reading)
    extra = 0
    for rows in photos:
        image = _rgb(reading, int(rows[0]))
        try:
            faces = detector.detect(image)
        except ImageError as error:
            raise DataError(f"{reading.ids[int(rows[0])]} of {reading.source}: {error}") from error
        boxes = None if reading.boxes is None else reading.boxes[rows]
        pairs = matched(boxes, faces) if boxes is not None else _largest(faces)
        extra += len(faces) - len(pairs)
        crops = crop_faces(image, [faces[face] for _, face in pairs], preprocess)
        for (label, _), crop in zip(pairs, crops, strict=True):
            whole.images[rows[label]] = crop
            took[rows[label]] = True
    return Found(whole.take(np.flatnonzero(took)), whole.take(np.flatnonzero(~took)), len(photos), extra)


def matched(boxes: Float32[np.ndarray, "m 4"], faces: Sequence[Face]) -> list[tuple[int, int]]:
    """Pair labelled boxes with found faces, the closest pairs first; returns (box, face) numbers."""
    overlap = np.zeros((len(boxes), len(faces)))
    for row, column in np.ndindex(overlap.shape):
        overlap[row, column] = _iou(boxes[row].tolist(), faces[column].box_xyxy_px)
    pairs = []
    while overlap.size and overlap.max() >= MATCH_IOU:
        box, face = np.unravel_index(overlap.argmax(), overlap.shape)
        pairs.append((int(box), int(face)))
        overlap[box, :] = overlap[:, face] = -1
    return pairs


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def _largest(faces: Sequence[Face]) -> list[tuple[int, int]]:
    def area(number: int) -> float:
        x0, y0, x1, y1 = faces[number].box_xyxy_px
        return (x1 - x0) * (y1 - y0)

    return [(0, max(range(len(faces)), key=area))] if faces else []


def _photos(reading: Reading) -> list[Int[np.ndarray, " r"]]:
    """Return the rows of each photo; with boxes, each face is a row, and the faces of a photo have the same name."""
    if reading.boxes is None:
        return [np.array([row]) for row in range(len(reading.ids))]
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(reading.columns["photo"].tolist()):
        groups.setdefault(name, []).append(row)
    return [np.array(rows) for rows in groups.values()]


def _rgb(reading: Reading, row: int) -> UInt8[np.ndarray, "h w 3"]:
    try:
        picture = reading.picture(row)
    except Exception as error:  # a damaged archive raises exceptions of many kinds
        raise DataError(f"{reading.ids[row]} of {reading.source} cannot be read: {error}") from error
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else np.ascontiguousarray(picture)


def _dataset(reading: Reading, preprocess: Preprocess) -> FaceDataset:
    n, size = len(reading.ids), preprocess.size_px
    return FaceDataset(
        images=np.zeros((n, size, size, preprocess.channels), np.uint8),
        targets=reading.targets,
        ids=tuple(reading.ids),
        split=np.array(reading.splits),
        labels=reading.classes,
        source=reading.source,
        skipped=reading.skipped,
        votes=reading.votes,
        columns=reading.columns,
    )
