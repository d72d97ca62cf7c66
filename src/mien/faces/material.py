"""The material of drawn scenes: heads without their background, faces of FER2013, photographs without a face."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from mien.data.archives import DAMAGED
from mien.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jaxtyping import Float32, UInt8

    from mien.results import Box

LEVELS_PX = (144, 72, 36)
"""Each head is kept at three sizes, by the side of its face frame, so that no warp shrinks by more than two."""
FRAME_OF_BOX = (1.30, -0.01, 0.02)
"""Side, shift right and shift down of the face frame, as fractions of the width of a YuNet box."""
HELD_OUT = 8
"""One of so many heads and backgrounds is never used for training."""


@dataclass(frozen=True)
class Head:
    """One head at one size."""

    rgba_u8: UInt8[np.ndarray, "h w 4"]
    """Colour, and as alpha the fraction of each pixel that belongs to the person (0 to 255)."""
    frame_xys: tuple[float, float, float]
    """Centre and side of the face frame in pixels of this image."""


@dataclass(frozen=True)
class Material:
    """Everything from which scenes are drawn."""

    heads: list[tuple[Head, ...]]
    """For each person the head at the sizes of `LEVELS_PX`."""
    faces_u8: UInt8[np.ndarray, "n 48 48"]
    backgrounds_u8: list[UInt8[np.ndarray, "_ _"]]


def read_material(heads: Path, faces: Path, backgrounds: Path, *, held_out: bool = False) -> Material:
    """Read the three archives; `held_out` takes the images that are never used for training.

    Every eighth background and every eighth head is held out; of the faces, those under `test/`.

    Raises:
        DataError: an archive cannot be read or lacks what is expected.
    """
    return Material(
        [_levels(*head) for head in every_eighth(list(_heads(heads)), held_out)],
        np.stack([_sized(face) for _, face in _images(faces, "test/" if held_out else "train/", grey=True)]),
        read_backgrounds(backgrounds, held_out=held_out),
    )


def check_material(heads: Path, faces: Path) -> None:
    """Count the heads and read one face, so that what is missing is an error before the training and not after it.

    Raises:
        DataError: an archive cannot be read or lacks what is expected.
    """
    count = sum(1 for _ in _heads(heads))
    if count < HELD_OUT:
        raise DataError(
            f"{heads.name} holds {count} images with one box: expected at least {HELD_OUT}, since each eighth one "
            "is held out"
        )
    next(_images(faces, "train/", grey=True))
    next(_images(faces, "test/", grey=True))


def fingerprint(path: Path) -> str:
    """Return a SHA-256 of the names and checksums of an archive's files.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = sorted((info.filename, info.CRC, info.file_size) for info in archive.infolist())
    except DAMAGED as error:
        raise DataError(f"cannot read {path}: expected a zip of .jpg images ({error})") from error
    return hashlib.sha256(repr(found).encode(errors="surrogateescape")).hexdigest()


def read_backgrounds(path: Path, *, held_out: bool) -> list[UInt8[np.ndarray, "_ _"]]:
    """Read the photographs without a face, as grey images of their own sizes."""
    return every_eighth([image for _, image in _images(path, "", grey=True)], held_out)


def every_eighth(items: list[Any], wanted: bool) -> list[Any]:
    """Return every eighth item, or all others."""
    return [item for place, item in enumerate(items) if (place % HELD_OUT == HELD_OUT - 1) == wanted]


def _images(path: Path, folder: str, *, grey: bool) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in sorted(archive.namelist()) if n.startswith(folder) and n.endswith(".jpg")]
            if not names:
                raise DataError(
                    f"{path.name} holds no .jpg images under {folder or 'its root'}: check the path"
                )
            for name in names:
                kind = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB
                content = archive.read(name)
                image = cv2.imdecode(np.frombuffer(content, np.uint8), kind) if content else None
                if image is None:
                    raise DataError(f"{path.name}: {name} is no image that can be read")
                yield name, image
    except (*DAMAGED, RuntimeError) as error:  # the last: it is encrypted
        raise DataError(f"cannot read {path}: expected a zip of .jpg images ({error})") from error


def _heads(path: Path) -> Iterator[tuple[str, np.ndarray, Box]]:
    """Yield each head's file name, image and face box."""
    try:
        with zipfile.ZipFile(path) as archive:
            boxes = json.loads(archive.read("yunet_boxes_xyxy.json"))
    except (*DAMAGED, KeyError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path} holds no yunet_boxes_xyxy.json with the boxes of its heads: {error}"
        ) from error
    if not isinstance(boxes, dict):
        raise DataError(f"{path}: yunet_boxes_xyxy.json holds no boxes by the names of images")
    for name, image in _images(path, "", grey=False):
        found = boxes.get(name, [])
        if not isinstance(found, list) or not all(map(_is_box, found)):
            raise DataError(
                f"{path}: the boxes of {name} are not lists of left, top, right and bottom in pixels"
            )
        if len(found) == 1:
            yield name, image, tuple(found[0])


def _is_box(box: Any) -> bool:
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(one, int | float) for one in box)
    return numbers and all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]


def _sized(face: np.ndarray) -> np.ndarray:
    return face if face.shape == (48, 48) else cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA)


def _levels(name: str, rgb_u8: UInt8[np.ndarray, "h w 3"], box: Box) -> tuple[Head, ...]:
    mask = cut_out(rgb_u8)
    if not mask.any():
        raise DataError(f"{name}: nothing differs from the background: expected a head before a plain one")
    scale, right, down = FRAME_OF_BOX
    x0, y0, x1, y1 = box
    width = x1 - x0
    frame = ((x0 + x1) / 2 + right * width, (y0 + y1) / 2 + down * width, scale * width)
    rgba = np.dstack([rgb_u8, mask])
    levels = []
    for side in LEVELS_PX:
        factor = side / frame[2]
        size = (round(rgb_u8.shape[1] * factor), round(rgb_u8.shape[0] * factor))
        small = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
        levels.append(Head(small, (frame[0] * factor, frame[1] * factor, float(side))))
    return tuple(levels)


def cut_out(rgb_u8: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Return a mask: 255 on the person, 0 on the plain background, values between at the edge.

    The background is modelled as a smooth surface through the pixels along the top and the upper sides. Pixels that
    differ little from it and are connected to the top are background. If all pixels do, the mask is 0 everywhere.
    """
    height, width = rgb_u8.shape[:2]
    small = cv2.resize(rgb_u8, (180, round(180 * height / width)), interpolation=cv2.INTER_AREA)
    ground = _ground(small)
    distance = np.abs(small.astype(np.float32) - ground).max(-1)
    near = (cv2.GaussianBlur(distance, (0, 0), 0.8) < 15).astype(np.uint8)
    near = cv2.morphologyEx(near, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(near, connectivity=4)
    joined = np.unique(parts[:3])
    outside = np.isin(parts, joined[joined > 0])
    person = cv2.morphologyEx((~outside).astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, parts, sizes, _ = cv2.connectedComponentsWithStats(person)
    if count > 1:
        person[parts != 1 + int(np.argmax(sizes[1:, cv2.CC_STAT_AREA]))] = 0
    soft = cv2.GaussianBlur(cv2.erode(person, np.ones((2, 2), np.uint8)), (0, 0), 0.9)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


def _ground(small: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Fit a surface of second degree to the border pixels, which show the background."""
    height, width = small.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    border = np.zeros((height, width), bool)
    border[:4] = True
    border[: height * 5 // 8, :8] = border[: height * 5 // 8, -8:] = True
    found, *_ = np.linalg.lstsq(terms[border], small[border].astype(np.float32), rcond=None)
    return (terms @ found).astype(np.float32)
