"""Pairs of faces in two frames that are the same face.

The most similar pair is taken first, then the next. The assignment with the best total (as in SciPy) differs from
this only where several faces overlap each other, and prediction should not need SciPy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mien.detectors.shrink import iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.results import Box

LEAST_IOU = 0.1
FARTHEST = 0.7
"""Boxes that do not overlap may be one face if their centres are at most this far apart, in sides of the larger."""
MOST_GROWTH = 2.0
"""Largest factor by which the size of a face may change between two frames."""


def paired(before: Sequence[Box], after: Sequence[Box], *, least_iou: float = LEAST_IOU) -> dict[int, int]:
    """Return a dictionary from indices in `after` to the indices in `before` of the same face; none is used twice."""
    scores = [
        (score, old, new)
        for old, a in enumerate(before)
        for new, b in enumerate(after)
        if (score := similarity(a, b, least_iou)) is not None
    ]
    found: dict[int, int] = {}
    for _, old, new in sorted(scores, key=lambda item: (-item[0], item[1], item[2])):
        if new not in found and old not in found.values():
            found[new] = old
    return found


def similarity(a: Box, b: Box, least_iou: float = LEAST_IOU) -> float | None:
    """Return a similarity of two boxes (higher is more likely one face), or None if they cannot be one face."""
    overlap = iou(a, b) if _side(a) and _side(b) else 0.0
    larger = max(_side(a), _side(b), 1e-9)
    apart = math.dist(centre(a), centre(b)) / larger
    if max(_side(a), _side(b)) > MOST_GROWTH * min(_side(a), _side(b)):
        return None
    is_near = overlap >= least_iou or (least_iou <= LEAST_IOU and apart <= FARTHEST)
    return overlap - 0.1 * apart if is_near else None


def centre(box: Box) -> tuple[float, float]:
    """Return the centre of a box, x and y in pixels."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def moved(box: Box, right: float, down: float) -> Box:
    """Return a box moved to the right and down by these pixels."""
    return box[0] + right, box[1] + down, box[2] + right, box[3] + down


def mixed(a: Box, b: Box, part: float) -> Box:
    """Return the box between two: 0 for `part` gives the first, 1 the second."""
    left, top, right, bottom = (x + part * (y - x) for x, y in zip(a, b, strict=True))
    return left, top, right, bottom


def _side(box: Box) -> float:
    return math.sqrt(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))
