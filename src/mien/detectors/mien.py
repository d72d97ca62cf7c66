"""`mien`: a small network that `mien detector` trains on drawn scenes.

Its box is the face frame: the square that an image of FER2013 would show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from mien.detectors.shrink import search
from mien.results import Face

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float32, Int, UInt8

    from mien.results import Box

    Graph = Callable[[Float32[np.ndarray, "1 1 y x"]], Float32[np.ndarray, "1 4 v u"]]

STRIDE = 8
"""Pixels from one cell to the next in the map of an answer."""
STEP = 2**0.5
"""Each searched image is this many times smaller than the one before. The network finds faces of 18 to 42 px, so
a face can be found in two or three of them."""
WHOLE_PX = 38
"""Longest side of the smallest searched image, so that a face that fills the photo is found."""
OUTSIDE = 128
"""Grey level around the image, as in training."""
MARGIN_PX = 16
"""Width of that border around all but the largest of the searched images."""
LEAST_LOGIT = -3.0
"""Cells with a lower logit are no candidates."""
MOST = 400
"""Most candidates of one map that are compared with each other; this limits the time for an image."""
SUPPORT_IOU, NO_SUPPORT_LOGIT = 0.4, -4.0
"""A candidate is supported by one of another searched image if their IoU is higher than the first number. The second
is the logit that counts if there is no support."""
SAME_IOU, INSIDE = 0.35, 0.6
"""Two boxes are one face if their intersection is more than this fraction of their union, or of the smaller one."""


class Scale(NamedTuple):
    """From a logit of the network to a probability: 1 / (1 + exp(-(gain * logit + bias)))."""

    gain: float = 1.0
    bias: float = 0.0

    def probability(self, logits: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
        """Return the probability that each candidate is a face."""
        return (1 / (1 + np.exp(-np.clip(self.gain * logits + self.bias, -60, 60)))).astype(np.float32)


RAW = Scale()


class Mien:
    """A fully convolutional network run by ONNX Runtime on one thread; one object may serve several threads."""

    name = "mien"
    longest_side_px = 512

    def __init__(
        self, graph: Graph, scale: Scale = RAW, threshold: float = 0.5, identity: str = "mien"
    ) -> None:
        """Take a network.

        Args:
            graph: from grey levels (0 to 255) f32 [1, 1, y, x] to f32 [1, 4, y/8, x/8]: the logit of a face, dx, dy
                and log side of its frame, in strides of 8 pixels.
            scale: from a logit to a probability.
            threshold: a candidate with a lower probability is no face.
            identity: what tells it from detectors with other weights.
        """
        self._graph, self._scale, self._threshold, self.identity = graph, scale, threshold, identity

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right, each with the probability that it is one.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        return search(image_rgb_u8, self.longest_side_px, self._find)

    def _find(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        grey = cv2.cvtColor(image_rgb_u8, cv2.COLOR_RGB2GRAY)
        searched = [self._candidates(small, factor, margin) for small, factor, margin in levels(grey)]
        rows = np.concatenate(searched)
        level = np.repeat(np.arange(len(searched)), [len(found) for found in searched])
        kept = suppress(rows)
        probs = self._scale.probability(supported(rows, level, kept))
        return [
            Face(_box(rows[row]), prob, self.name, _box(rows[row]))
            for row, prob in zip(kept, probs.tolist(), strict=True)
            if prob >= self._threshold
        ]

    def _candidates(
        self, grey: UInt8[np.ndarray, "y x"], factor: float, margin: int
    ) -> Float32[np.ndarray, "n 4"]:
        """Return logit, centre x, centre y and side of each candidate, in pixels of the whole image."""
        logits, dx, dy, log_side = self._graph(grey.astype(np.float32)[None, None])[0]
        peak = logits >= cv2.dilate(logits, np.ones((3, 3), np.uint8))
        v, u = np.nonzero(peak & (logits >= LEAST_LOGIT))
        if len(v) > MOST:
            best = np.argpartition(-logits[v, u], MOST)[:MOST]
            v, u = v[best], u[best]
        x, y = (u + 0.5 + dx[v, u]) * STRIDE - margin, (v + 0.5 + dy[v, u]) * STRIDE - margin
        side = np.exp(np.clip(log_side[v, u], -2, 4)) * STRIDE
        return np.stack([logits[v, u], x * factor, y * factor, side * factor], axis=1).astype(np.float32)


def levels(grey: UInt8[np.ndarray, "h w"]) -> Iterator[tuple[UInt8[np.ndarray, "y x"], float, int]]:
    """Yield each searched image, padded to multiples of 8, its factor to pixels of the whole image, and its border.

    The last one is so small that a face as large as the image can be found.
    """
    factor, margin = 1.0, 0
    height, width = grey.shape
    while factor == 1 or STEP * max(height, width) / factor > WHOLE_PX:
        size = max(1, round(width / factor)), max(1, round(height / factor))
        small = grey if factor == 1 else cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        below, beside = (margin + (-(side + 2 * margin) % STRIDE) for side in small.shape)
        bordered = cv2.copyMakeBorder(
            small, margin, below, margin, beside, cv2.BORDER_CONSTANT, value=(float(OUTSIDE),)
        )
        yield bordered, factor, margin
        factor, margin = factor * STEP, MARGIN_PX


def suppress(rows: Float32[np.ndarray, "n 4"]) -> list[int]:
    """Return the rows that stay, the best first: of two rows that are one face, the less probable one is dropped."""
    order = np.argsort(-rows[:, 0], kind="stable")
    common, union = _shared(rows[order], rows[order])
    area = rows[order, 3] ** 2
    same = (common > SAME_IOU * union) | (common > INSIDE * np.minimum.outer(area, area))
    alive, kept = np.ones(len(rows), bool), []
    for place in range(len(rows)):
        if alive[place]:
            kept.append(int(order[place]))
            alive &= ~same[place]
    return kept


def supported(
    rows: Float32[np.ndarray, "n 4"], level: Int[np.ndarray, " n"], kept: list[int]
) -> Float32[np.ndarray, " m"]:
    """Return a logit for each kept row: two thirds its own, one third the highest at its place in another image.

    A real face is found in several of the searched images; a false one often in a single image only.
    """
    common, union = _shared(rows[kept], rows)
    others = (common > SUPPORT_IOU * union) & (level[kept][:, None] != level)
    support = np.where(others, rows[:, 0], NO_SUPPORT_LOGIT).max(axis=1, initial=NO_SUPPORT_LOGIT)
    return ((2 * rows[kept, 0] + support) / 3).astype(np.float32)


def _shared(
    some: Float32[np.ndarray, "m 4"], others: Float32[np.ndarray, "n 4"]
) -> tuple[Float32[np.ndarray, "m n"], Float32[np.ndarray, "m n"]]:
    """Return the areas of intersection and of union for every pair of squares."""
    near = [
        np.minimum.outer(some[:, axis] + some[:, 3] / 2, others[:, axis] + others[:, 3] / 2)
        - np.maximum.outer(some[:, axis] - some[:, 3] / 2, others[:, axis] - others[:, 3] / 2)
        for axis in (1, 2)
    ]
    common = np.clip(near[0], 0, None) * np.clip(near[1], 0, None)
    return common, np.add.outer(some[:, 3] ** 2, others[:, 3] ** 2) - common


def _box(row: Float32[np.ndarray, "4"]) -> Box:
    _, x, y, side = row.tolist()
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
