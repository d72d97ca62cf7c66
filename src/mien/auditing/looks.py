"""Images that are odd by themselves: blank, of another size or colour, without a face."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.auditing.findings import ALMOST_BLANK, BLANK, COLOUR, NO_FACE, SIZE
from mien.errors import DataError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Bool, UInt8

    from mien.auditing.measure import Measured, Step
    from mien.detectors import FaceDetector

BLANK_SPREAD = 2.0
"""An image whose grey levels have a smaller standard deviation is blank."""
PLAIN = 0.7
"""An image of which this fraction is one shade of grey is almost blank. The first 24 of the 25 that FER2013 has are
signs, texts and a dark smudge in place of a face."""
DARK, BRIGHT = 25, 230
"""Mean grey levels beyond which an image is very dark or very bright."""
RARE = 0.02
"""A size or colour that fewer than this fraction of the images have is odd where another one is usual."""
USUAL = 0.9
"""A size or colour that at least this fraction has is usual."""
SMALL_PX = 24
"""A shorter side below this is small for a face: half of the usual 48 pixels."""
NARROW = 2.0
"""Longer side by shorter side from which an image is too narrow for a face."""
GREY_TINT = 2.0
"""Mean difference between the colour channels below which an image is grey."""
SEARCH_PX = 192
"""Small images are enlarged to this side before a detector sees them."""
SEARCH_MARGIN = 0.25
"""And get a margin of this fraction of their side, because detectors expect something around a face."""


def blank(measured: Measured) -> Bool[np.ndarray, " n"]:
    """Say which images show nothing."""
    return measured.spread < BLANK_SPREAD


def almost_blank(measured: Measured) -> Bool[np.ndarray, " n"]:
    """Say which images show almost nothing; blank ones are not among them."""
    return (measured.plain >= PLAIN) & ~blank(measured)


def odd_looks(measured: Measured) -> Iterator[tuple[int, str, str]]:
    """Yield (row, kind, detail) for each image that is odd by itself."""
    empty, nearly = blank(measured), almost_blank(measured)
    for row in np.flatnonzero(empty).tolist():
        yield (
            row,
            BLANK,
            f"all pixels are {measured.grey[row]:.0f} of 255, give or take {measured.spread[row]:.1f}",
        )
    for row in np.flatnonzero(nearly).tolist():
        yield row, ALMOST_BLANK, f"{measured.plain[row]:.0%} of it is one shade of grey"
    yield from _sizes(measured)
    yield from _colours(measured, empty | nearly)


def _sizes(measured: Measured) -> Iterator[tuple[int, str, str]]:
    sizes = list(map(tuple, measured.size_hw_px.tolist()))
    counts = Counter(sizes)
    usual, most = counts.most_common(1)[0]
    for row, (h, w) in enumerate(sizes):
        if min(h, w) < SMALL_PX:
            yield row, SIZE, f"{w}x{h} pixels: small for a face"
        elif max(h, w) >= NARROW * min(h, w):
            yield row, SIZE, f"{w}x{h} pixels: narrow for a face"
        elif most >= USUAL * len(sizes) and counts[h, w] < RARE * len(sizes):
            yield row, SIZE, f"{w}x{h} pixels, where {most / len(sizes):.1%} have {usual[1]}x{usual[0]}"


def _colours(measured: Measured, empty: Bool[np.ndarray, " n"]) -> Iterator[tuple[int, str, str]]:
    grey = measured.tint < GREY_TINT
    share = float(grey[~empty].mean()) if (~empty).any() else 1.0
    for row in np.flatnonzero(~empty).tolist():
        if share >= USUAL and not grey[row]:
            yield row, COLOUR, f"in colour, where {share:.1%} are grey"
        elif 1 - share >= USUAL and grey[row]:
            yield row, COLOUR, f"grey, where {1 - share:.1%} are in colour"
        if measured.grey[row] < DARK:
            yield row, COLOUR, f"very dark: mean grey {measured.grey[row]:.0f} of 255"
        elif measured.grey[row] > BRIGHT:
            yield row, COLOUR, f"very bright: mean grey {measured.grey[row]:.0f} of 255"


def without_face(measured: Measured, detector: FaceDetector, step: Step) -> Iterator[tuple[int, str, str]]:
    """Yield (row, kind, detail) for each image in which the detector finds no face; blank ones are left out.

    Raises:
        DataError: the detector cannot work on an image.
    """
    rows = np.flatnonzero(~blank(measured)).tolist()
    for number, row in enumerate(rows):
        step("looking for faces", number, len(rows))
        try:
            faces = detector.detect(searched(measured.image(row)))
        except ImageError as error:
            raise DataError(f"{measured.data.ids[row]} of {measured.data.source}: {error}") from error
        if not faces:
            yield row, NO_FACE, "no face found"


def searched(face: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "y x 3"]:
    """Return what a detector searches: in three channels; a small image is enlarged, and has a margin around it."""
    image = np.ascontiguousarray(np.repeat(face, 3, axis=2) if face.shape[2] == 1 else face)
    side = max(image.shape[:2])
    if side < SEARCH_PX:
        scale = SEARCH_PX / side
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    margin = round(SEARCH_MARGIN * max(image.shape[:2]))
    return cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
