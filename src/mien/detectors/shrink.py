"""Large images are searched for faces at a smaller size, panoramas in overlapping tiles."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2

from mien.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import UInt8

    from mien.results import Box, Face

PANORAMA = 3
"""An image whose longer side is more than this many times the shorter one is searched in tiles."""
MOST_TILES = 32
"""A narrower image is cut into about this many tiles, which are shrunk more: each tile costs a search."""
SAME_FACE_IOU = 0.4
"""Two boxes of neighbouring tiles that overlap by more than this are one face."""


def search(
    image_rgb_u8: UInt8[np.ndarray, "h w 3"],
    longest_side_px: int,
    find: Callable[[UInt8[np.ndarray, "y x 3"]], list[Face]],
) -> list[Face]:
    """Return the faces that `find` finds in the shrunk image, from left to right, in pixels of the original image.

    `find` gets images with no side longer than `longest_side_px`. A panorama is cut into overlapping tiles first, or
    its faces would become too small.

    Raises:
        ImageError: OpenCV cannot work on an image of this shape.
    """
    height, width = image_rgb_u8.shape[:2]
    spans = tile_spans(max(height, width), min(height, width), longest_side_px)
    faces: list[Face] = []
    for start, stop in spans:
        across = width >= height
        tile = image_rgb_u8[:, start:stop] if across else image_rgb_u8[start:stop]
        left, top = (start, 0) if across else (0, start)
        try:
            small, factor = shrunk(tile, longest_side_px)
            found = [moved(face, factor, left, top) for face in find(small)]
        except cv2.error as error:
            raise ImageError(f"OpenCV cannot work on this image: {error.err or error}") from error
        axis = 0 if across else 1
        ends = (start if start else -math.inf, stop if stop < max(height, width) else math.inf)
        faces += [face for face in found if _whole(face.box_xyxy_px, axis, ends)]
    if len(spans) > 1:
        faces = merged(faces)
    return sorted(faces, key=lambda face: face.box_xyxy_px)


def tile_spans(longer: int, shorter: int, longest_side_px: int) -> list[tuple[int, int]]:
    """Return (start, stop) of each tile along the longer side; one span if the image is no panorama.

    Neighbours overlap by at least the shorter side, so every face lies in one of them as a whole. There are at most
    about twice `MOST_TILES`.
    """
    if longer <= max(longest_side_px, PANORAMA * shorter):
        return [(0, longer)]
    length = max(2 * shorter, longest_side_px, math.ceil(longer / MOST_TILES))
    steps = math.ceil((longer - length) / (length - min(shorter, length // 2)))
    starts = [round(step * (longer - length) / max(steps, 1)) for step in range(steps + 1)]
    return [(start, start + length) for start in starts]


def merged(faces: list[Face]) -> list[Face]:
    """Return the faces without those whose box overlaps that of one with a higher score."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (-(face.score or 0), face.box_xyxy_px)):
        if all(iou(face.box_xyxy_px, other.box_xyxy_px) <= SAME_FACE_IOU for other in kept):
            kept.append(face)
    return kept


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width, height = (max(0.0, min(a[2 + k], b[2 + k]) - max(a[k], b[k])) for k in (0, 1))
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (sum(areas) - width * height)


def _whole(box: Box, axis: int, ends: tuple[float, float]) -> bool:
    """Return whether a tile shows the whole box, so the box does not touch an end of the tile inside the image."""
    return box[axis] > ends[0] and box[axis + 2] < ends[1]


def moved(face: Face, factor: float, left: int, top: int) -> Face:
    """Return a face of a shrunk image, or of a part of an image, in pixels of the whole image."""

    def place(box: Box) -> Box:
        x0, y0, x1, y1 = (side * factor for side in box)
        return (x0 + left, y0 + top, x1 + left, y1 + top)

    frame = face.frame_xyxy_px
    return replace(
        face, box_xyxy_px=place(face.box_xyxy_px), frame_xyxy_px=None if frame is None else place(frame)
    )


def shrunk(
    image: UInt8[np.ndarray, "h w 3"], longest_side_px: int
) -> tuple[UInt8[np.ndarray, "y x 3"], float]:
    """Return the image with its longer side at most that long, and the factor back to its own pixels."""
    factor = max(image.shape[:2]) / longest_side_px
    if factor <= 1:
        return image, 1.0
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor
