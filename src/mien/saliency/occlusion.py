"""Occlusion maps from arrays: hide one place of a crop after another and see how each probability changes.

Zeiler & Fergus 2014 (arXiv:1311.2901) slide a grey square over the image. Here the patch has soft edges and shows the
blurred crop, because the network would see the edges of a grey square as a pattern. No gradient is needed, so any
runtime, ensemble or wrapper can be explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mien.classifiers import probabilities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float32, Num, UInt8

    from mien.classifiers import Classifier, Crops

PATCH = 1 / 3
"""Side of the patch as a fraction of the crop's side; half of the patch is fully blurred, the rest is a soft edge.
Chosen by eye: a quarter gives specks, two fifths merge eyes and brows with the nose."""
PLACES = 13
"""Centres of the patch along a side, from edge to edge: every 4 pixels of 48."""
BLUR = 1 / 8
"""Standard deviation of the blur that hides, in sides of the crop: brows, eyes and mouth vanish."""
AT_ONCE = 64
"""Changed crops in one call of the classifier, which bounds the memory."""
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "middle", "right")


class Deepest(NamedTuple):
    """The place that matters most for a label."""

    fall: float
    """By how much the label's probability falls when this place is hidden; below zero if no place lowers it."""
    x: float
    y: float
    """Centre of the place, as fractions of the crop from its left upper corner."""

    @property
    def where(self) -> str:
        """The place in words, as seen by someone who looks at the picture."""
        row, column = (min(2, int(3 * part)) for part in (self.y, self.x))
        if row == column == 1:
            return "centre"
        return _COLUMNS[column] if row == 1 else f"{_ROWS[row]} {_COLUMNS[column]}"


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What hiding each place of one crop changes."""

    probs: Float32[np.ndarray, " k"]
    """Probabilities for the unchanged crop."""
    falls: Float32[np.ndarray, "g g k"]
    """By how much each probability falls when the place in row g, column g is hidden; negative: it rises."""

    def map(self, label: int, side: int) -> Float32[np.ndarray, "s s"]:
        """Return the fall of one label's probability for every pixel of a crop, linear between the centres."""
        return upsampled(self.falls[:, :, label], side)

    def deepest(self, label: int) -> Deepest:
        """Return the place whose hiding lowers a label's probability most."""
        grid = self.falls[:, :, label]
        row, column = np.unravel_index(int(grid.argmax()), grid.shape)
        return Deepest(float(grid.max()), float(column) / (len(grid) - 1), float(row) / (len(grid) - 1))


def occlusion(classifier: Classifier, crops: Crops) -> Iterator[Occlusion]:
    """Yield the occlusion of each crop: `PLACES` x `PLACES` + 1 crops through the classifier for each.

    Raises:
        DataError: not crops of the classifier's `preprocess`.
    """
    windows = _windows(crops.shape[1])
    for crop in crops:
        hidden = _hidden(crop)
        given = probabilities(classifier.logits(crop[None]))[0]
        answers = [
            probabilities(classifier.logits(_covered(crop, hidden, windows[start : start + AT_ONCE])))
            for start in range(0, len(windows), AT_ONCE)
        ]
        falls = given - np.concatenate(answers)
        yield Occlusion(given, falls.reshape(PLACES, PLACES, -1))


def upsampled(grid: Num[np.ndarray, "g g"], side: int) -> Float32[np.ndarray, "s s"]:
    """Return a value for every pixel from those at the centres of the patch, linear between them."""
    at, pixels = _centres(side), np.arange(side)
    across = np.stack([np.interp(pixels, at, row) for row in grid])
    return np.stack([np.interp(pixels, at, column) for column in across.T], axis=1).astype(np.float32)


def _centres(side: int) -> Num[np.ndarray, " g"]:
    return np.linspace(0, side - 1, PLACES)


def _windows(side: int) -> Float32[np.ndarray, "p s s"]:
    """Return how much of each pixel is hidden, 0 to 1, for each place of the patch, row by row: raised cosines."""
    apart = np.abs(np.arange(side) - _centres(side)[:, None]) / (PATCH * side / 2)
    one = (0.5 * (1 + np.cos(np.pi * apart.clip(max=1)))).astype(np.float32)
    return (one[:, None, :, None] * one[None, :, None, :]).reshape(-1, side, side)


def _hidden(crop: UInt8[np.ndarray, "s s c"]) -> UInt8[np.ndarray, "s s c"]:
    """Return what the patch shows: the crop, blurred."""
    blurred = cv2.GaussianBlur(crop, (0, 0), BLUR * len(crop), borderType=cv2.BORDER_REPLICATE)
    return blurred.reshape(crop.shape)


def _covered(
    crop: UInt8[np.ndarray, "s s c"], hidden: UInt8[np.ndarray, "s s c"], windows: Num[np.ndarray, "p s s"]
) -> UInt8[np.ndarray, "p s s c"]:
    change = hidden.astype(np.float32) - crop
    return np.rint(crop + windows[..., None] * change).astype(np.uint8)
